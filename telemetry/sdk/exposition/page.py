"""The page that scrapes get, written at most once at a time."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from threading import Lock, Thread
from typing import NamedTuple

from telemetry.forked import when_forked
from telemetry.logger import limited_logger
from telemetry.sdk import health
from telemetry.sdk.callbacks import running
from telemetry.sdk.exposition.compression import compressor
from telemetry.sdk.exposition.negotiation import Exposition, Format
from telemetry.sdk.steps import Steps

_logger = limited_logger(__name__)

TIMEOUT = 5.0
"""Seconds that a scrape waits for its page."""

Add = Callable[[Sequence[bytes]], object]
"""Takes the next parts of a page."""

# In seconds. In a busy loop, each slice has to wait for all requests that are there.
_SLICE = 0.002
# Bytes that are compressed together, as small parts become larger: some 0.3 ms.
_CHUNK = 65_536
_COOLDOWN = 4
_MAX_COOLDOWN = 0.5
_CREDIT = 0.1


class Writing(NamedTuple):
    """A page that is being written, or what that has raised, and until when it is waited for."""

    content: Future[bytes | BaseException]
    deadline: float

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())


class Page:
    """Writes pages in the event loop that serves the scrape, in slices of 2 ms.

    A step that may block, such as a callback of the user, runs in a thread. Scrapes that come while
    a page of the same format is being written share it. In a flood of scrapes, a page is followed
    by a cooldown of four times as long as it took, half a second at most, which leaves the
    processor to the application; a scrape after that does not wait. Where it is `native`,
    there is the protobuf format as well.
    """

    def __init__(
        self, write: Callable[[Exposition, Add], Steps[None]], native: bool = False
    ) -> None:
        self._write = write
        self.native = native
        self._writing: dict[Format, Writing] = {}
        self._paid_until = 0.0
        self._forked()
        when_forked(self._forked)

    def get(self, form: Format) -> Writing:
        """The page in a format: the one that is being written, or else a new one."""
        with self._lock:
            writing = self._writing.get(form)
            if writing:
                return writing
            writing = self._writing[form] = Writing(Future(), time.monotonic() + TIMEOUT)
        steps = self._steps(form, writing)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # On trio, all is done in a thread.
            next(steps, None)
            _in_thread(steps, None)
        else:
            # The span of a scrape is not to be an exemplar of what callbacks tell.
            Context().run(_in_loop, steps, loop)
        return writing

    def _steps(self, form: Format, writing: Writing) -> Steps[None]:
        content: bytes | BaseException
        try:
            content = yield from self._one_at_a_time(form, self._turn)
        except BaseException as error:
            # A SystemExit, too, is meant to end this page and not the thread or the event loop. A
            # GeneratorExit comes when the event loop was closed.
            content = error
        with self._lock:
            if self._writing.get(form) is writing:
                del self._writing[form]
        writing.content.set_result(content)

    def _one_at_a_time(self, form: Format, turn: Lock) -> Steps[bytes]:
        if not turn.acquire(blocking=False):
            yield True
            turn.acquire()
        try:
            cooldown = self._paid_until - time.monotonic() - _CREDIT
            if cooldown > 0:
                yield True
                time.sleep(cooldown)
            began = time.monotonic()
            try:
                return (yield from self._content(form))
            finally:
                took = time.monotonic() - began
                self._paid_until = max(self._paid_until, began) + took
                self._paid_until += min(_COOLDOWN * took, _MAX_COOLDOWN)
        finally:
            turn.release()

    def _content(self, form: Format) -> Steps[bytes]:
        parts: list[bytes] = []
        if not form.compressed:
            yield from self._write(form.exposition, parts.extend)
            return b"".join(parts)
        made, waiting = compressor(), bytearray()

        def add(more: Sequence[bytes]) -> None:
            waiting.extend(b"".join(more))
            if len(waiting) >= _CHUNK:
                parts.append(made.compress(bytes(waiting)))
                waiting.clear()

        yield from self._write(form.exposition, add)
        return b"".join([*parts, made.compress(bytes(waiting)), made.flush()])

    def _forked(self) -> None:
        """Make new locks: one that another thread held at the fork would stay locked for ever."""
        self._lock = Lock()
        self._turn = Lock()
        self._writing.clear()


def _in_loop(steps: Steps[None], loop: asyncio.AbstractEventLoop) -> None:
    """Make steps for a slice of time, and go on after whatever else is waiting in the loop."""
    end = time.perf_counter() + _SLICE
    for may_block in steps:
        if may_block:
            _in_thread(steps, loop)
            return
        if time.perf_counter() > end:
            loop.call_soon(_in_loop, steps, loop, context=Context())
            return


def _in_thread(steps: Steps[None], loop: asyncio.AbstractEventLoop | None) -> None:
    """Make the steps that may block; the others again in the loop, if there is one."""

    def run() -> None:
        for may_block in steps:
            if loop is not None and not may_block:
                # It may have been closed meanwhile.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(_in_loop, steps, loop, context=Context())
                    return

    try:
        # A pool's threads are waited for when the process ends, and a callback may hang.
        Thread(target=Context().run, args=(run,), name="metrics", daemon=True).start()
    except Exception as error:
        with suppress(StopIteration):
            steps.throw(error)


def failure(error: BaseException | None) -> str:
    """Why there is no page (None: it took too long), for the client; it is also logged and counted.

    An error's own text may hold a secret, such as a password in a URL: only the log has it.
    """
    health.scrape_failed("timeout" if error is None else "error")
    if error is None:
        who = ", ".join(running()) or "a callback, a collector or an exporter"
        kind, text = f"it took longer than {TIMEOUT:g} s, {who} hangs", ""
    else:
        kind, text = type(error).__name__, f": {' '.join(str(error).split())}"
    line = f"The metrics could not be collected: {kind}"
    _logger.error(f"{line}%s. The scrape was answered with status 503.", text)
    return f"{line}\n"
