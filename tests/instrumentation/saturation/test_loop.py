"""How long the event loop makes everybody wait."""

import asyncio
import gc
import sys
import time
import weakref
from collections.abc import Callable

import pytest
import uvloop
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader

from telemetry.instrumentation.saturation.loop import BUCKETS, INTERVAL, LoopDelay
from tests.support.applications import Measured
from tests.support.series import values

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Delays:
    """The histogram, by the upper bounds of its buckets."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.measured = LoopDelay(self._provider.get_meter("x"))

    def counts(self) -> dict[float, int]:
        self.measured.flush()
        data = self._reader.get_metrics_data()
        if data is None:
            return dict.fromkeys(BUCKETS, 0)
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        (point,) = metric.data.data_points
        assert isinstance(point, HistogramDataPoint)
        return dict(zip(point.explicit_bounds, point.bucket_counts, strict=False))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_block_of_300_ms_is_in_its_bucket_in_each_of_20_tries(loop: str) -> None:
    delays = Delays()

    async def run() -> list[int]:
        delays.measured.watch()
        seen = []
        for number in range(20):
            # At any moment between two heartbeats.
            await asyncio.sleep(2 * INTERVAL + INTERVAL * number / 20)
            before = delays.counts()[0.5]
            time.sleep(0.3)
            await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)
            seen.append(delays.counts()[0.5] - before)
        return seen

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert runner.run(run()) == [1] * 20


@pytest.mark.parametrize("loop", LOOPS)
def test_one_heartbeat_for_each_loop_that_ends_with_it(loop: str) -> None:
    delays = Delays()

    async def run() -> weakref.ref[asyncio.AbstractEventLoop]:
        for _ in range(10):
            delays.measured.watch()
        await asyncio.sleep(2)
        return weakref.ref(asyncio.get_running_loop())

    for turn in (1, 2):
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            ended = runner.run(run())
        assert turn * 25 <= sum(delays.counts().values()) <= turn * 50
    del runner
    gc.collect()
    assert ended() is None


@pytest.mark.parametrize("loop", LOOPS)
def test_while_nothing_is_in_progress_the_heartbeat_is_slower(loop: str) -> None:
    delays = Delays()
    told: list[int] = []

    class Watching:
        def rest(self) -> None:
            told.append(1)

    async def beats(fast: bool) -> None:
        """A machine that is busy with something else makes some late, and so more frequent."""
        for _ in range(10):
            before = sum(delays.counts().values())
            await asyncio.sleep(1)
            if (sum(delays.counts().values()) - before > 8) == fast:
                return
        raise AssertionError

    async def run() -> None:
        watching = Watching()
        delays.measured.watching.add(watching)
        delays.measured.watch()
        await beats(fast=False)
        assert told
        # A request, and one that takes longer.
        delays.measured.watch()
        delays.measured.in_progress = ["a request"]
        await asyncio.sleep(2)
        await beats(fast=True)
        delays.measured.in_progress = ()
        await beats(fast=False)
        # What blocks the loop then is seen, and has it looked at closely.
        time.sleep(0.32)
        await beats(fast=True)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


def test_where_no_loop_runs_nothing_is_watched() -> None:
    Delays().measured.watch()


def test_a_lifespan_has_its_loop_watched_each_time() -> None:
    measured = Measured()

    @measured.app.get("/block")
    async def block() -> None:
        time.sleep(0.3)
        await asyncio.sleep(0.01)

    for turn in (1, 2):
        with TestClient(measured.app) as client:
            time.sleep(2 * INTERVAL)
            client.get("/block")
            assert client.get("/metrics").status_code == 200
        shown = values(measured.series(), "app_event_loop_delay_seconds_count")[()]
        assert shown >= turn


def test_it_has_no_part_in_a_context_of_the_application() -> None:
    """A request's span would be in it for ever."""
    app = FastAPI()
    measured = Measured(app)
    contexts = set[str]()
    beat = LoopDelay._beat

    def noting(self: LoopDelay, *arguments: object) -> None:
        import contextvars

        contexts.update(variable.name for variable in contextvars.copy_context())
        beat(self, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoopDelay, "_beat", noting)
        with TestClient(measured.app) as client:
            time.sleep(3 * INTERVAL)
            client.get("/")
    assert contexts == set()
    assert "contextvars" in sys.modules
