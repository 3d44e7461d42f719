"""The threads of an application's ``def`` endpoints."""

import threading

import pytest
import trio
from anyio.to_thread import current_default_thread_limiter
from fastapi.testclient import TestClient
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from telemetry.instrumentation.saturation.threads import ThreadPool
from tests.support.applications import Measured
from tests.support.processes import wait_for
from tests.support.series import Series, parse, values

NAMES = ("in_use", "size", "waiting")


def shown(series: Series) -> tuple[float, ...]:
    return tuple(values(series, f"app_thread_pool_{name}")[()] for name in NAMES)


def test_calls_in_threads_and_those_that_wait_for_one() -> None:
    measured, go_on = Measured(), threading.Event()

    @measured.app.get("/slow")
    def slow() -> None:
        go_on.wait(30)

    @measured.app.get("/size")
    async def size() -> None:
        current_default_thread_limiter().total_tokens = 4

    with TestClient(measured.app) as client:
        assert shown(parse(client.get("/metrics").text)) == (0, 40, 0)
        client.get("/size")
        callers = [threading.Thread(target=client.get, args=("/slow",)) for _ in range(7)]
        for caller in callers:
            caller.start()
        try:
            wait_for(
                lambda: shown(parse(client.get("/metrics").text)) == (4, 4, 3), "all that wait"
            )
        finally:
            go_on.set()
            for caller in callers:
                caller.join()
        assert shown(parse(client.get("/metrics").text)) == (0, 4, 0)


def test_threads_of_a_loop_that_has_ended_are_none() -> None:
    measured = Measured()
    for _ in range(3):
        with TestClient(measured.app) as client:
            assert shown(parse(client.get("/metrics").text)) == (0, 40, 0)


def test_trio_has_them_too() -> None:
    reader = InMemoryMetricReader()
    pool = ThreadPool(MeterProvider([reader], shutdown_on_exit=False).get_meter("x"))

    async def run() -> dict[str, float]:
        pool.watch()
        pool.watch()
        data = reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: metric.data.data_points[0].value  # type: ignore[union-attr]
            for metric in data.resource_metrics[0].scope_metrics[0].metrics
        }

    assert trio.run(run) == {
        "app_thread_pool_in_use": 0,
        "app_thread_pool_size": 40,
        "app_thread_pool_waiting": 0,
    }


def test_a_pool_without_a_limit_has_no_size(caplog: pytest.LogCaptureFixture) -> None:
    measured = Measured()

    @measured.app.get("/size")
    async def size() -> None:
        current_default_thread_limiter().total_tokens = float("inf")

    with TestClient(measured.app) as client:
        client.get("/size")
        assert values(parse(client.get("/metrics").text), "app_thread_pool_size") == {}
    assert caplog.text == ""
