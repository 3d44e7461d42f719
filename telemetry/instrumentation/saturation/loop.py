"""How long an event loop makes everybody wait."""

from asyncio import AbstractEventLoop, get_running_loop
from contextvars import Context
from time import perf_counter
from weakref import WeakSet

from opentelemetry.metrics import Meter

INTERVAL = 0.04
"""Seconds between two heartbeats. A loop that is blocked for 0.3 s lets one come between 0.26 s and
0.3 s late, always in the same bucket. Waking an idle process more often costs it more."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram in seconds."""

# An idle process pays for each heartbeat in which it has to fetch the SDK's code into its caches.
_BATCH_SIZE = 25


class LoopDelay:
    """The histogram ``app_event_loop_delay_seconds``: how late a heartbeat comes.

    The heartbeat sees everything that keeps the loop for as long as its interval of 40 ms. It is a
    timer and not a task, so that nothing has to be cancelled when the loop ends. asyncio's loop
    and uvloop have it. Under trio there is none.
    """

    def __init__(self, meter: Meter) -> None:
        self._watched: WeakSet[AbstractEventLoop] = WeakSet()
        self._on_time: list[float] = []
        self._delay = meter.create_histogram(
            "app_event_loop_delay",
            unit="s",
            description="How long the event loop made a timer wait, asked every 40 ms.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )

    def watch(self) -> None:
        """Start the heartbeat of the event loop that runs here, if one does and has none."""
        try:
            loop = get_running_loop()
        except RuntimeError:
            return
        if loop not in self._watched:
            self._watched.add(loop)
            self._schedule(loop)

    def _schedule(self, loop: AbstractEventLoop) -> None:
        # In the context of the request or the lifespan that was first, it would keep that one's
        # span for ever.
        loop.call_later(INTERVAL, self._beat, loop, perf_counter() + INTERVAL, context=Context())

    def _beat(self, loop: AbstractEventLoop, due: float) -> None:
        delay = max(0.0, perf_counter() - due)
        self._schedule(loop)
        if delay > BUCKETS[0]:
            self._delay.record(delay)
            return
        self._on_time.append(delay)
        if len(self._on_time) >= _BATCH_SIZE:
            on_time, self._on_time = self._on_time, []
            for each in on_time:
                self._delay.record(each)
