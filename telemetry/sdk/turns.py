"""Letting a thread work beside a busy event loop, and the loop beside the thread."""

import asyncio
import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Timer

_LOOPS_TURN = 0.0005
_THREADS_TURN = 0.0015
_PAUSE = 0.0002
_PATIENCE = 1.0


class Turns:
    """Gives a thread of this process its turns of the interpreter.

    A loop that is busy lets go of the interpreter's lock many times a millisecond, each time
    for so short a time that a waiting thread does not wake up soon enough to take it, and
    each time anew, so that the thread never has waited long enough to be given it: what takes
    0.1 s beside an idle loop takes seconds beside a busy one. So while a thread is at work,
    the loop pauses for a moment after each of its own turns. The thread then has the
    interpreter until the loop has waited for it for `sys.getswitchinterval`, which is 1.5 ms
    while a thread is at work: with Python's own 5 ms, requests would wait as long each time.
    A thread that is at work for longer than a second, as a callback hangs, has had its turns.

    Attributes:
        loop: The event loop that serves the application, as soon as there is one.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._giving: set[asyncio.Task[None]] = set()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Work in a thread, with turns."""
        done = Event()
        if self.loop is not None:
            try:
                self.loop.call_soon_threadsafe(self._give_until, done)
            except RuntimeError:
                # It is closed, and does not keep anybody waiting.
                self.loop = None
        try:
            with _short_turns():
                yield
        finally:
            done.set()

    def _give_until(self, done: Event) -> None:
        end = time.monotonic() + _PATIENCE

        async def give() -> None:
            while not done.is_set() and time.monotonic() < end:
                await asyncio.sleep(_LOOPS_TURN)
                time.sleep(_PAUSE)

        task = asyncio.ensure_future(give())
        self._giving.add(task)
        task.add_done_callback(self._giving.discard)


class _Interval:
    """The interpreter's switch interval, and how many have asked for a shorter one."""

    lock = Lock()
    askers = 0
    usual = 0.0


@contextmanager
def _short_turns() -> Iterator[None]:
    with _Interval.lock:
        if _Interval.askers == 0:
            _Interval.usual = sys.getswitchinterval()
            sys.setswitchinterval(min(_Interval.usual, _THREADS_TURN))
        _Interval.askers += 1
    once = Lock()

    def over() -> None:
        if not once.acquire(blocking=False):
            return
        with _Interval.lock:
            _Interval.askers -= 1
            if _Interval.askers == 0:
                sys.setswitchinterval(_Interval.usual)

    with _at_most(over):
        yield


@contextmanager
def _at_most(over: Callable[[], None]) -> Iterator[None]:
    """Call a function when the block ends, and also after a second: what is in it may hang."""
    timer = Timer(_PATIENCE, over)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        over()


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Work that makes many objects and no cycles of them, for at most a second.

    The collector would go through all objects of the application every few times, for some
    tens of milliseconds in which nothing else runs, and find nothing.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    with _at_most(gc.enable):
        yield
