"""The page that scrapes get, written at most once at a time."""

import os
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import NamedTuple

from telemetry.logger import limited_logger
from telemetry.sdk import health
from telemetry.sdk.callbacks import running
from telemetry.sdk.exposition.compression import compressed
from telemetry.sdk.exposition.negotiation import Format

_logger = limited_logger(__name__)

TIMEOUT = 5.0
"""Seconds that a scrape waits for its page."""

_COOLDOWN = 4
_MAX_COOLDOWN = 0.5


class Writing(NamedTuple):
    """A page that is being written, or what that has raised, and until when it is waited for."""

    content: Future[bytes | BaseException]
    deadline: float

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())


class Page:
    """Has the page written, in a thread of its own, since the callbacks of users may block.

    Scrapes that ask while a page of the same format is being written share it. After each page
    comes a cooldown of four times as long as it took, half a second at most, so that a flood of
    scrapes leaves the processor to the application; scrapes that ask meanwhile share the next.
    """

    def __init__(self, write: Callable[[bool], bytes]) -> None:
        # In OpenMetrics if its argument is true, and in one thread at a time.
        self._write = write
        self._writing: dict[Format, Writing] = {}
        self._not_before = 0.0
        self._forked()
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    def get(self, form: Format) -> Writing:
        """The page in a format: the one that is being written or, where none is, a new one."""
        with self._lock:
            writing = self._writing.get(form)
            if writing:
                return writing
            writing = self._writing[form] = Writing(Future(), time.monotonic() + TIMEOUT)
        try:
            # A pool's threads are waited for when the process ends, and a callback may hang.
            Thread(target=self._run, args=(form,), name="metrics", daemon=True).start()
        except Exception as error:
            self._done(form, error)
        return writing

    def _run(self, form: Format) -> None:
        try:
            self._done(form, self._page(form))
        except BaseException as error:
            # A SystemExit, too, is meant to end this thread and not the one that waits.
            self._done(form, error)

    def _page(self, form: Format) -> bytes:
        with self._one_at_a_time:
            time.sleep(max(0.0, self._not_before - time.monotonic()))
            began = time.monotonic()
            try:
                page = self._write(form.openmetrics)
                return compressed(page) if form.compressed else page
            finally:
                ended = time.monotonic()
                self._not_before = ended + min(_COOLDOWN * (ended - began), _MAX_COOLDOWN)

    def _done(self, form: Format, content: bytes | BaseException) -> None:
        with self._lock:
            writing = self._writing.pop(form)
        writing.content.set_result(content)

    def _forked(self) -> None:
        """A lock that another thread held when this process was forked is held for ever."""
        self._lock = Lock()
        self._one_at_a_time = Lock()
        self._writing.clear()


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
