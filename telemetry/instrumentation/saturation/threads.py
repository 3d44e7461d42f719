"""The threads in which an application's ``def`` endpoints and dependencies run."""

import math
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Iterable
from typing import NamedTuple

from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter
from opentelemetry.metrics import CallbackOptions, Meter, Observation


class _Limiter(NamedTuple):
    """What bounds the threads of a loop; the loop is None under trio."""

    limiter: CapacityLimiter
    loop: AbstractEventLoop | None


class ThreadPool:
    """The gauges ``app_thread_pool_in_use``, ``app_thread_pool_size``, ``app_thread_pool_waiting``.

    They are of AnyIO's worker threads, 40 by default, which Starlette runs everything in that is
    not ``async``: endpoints, dependencies, background tasks, and the reading of files. All share
    one limiter for each event loop. With several loops the numbers are their sum.
    """

    def __init__(self, meter: Meter) -> None:
        self._limiters: list[_Limiter] = []
        for name, observe, description in (
            ("in_use", self._observe_in_use, "Worker threads that run something."),
            ("size", self._observe_size, "Worker threads that may run at once."),
            ("waiting", self._observe_waiting, "Calls that wait for a worker thread."),
        ):
            meter.create_observable_gauge(
                f"app_thread_pool_{name}", callbacks=[observe], description=description
            )

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
        if not any(limiter is each.limiter for each in self._living()):
            self._limiters.append(_Limiter(limiter, loop))

    def _living(self) -> list[_Limiter]:
        self._limiters = [
            each for each in self._limiters if each.loop is None or not each.loop.is_closed()
        ]
        return self._limiters

    def _observe_in_use(self, _: CallbackOptions) -> Iterable[Observation]:
        yield Observation(sum(each.limiter.borrowed_tokens for each in self._living()))

    def _observe_size(self, _: CallbackOptions) -> Iterable[Observation]:
        size = sum(each.limiter.total_tokens for each in self._living())
        if math.isfinite(size):
            yield Observation(size)

    def _observe_waiting(self, _: CallbackOptions) -> Iterable[Observation]:
        yield Observation(sum(each.limiter.statistics().tasks_waiting for each in self._living()))
