"""The last flush: soon, complete, and not for long."""

import atexit
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from typing import Any, ClassVar

from anyio.to_thread import run_sync
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from telemetry.logger import get_logger

_logger = get_logger(__name__)

TIMEOUT = 5.0
"""Seconds that the end of a process waits for exporters, all of them together."""


class _AtShutdown:
    """What is to be called, and how long that may still take."""

    flushes: ClassVar[list[Callable[[], object]]] = []
    ends: ClassVar[list[Callable[[], object]]] = []
    remaining = TIMEOUT


def own_shutdown(
    provider: Any,
    flush: Callable[[], object] | None = None,
    end: Callable[[], object] | None = None,
) -> None:
    """Take over the shutdown of a provider that configuration has made.

    The SDK's own waits up to half a minute for each provider whose collector hangs.
    """
    if not hasattr(provider, "force_flush") or not hasattr(provider, "shutdown"):
        return
    atexit.unregister(provider.shutdown)
    register_for_shutdown(flush or provider.force_flush, end or provider.shutdown)


def register_for_shutdown(
    flush: Callable[[], object], end: Callable[[], object] | None = None
) -> None:
    """Have functions called when the process is about to end."""
    if not _AtShutdown.ends:
        atexit.register(_exit)
    _AtShutdown.flushes.append(flush)
    _AtShutdown.ends.append(end or flush)


def flush() -> None:
    """Send what has not been sent yet, within what is left of `TIMEOUT`."""
    _call(_AtShutdown.flushes)


def _exit() -> None:
    _call(_AtShutdown.ends)


def _call(functions: Sequence[Callable[[], object]]) -> None:
    if not functions or _AtShutdown.remaining <= 0:
        return

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except Exception as error:
            _logger.warning("The last flush failed: %s", error)

    # Daemon threads do not keep the process from ending.
    threads = [Thread(target=run, args=(each,), name="flush", daemon=True) for each in functions]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, _AtShutdown.remaining - (time.monotonic() - began)))
    if any(thread.is_alive() for thread in threads):
        _AtShutdown.remaining = 0.0
        _logger.warning(
            "An exporter did not take the last metrics, traces or logs within %g s, or a callback "
            "hangs",
            TIMEOUT,
        )


@contextmanager
def _second_signal_ends() -> Iterator[None]:
    """Meanwhile, a signal ends the process at once: uvicorn waits for the lifespan's end."""
    if current_thread() is not main_thread():
        yield
        return
    before = {each: signal.signal(each, _end_at_once) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _end_at_once(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


_lifespan = Router.lifespan


async def _flushing_lifespan(router: Router, scope: Scope, receive: Receive, send: Send) -> None:
    async def flushing_send(message: Message) -> None:
        if message["type"].startswith("lifespan.shutdown.") and _AtShutdown.flushes:
            with _second_signal_ends():
                await run_sync(flush)
        await send(message)

    await _lifespan(router, scope, receive, flushing_send)


def flush_after_lifespans() -> None:
    """Flush when the lifespan of any application has ended, before the server is told so.

    Servers then end the process by a signal (uvicorn raises its SIGTERM once more), before or
    without what is registered with `atexit`. The outermost application, which has the lifespan,
    may not be the one that is measured.
    """
    setattr(Router, "lifespan", _flushing_lifespan)  # noqa: B010
