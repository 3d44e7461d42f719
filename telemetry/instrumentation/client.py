"""Whether the client is still there."""

import inspect
from collections.abc import Callable
from typing import Any

_DEPTH = 8


def client_has_left(receive: Callable[..., Any]) -> bool | None:
    """Whether the client has closed its connection, or None where the server does not tell.

    ASGI tells the one who receives, and nobody else: a response to nobody is sent as any
    other. But to receive is to take a message from the application, and to invite a client
    that waits with ``Expect: 100-continue`` to send its body. uvicorn (and gunicorn with
    uvicorn's worker) has the answer beside the function itself, as ``disconnected`` of the
    object that `receive` is a method of; tests/stack/test_clients.py fails when that moves.

    Parameters:
        receive: The server's ASGI function, or one that some layer has put around it, as
            FastAPI's own metrics do.
    """
    for _ in range(_DEPTH):
        left = getattr(getattr(receive, "__self__", None), "disconnected", None)
        if isinstance(left, bool):
            return left
        if not inspect.isfunction(receive) or "receive" not in receive.__code__.co_freevars:
            return None
        receive = inspect.getclosurevars(receive).nonlocals["receive"]
    return None
