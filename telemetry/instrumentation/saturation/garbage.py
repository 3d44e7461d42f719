"""The pauses in which Python's garbage collector stops everything."""

import gc
from collections import deque
from collections.abc import Iterable
from time import perf_counter
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

SHORTEST = 0.001
"""Seconds that a pause must have taken to be recorded. Shorter ones, of the youngest generation,
come with every few requests, which would have to pay for being told of."""

BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Upper bounds of the histogram in seconds."""


class _Pauses:
    """The last pauses of this process, numbered.

    The garbage collector may run while the SDK holds a lock in the same thread. So what it calls
    must only take notes, which are recorded at the next collection of metrics.
    """

    def __init__(self) -> None:
        self.last = deque[tuple[int, float]](maxlen=1_000)
        self._number = 0
        self._began = 0.0

    def note(self, phase: str, _: Any) -> None:
        if phase == "start":
            self._began = perf_counter()
            return
        seconds = perf_counter() - self._began
        if seconds >= SHORTEST:
            self._number += 1
            self.last.append((self._number, seconds))


_pauses = _Pauses()


def observe_garbage_collection(meter: Meter) -> None:
    """Add ``cpython.gc.collections`` and the histogram ``app_gc_pause_seconds`` to a meter.

    The former is OpenTelemetry's: https://opentelemetry.io/docs/specs/semconv/runtime/cpython-metrics/.
    """
    if _pauses.note not in gc.callbacks:
        gc.callbacks.append(_pauses.note)
    histogram = meter.create_histogram(
        "app_gc_pause",
        unit="s",
        description="Pauses of 1 ms or longer in which the garbage collector stops the process.",
        explicit_bucket_boundaries_advisory=BUCKETS,
    )
    recorded = 0

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        # The SDK asks observable instruments first, and the histogram then has all.
        nonlocal recorded
        for number, seconds in list(_pauses.last):
            if number > recorded:
                recorded = number
                histogram.record(seconds)
        for generation, counts in enumerate(gc.get_stats()):
            yield Observation(counts["collections"], {"cpython.gc.generation": generation})

    described = "Runs of the garbage collector since the interpreter started."
    meter.create_observable_counter("cpython.gc.collections", [observe], "{collection}", described)
