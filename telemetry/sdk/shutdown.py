"""The last flush: soon, once, and not for long."""

import atexit
import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from typing import Any

from anyio.to_thread import run_sync
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that the end of a process waits for exporters, all of them together."""

_flushes: list[Callable[[], object]] = []
_ends: list[Callable[[], object]] = []
_flushed_at = float("-inf")


def owned(provider: Any) -> None:
    """Take over the end of a provider that configuration has made.

    The SDK's own end waits up to half a minute for each provider whose collector hangs.

    Parameters:
        provider: The SDK's provider of a signal; any other object is left alone.
    """
    if not hasattr(provider, "force_flush") or not hasattr(provider, "shutdown"):
        return
    atexit.unregister(provider.shutdown)
    at_end(provider.force_flush, provider.shutdown)


def at_end(flush: Callable[[], object], end: Callable[[], object] | None = None) -> None:
    """Have functions called when the process is about to end.

    Parameters:
        flush: Called when the application's lifespan has ended.
        end: Called when the process ends otherwise; by default the same.
    """
    if not _flushes:
        atexit.register(_stop)
    _flushes.append(flush)
    _ends.append(end or flush)


def flush() -> None:
    """Send what has not been sent yet, in at most `PATIENCE` seconds."""
    global _flushed_at
    _together(_flushes)
    _flushed_at = time.monotonic()


def _stop() -> None:
    if time.monotonic() - _flushed_at < PATIENCE:
        # The lifespan has just ended, and with it all that there was to send.
        return
    _together(_ends)


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


def _together(calls: Sequence[Callable[[], object]]) -> None:
    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            _logger.warning("The last flush failed: %s", error)

    # Daemons: one that hangs does not keep the process.
    threads = [Thread(target=run, args=(call,), name="flush", daemon=True) for call in calls]
    deadline = time.monotonic() + PATIENCE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        _logger.warning(
            "An exporter did not take the last metrics, traces or logs within %g s", PATIENCE
        )


def flushed_on_shutdown(app: ASGIApp) -> ASGIApp:
    """The application, with a flush at the end of its lifespan if there is anything to flush."""
    return _FlushOnShutdown(app) if _flushes else app


class _FlushOnShutdown:
    """ASGI middleware that flushes when the application's lifespan has ended.

    Servers end a process by a signal as soon as the lifespan is over (uvicorn raises the
    SIGTERM that it was sent once more), so that functions registered with `atexit` come too
    late or not at all.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def flushing_send(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                with _second_signal_ends():
                    await run_sync(flush)
            await send(message)

        await self.app(scope, receive, flushing_send)
