"""How long an event loop makes everybody wait."""

from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Collection
from contextvars import Context
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry.metrics import Meter

from telemetry.compatibility.bound import Bound

INTERVAL = 0.04
"""Seconds between two heartbeats. A loop that is blocked for 0.3 s lets one come between 0.26 s and
0.3 s late, always in the same bucket."""

IDLE_INTERVAL = 0.25
"""The same while no request is in progress: each wakes an idle process, which costs it more than
what it does then. What blocks the loop for longer is still seen."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram in seconds."""

_BEATS = 25
# A heartbeat that comes later than by this shows that there is something to do.
_BUSY_AFTER = 0.05
_BATCH_SIZE = 1_000


class Watching(Protocol):
    """What calls `LoopDelay.watch` when a request comes."""

    def rest(self) -> None:
        """Do so at the next one."""


@dataclass(slots=True)
class _Pulse:
    """The heartbeats of one loop until it is woken, and whether there was a reason to go on."""

    interval: float = INTERVAL
    beats: int = 0
    busy: bool = True


class LoopDelay:
    """The histogram ``app_event_loop_delay_seconds``: how late a heartbeat comes.

    The heartbeat is a timer and not a task, so that nothing has to be cancelled when the loop ends.
    asyncio's loop and uvloop have it. Under trio there is none.
    """

    def __init__(self, meter: Meter) -> None:
        # Requests; while there are none, the heartbeat is slower.
        self.in_progress: Collection[object] = ()
        # What calls `watch` at the next request when it was told to.
        self.watching: WeakSet[Watching] = WeakSet()
        self._pulses: WeakKeyDictionary[AbstractEventLoop, _Pulse] = WeakKeyDictionary()
        self._waiting: list[float] = []
        delay = meter.create_histogram(
            "app_event_loop_delay",
            unit="s",
            description="How late a timer of the event loop fires, as the loop was blocked.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._bound = Bound(delay, {})

    def watch(self) -> None:
        """Start the heartbeat of the event loop that runs here, or have it go on at full speed."""
        try:
            loop = get_running_loop()
        except RuntimeError:
            return
        pulse = self._pulses.get(loop)
        if pulse is not None and pulse.interval == INTERVAL:
            pulse.busy = True
        else:
            pulse = self._pulses[loop] = _Pulse()
            self._schedule(loop, pulse)

    def flush(self) -> None:
        """Record what waits: at each collection, as it wakes less code than at each heartbeat."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._bound.add(waiting)

    def _schedule(self, loop: AbstractEventLoop, pulse: _Pulse) -> None:
        due = perf_counter() + pulse.interval
        # In the context of the request or the lifespan that was first, it would keep that one's
        # span for ever.
        loop.call_later(pulse.interval, self._beat, loop, pulse, due, context=Context())

    def _beat(self, loop: AbstractEventLoop, pulse: _Pulse, due: float) -> None:
        delay = max(0.0, perf_counter() - due)
        if self._pulses.get(loop) is not pulse:
            return
        self._waiting.append(delay)
        if len(self._waiting) >= _BATCH_SIZE:
            self.flush()
        pulse.beats += 1
        if delay > _BUSY_AFTER:
            pulse.interval, pulse.busy = INTERVAL, True
        elif pulse.beats % _BEATS == 0:
            busy = pulse.busy or self.in_progress
            pulse.interval, pulse.busy = INTERVAL if busy else IDLE_INTERVAL, False
            for each in list(self.watching):
                each.rest()
        self._schedule(loop, pulse)
