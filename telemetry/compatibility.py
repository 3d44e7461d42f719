"""Every private name that the package leans on, and what it does without it.

Nothing here is imported before it is needed, and nothing fails when a name has moved: what it
is for is missing then, and one log line says so. Each name has a test in
tests/test_compatibility.py that fails when it moves.
"""

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from telemetry.quiet import quiet_logger

_logger = quiet_logger(__name__)

# The modules whose functions are started as worker processes by multiprocessing, as seen in
# uvicorn 0.54, hypercorn 0.18 and granian 2.8.
WORKER_MODULES = frozenset(
    {"uvicorn._subprocess", "hypercorn.asyncio.run", "hypercorn.trio.run", "granian.server.mp"}
)
# The module whose functions call the application in gunicorn 27's workers, which it forks.
ARBITER_MODULE = "gunicorn.arbiter"

_DEPTH = 8


def no_meter_provider_is_set(provider: object) -> bool:
    """Whether a global meter provider is only the stand-in that the API has before one is set.

    The API has no public way to ask. Seen in opentelemetry-api 1.45.
    """
    try:
        from opentelemetry.metrics._internal import _ProxyMeterProvider
    except ImportError:
        _logger.warning("It is unknown whether a meter provider was set: the API has changed")
        return type(provider).__name__.startswith("_Proxy")
    return isinstance(provider, _ProxyMeterProvider)


def metric_readers(provider: object) -> Sequence[Any]:
    """The metric readers that an SDK meter provider was made with.

    Seen in opentelemetry-sdk 1.45. Without it, what a configuration file names is not found.
    """
    readers: Sequence[Any] | None = getattr(provider, "_metric_readers", None)
    if readers is None and type(provider).__module__.startswith("opentelemetry.sdk"):
        _logger.warning("The readers of the configuration file are not found: the SDK has changed")
    return readers or ()


def started_as_worker() -> bool:
    """Whether a server's supervisor has started this process as one of its workers.

    Nothing public tells a server's worker from a process that a program has started for itself.
    What multiprocessing has started runs in a process that has multiprocessing imported.
    """
    process = sys.modules.get("multiprocessing.process")
    current: Callable[[], object] | None = getattr(process, "current_process", None)
    target = getattr(current(), "_target", None) if current else None
    while isinstance(target, partial):
        target = target.func
    if getattr(target, "__module__", None) in WORKER_MODULES:
        return True
    return ARBITER_MODULE in sys.modules and _is_called_by(ARBITER_MODULE)


def _is_called_by(module: str) -> bool:
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == module:
            return True
        frame = frame.f_back
    return False


@cache
def prometheus_names() -> tuple[Callable[[str], str], Callable[[str], str], Callable[[str], str]]:
    """How OpenTelemetry's Prometheus exporter writes metric names, label names and units.

    Seen in opentelemetry-exporter-prometheus 0.66b2. Without it units are not part of names.
    """
    try:
        from opentelemetry.exporter.prometheus._mapping import (
            map_unit,
            sanitize_attribute,
            sanitize_full_name,
        )
    except ImportError:
        _logger.warning("Metrics are shown without their units: the Prometheus exporter has moved")

        def sanitized(name: str) -> str:
            return re.sub(r"^[0-9]|[^a-zA-Z0-9]+", "_", name)

        return sanitized, sanitized, lambda _: ""
    return sanitize_full_name, sanitize_attribute, map_unit


def is_instrumented_by_contrib(app: object) -> bool:
    """Whether opentelemetry-instrumentation-fastapi 0.66b2 has put its middleware around an app."""
    return bool(getattr(app, "_is_instrumented_by_opentelemetry", False))


def client_has_left(receive: Callable[..., Any]) -> bool | None:
    """Whether the client has closed its connection, or None where the server does not tell.

    ASGI tells only whoever receives a message. But to receive takes a message from the
    application, and invites a client that waits with ``Expect: 100-continue`` to send its body.
    uvicorn 0.54 (and gunicorn with uvicorn's worker) has the answer beside the function itself,
    as ``disconnected`` of the object that `receive` is a method of.

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
