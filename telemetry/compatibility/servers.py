"""uvicorn 0.54, gunicorn 27, hypercorn 0.18, granian 2.8."""

import inspect
import sys
from collections.abc import Callable
from functools import partial
from threading import main_thread
from typing import Any

# The modules whose functions multiprocessing starts as worker processes.
WORKER_MODULES = frozenset(
    {"uvicorn._subprocess", "hypercorn.asyncio.run", "hypercorn.trio.run", "granian.server.mp"}
)
# The module whose function calls the application in gunicorn's workers, which it forks.
ARBITER_MODULE = "gunicorn.arbiter"
_SPAWN = "spawn_worker"
_DEPTH = 8


def started_as_worker() -> bool:
    """Whether a server's supervisor has started this process. There is no public check for it."""
    # A process that multiprocessing has started has it imported.
    process = sys.modules.get("multiprocessing.process")
    current: Callable[[], object] | None = getattr(process, "current_process", None)
    target = getattr(current(), "_target", None) if current else None
    while isinstance(target, partial):
        target = target.func
    if getattr(target, "__module__", None) in WORKER_MODULES:
        return True
    return _SPAWN in _functions_of_arbiter()


def is_gunicorn_loaded() -> bool:
    """Whether this process has imported gunicorn's arbiter: it is most likely one of gunicorn's."""
    return ARBITER_MODULE in sys.modules


def is_gunicorns_arbiter() -> bool:
    """Whether this is the process that forks gunicorn's workers, with ``--preload``."""
    functions = _functions_of_arbiter()
    return bool(functions) and _SPAWN not in functions


def _functions_of_arbiter() -> set[str]:
    """The functions of gunicorn's arbiter that are on the stack of the main thread.

    They are below the application in the workers as well, which the arbiter forks while they run.
    """
    functions = set[str]()
    if not is_gunicorn_loaded():
        return functions
    frame = sys._current_frames().get(main_thread().ident or 0)
    while frame is not None:
        if frame.f_globals.get("__name__") == ARBITER_MODULE:
            functions.add(frame.f_code.co_name)
        frame = frame.f_back
    return functions


def client_has_left(receive: Callable[..., Any]) -> bool | None:
    """Whether the client has closed its connection, or None where the server does not tell.

    Receiving ASGI's message would take it from the application, and would tell a client that waits
    with ``Expect: 100-continue`` to send its body. In uvicorn, the object that `receive` is a
    method of knows; FastAPI and middlewares wrap `receive` in functions of their own.
    """
    for _ in range(_DEPTH):
        left = getattr(getattr(receive, "__self__", None), "disconnected", None)
        if isinstance(left, bool):
            return left
        if not inspect.isfunction(receive) or "receive" not in receive.__code__.co_freevars:
            return None
        receive = inspect.getclosurevars(receive).nonlocals["receive"]
    return None
