"""The threads in which an application's ``def`` endpoints and dependencies run."""

import math
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable, Iterable
from functools import partial

from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter
from opentelemetry.metrics import CallbackOptions, Meter, Observation

_Number = Callable[[CapacityLimiter], float]


class ThreadPool:
    """The gauges ``app_thread_pool_in_use``, ``app_thread_pool_size``, ``app_thread_pool_waiting``.

    They are of AnyIO's worker threads, in which Starlette runs all that is not ``async``. Those of
    an event loop share one limiter; with several loops the numbers are their sum.
    """

    def __init__(self, meter: Meter) -> None:
        # The loop is None under trio.
        self._loops: dict[CapacityLimiter, AbstractEventLoop | None] = {}
        waiting = "Calls that wait for a worker thread."
        numbers: tuple[tuple[str, _Number, str], ...] = (
            ("in_use", lambda each: each.borrowed_tokens, "Worker threads that run something."),
            ("size", lambda each: each.total_tokens, "Worker threads that may run at once."),
            ("waiting", lambda each: each.statistics().tasks_waiting, waiting),
        )
        for name, number, described in numbers:
            observe = partial(self._observe, number)
            meter.create_observable_gauge(f"app_thread_pool_{name}", [observe], "", described)

    def watch(self) -> None:
        """Remember the limiter of the event loop that runs here, if one does."""
        try:
            loop = get_running_loop()
        except RuntimeError:
            loop = None
        try:
            # Only within the loop it can be asked for; its numbers can be read from anywhere.
            limiter = current_default_thread_limiter()
        except RuntimeError:
            return
        self._loops[limiter] = loop

    def _observe(self, number: _Number, _: CallbackOptions) -> Iterable[Observation]:
        for limiter, loop in self._loops.copy().items():
            if loop is not None and loop.is_closed():
                self._loops.pop(limiter, None)
        total = sum(map(number, self._loops.copy()))
        if math.isfinite(total):
            yield Observation(total)
