"""The private names of FastAPI's telemetry."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
)

from telemetry.compatibility.fastapi import (
    flush_with_fastapi,
    has_native_metrics,
    set_native_default,
    switch_off_native_metrics,
)
from tests.support.versions import needs


@needs("fastapi", "0.142.0")
def test_fastapis_own_metrics() -> None:
    def recorded(app: FastAPI) -> bool:
        with TestClient(app) as client:
            client.get("/nope")
        data = reader.get_metrics_data()
        assert data is not None
        return any(
            scope.scope.name == "fastapi" for scope in data.resource_metrics[0].scope_metrics
        )

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("x").create_counter("c").add(1)
    app = FastAPI(telemetry={"meter_provider": provider})
    switch_off_native_metrics(app)
    # Asked for, by the provider.
    assert recorded(app)
    assert has_native_metrics(app)
    plain, exporting = FastAPI(), FastAPI(telemetry={"auto_configure": True})
    assert not switch_off_native_metrics(plain)
    assert switch_off_native_metrics(exporting)
    assert not has_native_metrics(plain)
    # It goes on adding the exporters that the environment names.
    assert exporting._telemetry["metrics"] is True


@needs("fastapi", "0.142.0")
def test_fastapi_flushes_when_a_lifespan_ends() -> None:
    flushes: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        flush_with_fastapi(lambda: flushes.append("in time"))
        yield

    with TestClient(FastAPI(lifespan=lifespan)):
        assert flushes == []
    assert flushes == ["in time"]


@needs("fastapi", "0.142.0")
def test_fastapi_can_be_told_what_to_record() -> None:
    reader = InMemoryMetricReader()
    app = FastAPI()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    set_native_default(app, "meter_provider", provider)
    set_native_default(app, "exclude", lambda scope: scope["path"] == "/left-out")
    assert has_native_metrics(app)
    client = TestClient(app)
    client.get("/left-out")
    client.get("/nope")
    data = reader.get_metrics_data()
    assert data is not None
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    (point,) = next(each for each in metrics if each.unit == "s").data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert point.count == 1
    assert not has_native_metrics(FastAPI(telemetry={"metrics": False}))
