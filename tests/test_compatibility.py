"""One test for each private name that the package leans on: it fails when the name moves."""

import asyncio
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import context, metrics, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics._internal.instrument import _Asynchronous
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    InMemoryMetricReader,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    DropAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.http import ExcludeList
from prometheus_client import REGISTRY, CollectorRegistry, Gauge
from sqlalchemy import create_engine

from telemetry import compatibility
from telemetry.sdk.push import NoRecordedValues
from tests.support.versions import needs


def test_the_current_context_is_a_context_variables_value() -> None:
    assert compatibility.context_getter() != context.get_current
    assert compatibility.context_getter()() == context.get_current()


def test_the_span_of_a_context_has_a_key() -> None:
    span = trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)
    assert compatibility.span_getter() != trace.get_current_span
    assert compatibility.span_getter()(trace.set_span_in_context(span)) is span


def test_the_apis_stand_in_for_a_meter_provider() -> None:
    code = (
        "from opentelemetry import metrics\n"
        "from telemetry.compatibility import no_meter_provider_is_set as unset\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "print(unset(metrics.get_meter_provider()))\n"
        "metrics.set_meter_provider(MeterProvider())\n"
        "print(unset(metrics.get_meter_provider()))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["True", "False"]
    assert not compatibility.no_meter_provider_is_set(metrics.NoOpMeterProvider())


@needs("opentelemetry-sdk", "1.44.0")
def test_the_readers_of_a_meter_provider() -> None:
    reader = InMemoryMetricReader()
    assert list(compatibility.metric_readers(MeterProvider([reader]))) == [reader]
    assert list(compatibility.metric_readers(metrics.NoOpMeterProvider())) == []


def test_readers_that_are_added_later() -> None:
    provider, added = MeterProvider(shutdown_on_exit=False), list[object]()
    compatibility.when_reader_is_added(provider, added.append)
    reader = InMemoryMetricReader()
    assert compatibility.add_metric_reader(provider, reader)
    assert list(compatibility.metric_readers(provider)) == [reader]
    compatibility.when_reader_is_added(object(), added.append)
    if hasattr(MeterProvider, "add_metric_reader"):
        assert added == [reader]


def test_a_view_with_exponential_histograms_is_not_that_of_a_page() -> None:
    views = [
        View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation()),
        View(instrument_name="left_out", aggregation=DropAggregation()),
    ]
    other = InMemoryMetricReader()
    provider = MeterProvider([other], views=views, shutdown_on_exit=False)
    page = InMemoryMetricReader()
    compatibility.add_metric_reader(provider, page)
    compatibility.without_exponential_histograms(provider, page)
    meter = provider.get_meter("x")
    meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1.0]).record(2)
    meter.create_counter("left_out").add(1)
    kinds = []
    for reader in (other, page):
        data = reader.get_metrics_data()
        assert data is not None
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        (point,) = metric.data.data_points
        kinds.append(type(point))
    assert kinds == [ExponentialHistogramDataPoint, HistogramDataPoint]


def test_the_resource_of_a_meter_provider() -> None:
    resource = Resource({"service.name": "shop"})
    assert compatibility.resource_of(MeterProvider(resource=resource)) is resource
    assert compatibility.resource_of(metrics.NoOpMeterProvider()) is None


def test_the_collectors_of_a_registry() -> None:
    registry = CollectorRegistry()
    collector = Gauge("x", "", registry=registry)
    assert compatibility.collectors_of(registry) == [collector]


def test_the_collector_of_the_stock_reader() -> None:
    before = compatibility.collectors_of(REGISTRY)
    PrometheusMetricReader()
    (collector,) = (each for each in compatibility.collectors_of(REGISTRY) if each not in before)
    REGISTRY.unregister(collector)
    assert compatibility.is_opentelemetrys(collector)
    assert not any(map(compatibility.is_opentelemetrys, before))


@pytest.mark.parametrize("kind", ["counter", "up_down_counter", "gauge"])
def test_the_callbacks_of_an_instrument(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = getattr(_Asynchronous.callback, "__wrapped__", _Asynchronous.callback)
    monkeypatch.setattr(_Asynchronous, "callback", original)

    def guard(name: str, callback: Any) -> Any:
        return lambda options: [Observation(each.value + 1, {"of": name}) for each in callback(0)]

    for _ in range(2):
        compatibility.guard_callbacks(guard)
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
    getattr(meter, f"create_observable_{kind}")("asked", [lambda _: [Observation(1)]])
    for _ in range(2):
        data = reader.get_metrics_data()
        assert data is not None
        (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        assert (getattr(point, "value", None), dict(point.attributes or {})) == (2, {"of": "asked"})


def test_the_temporality_of_a_reader() -> None:
    delta: dict[type, AggregationTemporality] = {Counter: AggregationTemporality.DELTA}
    assert compatibility.has_delta_temporality(InMemoryMetricReader(preferred_temporality=delta))
    assert not compatibility.has_delta_temporality(InMemoryMetricReader())


def test_the_aggregation_of_a_reader() -> None:
    own: dict[type, Aggregation] = {Histogram: ExponentialBucketHistogramAggregation()}
    assert compatibility.has_exponential_histograms(InMemoryMetricReader(preferred_aggregation=own))
    assert not compatibility.has_exponential_histograms(InMemoryMetricReader())


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_encoder_of_the_otlp_exporters(protocol: str) -> None:
    module = import_module(f"opentelemetry.exporter.otlp.proto.{protocol}.metric_exporter")
    reader = PeriodicExportingMetricReader(module.OTLPMetricExporter(), math.inf)
    provider = MeterProvider([source := InMemoryMetricReader()], shutdown_on_exit=False)
    provider.get_meter("x").create_counter("c").add(7)
    data = source.get_metrics_data()
    assert data is not None
    assert compatibility.can_send_no_recorded_value(reader, NoRecordedValues)
    assert compatibility.can_send_no_recorded_value(reader, NoRecordedValues)
    for given, flags in ((data, 0), (NoRecordedValues(data.resource_metrics), 1)):
        request = module.encode_metrics(given)
        (point,) = request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
        assert point.flags == flags
    console = PeriodicExportingMetricReader(ConsoleMetricExporter(), math.inf)
    assert not compatibility.can_send_no_recorded_value(console, NoRecordedValues)


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("uvicorn._subprocess", "subprocess_started"),
        ("hypercorn.asyncio.run", "asyncio_worker"),
        ("hypercorn.trio.run", "trio_worker"),
        ("granian.server.mp", "MPServer"),
    ],
)
def test_what_servers_start_as_their_workers(module: str, function: str) -> None:
    found = getattr(import_module(module), function)
    assert found.__module__ in compatibility.WORKER_MODULES


def test_a_process_of_multiprocessing_is_a_worker_by_the_module_of_its_target(
    tmp_path: Path,
) -> None:
    script = tmp_path / "starts.py"
    code = (
        "import multiprocessing, functools\n"
        "from telemetry.compatibility import started_as_worker\n"
        "def show(*_):\n    print(started_as_worker())\n"
        "def worker(*_):\n"
        "    import multiprocessing\n"
        "    multiprocessing.current_process()._target.func.__module__ = 'uvicorn._subprocess'\n"
        "    print(started_as_worker())\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    for target in (show, functools.partial(worker, 1)):\n"
        "        process = context.Process(target=target)\n"
        "        process.start()\n"
        "        process.join()\n"
    )
    script.write_text(code)
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (result.stdout.split(), result.stderr) == (["False", "True"], "")


def test_gunicorns_arbiter_calls_the_application() -> None:
    arbiter = import_module(compatibility.ARBITER_MODULE)
    assert hasattr(arbiter.Arbiter, "spawn_worker")
    assert not compatibility.started_as_worker()


def test_the_names_of_the_prometheus_exporter() -> None:
    metric, label, unit = compatibility.prometheus_names()
    assert (metric("a.b/c"), label("a.b"), unit("By/s")) == ("a_b_c", "a_b", "bytes_per_second")


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
    compatibility.switch_off_native_metrics(app)
    # Asked for, by the provider.
    assert recorded(app)
    assert compatibility.has_native_metrics(app)
    plain, exporting = FastAPI(), FastAPI(telemetry={"auto_configure": True})
    assert not compatibility.switch_off_native_metrics(plain)
    assert compatibility.switch_off_native_metrics(exporting)
    assert not compatibility.has_native_metrics(plain)
    # It goes on adding the exporters that the environment names.
    assert exporting._telemetry["metrics"] is True


@needs("fastapi", "0.142.0")
def test_fastapi_flushes_when_a_lifespan_ends() -> None:
    flushes: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        compatibility.flush_with_fastapi(lambda: flushes.append("in time"))
        yield

    with TestClient(FastAPI(lifespan=lifespan)):
        assert flushes == []
    assert flushes == ["in time"]


@needs("fastapi", "0.142.0")
def test_fastapi_can_be_told_what_to_record() -> None:
    reader = InMemoryMetricReader()
    app = FastAPI()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    compatibility.set_native_default(app, "meter_provider", provider)
    compatibility.set_native_default(app, "exclude", lambda scope: scope["path"] == "/left-out")
    assert compatibility.has_native_metrics(app)
    client = TestClient(app)
    client.get("/left-out")
    client.get("/nope")
    data = reader.get_metrics_data()
    assert data is not None
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    (point,) = next(each for each in metrics if each.unit == "s").data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert point.count == 1
    assert not compatibility.has_native_metrics(FastAPI(telemetry={"metrics": False}))


def test_contrib_can_be_told_what_to_leave_out() -> None:
    app = FastAPI()
    FastAPIInstrumentor.instrument_app(app, excluded_urls="/one")
    try:
        stack = app.build_middleware_stack()
        compatibility.exclude_from_contrib(stack, "/other")
        layer: Any = stack
        while not isinstance(layer, OpenTelemetryMiddleware):
            layer = layer.app
        assert isinstance(layer.excluded_urls, ExcludeList)
        found = [layer.excluded_urls.url_disabled(f"http://x{each}") for each in ("/one", "/other")]
        assert found == [True, True]
        assert not layer.excluded_urls.url_disabled("http://x/third")
    finally:
        FastAPIInstrumentor.uninstrument_app(app)
    compatibility.exclude_from_contrib(FastAPI().build_middleware_stack(), "/other")


def test_contribs_mark_on_an_application() -> None:
    app = FastAPI()
    assert not compatibility.is_instrumented_by_contrib(app)
    FastAPIInstrumentor.instrument_app(app)
    try:
        assert compatibility.is_instrumented_by_contrib(app)
    finally:
        FastAPIInstrumentor.uninstrument_app(app)


@pytest.mark.parametrize(
    "module",
    [
        "opentelemetry.metrics._internal",
        "opentelemetry.exporter.prometheus._mapping",
        "uvicorn._subprocess",
    ],
)
def test_the_package_works_without_a_name_that_has_moved(module: str) -> None:
    """A module that is not there, for the package alone: its users inside are imported before."""
    code = (
        "import sys\n"
        "from fastapi import FastAPI\n"
        "from fastapi.testclient import TestClient\n"
        "import opentelemetry.exporter.prometheus, opentelemetry.sdk.metrics.export, uvicorn\n"
        f"sys.modules[{module!r}] = None\n"
        "import telemetry\n"
        "app = FastAPI()\n"
        "telemetry.instrument(app)\n"
        "client = TestClient(app)\n"
        "client.get('/nope')\n"
        'print(\'app_requests_total{method="GET",path="unmatched"} 1.0\' in '
        "client.get('/metrics').text)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "True", result.stderr


WINDOWS = """
import asyncio, os, sys
from fastapi import FastAPI
from fastapi.testclient import TestClient
import opentelemetry.exporter.prometheus, opentelemetry.sdk.metrics, psutil
sys.modules["fcntl"] = None
del os.getuid, os.register_at_fork
import telemetry
app = FastAPI()
telemetry.instrument(app)
client = TestClient(app)
client.get("/nope")
print('app_requests_total{method="GET",path="unmatched"} 1.0' in client.get("/metrics").text)
"""


def test_one_process_works_without_what_only_unix_has() -> None:
    result = subprocess.run([sys.executable, "-c", WINDOWS], capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr) == ("True", "")


def test_several_workers_there_say_in_one_line_that_each_shows_its_own() -> None:
    environment = {**os.environ, "TELEMETRY_WORKER_GROUP": "shop"}
    result = subprocess.run(
        [sys.executable, "-c", WINDOWS], capture_output=True, text=True, env=environment
    )
    assert result.stdout.strip() == "True", result.stderr
    (line,) = result.stderr.splitlines()
    assert "Each worker shows its own metrics only" in line


def test_multiprocessing_is_not_imported_to_find_out_who_is_a_worker() -> None:
    code = (
        "import sys\n"
        "from telemetry.sdk.workers.group import worker_group\n"
        "sys.modules.pop('multiprocessing.process', None)\n"
        "worker_group()\n"
        "print('multiprocessing.process' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False", result.stderr


def test_what_was_recorded_for_a_reader() -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
    called: list[int] = []

    def callback(_: CallbackOptions) -> Iterator[Observation]:
        called.append(1)
        yield Observation(1)

    meter.create_observable_counter("observed", [callback])
    counter = meter.create_counter("counted")
    reader.get_metrics_data()
    assert not compatibility.has_measured(reader)
    counter.add(7)
    assert compatibility.has_measured(reader)

    call_again = compatibility.forget_measurements(reader)
    assert not compatibility.has_measured(reader)
    counter.add(1)
    assert collected(reader) == {"counted": 1}
    assert len(called) == 1
    call_again()
    assert collected(reader) == {"counted": 1, "observed": 1}


def setting(gauge: Any) -> Callable[[], object]:
    return lambda: gauge.set(time.time())


MEASURES: dict[str, Callable[[Meter], Callable[[], object]]] = {
    "counter": lambda meter: partial(meter.create_counter("x").add, 0),
    "up-down counter": lambda meter: partial(meter.create_up_down_counter("x").add, 0),
    "gauge": lambda meter: setting(meter.create_gauge("x")),
    "histogram": lambda meter: partial(meter.create_histogram("x").record, 0),
    "exponential": lambda meter: partial(meter.create_histogram("exponential").record, 0),
}


@pytest.mark.parametrize("kind", MEASURES)
def test_what_was_recorded_since_a_reader_has_collected(kind: str) -> None:
    reader, other = InMemoryMetricReader(), InMemoryMetricReader()
    aggregation = ExponentialBucketHistogramAggregation()
    views = [
        View(instrument_name="exponential", aggregation=aggregation),
        View(instrument_name="dropped", aggregation=DropAggregation()),
    ]
    meter = MeterProvider([reader, other], views=views, shutdown_on_exit=False).get_meter("x")
    meter.create_observable_counter("observed", [lambda _: [Observation(1)]])
    dropped, measure = meter.create_counter("dropped"), MEASURES[kind](meter)
    gauges: dict[Any, Any] = {}
    for _ in range(3):
        dropped.add(1)
        assert not compatibility.has_measured_lately(reader, gauges)
        measure()
        other.get_metrics_data()
        assert compatibility.has_measured_lately(reader, gauges)
        reader.get_metrics_data()


def collected(reader: InMemoryMetricReader) -> dict[str, float]:
    data: Any = reader.get_metrics_data()
    return {
        metric.name: point.value
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }


def test_what_a_reader_aggregates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "DIRECT", True)
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
    record = meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1.0]).record
    meter.create_observable_gauge("g", [lambda _: [Observation(3)]])
    found = compatibility.aggregations_of(reader)
    assert found is not None
    (gauge,) = found.asynchronous()
    with found.lock:
        found.observe(gauge)
    record(0.5)
    views = [compatibility.Series(*each) for each in found.views()]
    assert [each.is_synchronous for each in views] == [False, True]
    assert [each.scope.name for each in views] == ["x", "x"]
    (index, aggregation), (_, last) = *views[1].changed(), *views[0].changed()
    assert views[0].collect(0, last, False).value == 3
    assert (
        views[1].metric(views[1].collect(index, aggregation, False)).data.data_points[0].sum == 0.5
    )
    assert list(views[1].changed()) == []
    record(2)
    assert list(views[1].changed()) == [(index, aggregation)]
    assert views[1].collect(index, aggregation, True) == ([1, 1], 2.5, 0.5, 2)
    # Another one has collected.
    reader.collect()
    assert list(views[1].changed()) == [(index, aggregation)]


@pytest.mark.parametrize("differs", ["switched off", "deltas", "another kind", "another SDK"])
def test_all_is_collected_by_the_reader_where_something_is_unknown(
    differs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compatibility, "DIRECT", differs != "switched off")
    delta: dict[type, AggregationTemporality] = {Counter: AggregationTemporality.DELTA}
    reader = InMemoryMetricReader(preferred_temporality=delta if differs == "deltas" else None)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("x").create_counter("c").add(1)
    if differs == "another kind":
        monkeypatch.setattr(compatibility, "_KINDS", set())
    assert compatibility.aggregations_of(object() if differs == "another SDK" else reader) is None


@needs("opentelemetry-sdk", "1.45.2")
def test_all_is_collected_by_the_reader_where_the_sdk_measures_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compatibility, "DIRECT", True)
    for setting in ("false", "true"):
        monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", setting)
        reader = InMemoryMetricReader()
        MeterProvider([reader], shutdown_on_exit=False)
        assert (compatibility.aggregations_of(reader) is None) == (setting == "true")


@needs("opentelemetry-sdk", "1.45.2")
def test_the_limits_of_series() -> None:
    reader = InMemoryMetricReader()
    views = [View(instrument_name="few", aggregation_cardinality_limit=7)]
    provider = MeterProvider([reader], shutdown_on_exit=False, views=views)
    for name in ("few", "many"):
        provider.get_meter("x").create_counter(name).add(1)
    assert compatibility.series_limits(reader) == {("x", "few"): 7, ("x", "many"): 2000}


def test_exports_that_fail_and_where_a_reader_exports_to() -> None:
    class Exporter(ConsoleMetricExporter):
        def export(self, *_: object, **__: object) -> MetricExportResult:
            result = next(results)
            if isinstance(result, MetricExportResult):
                return result
            raise OSError

    results = iter([MetricExportResult.SUCCESS, MetricExportResult.FAILURE, None])
    reader = PeriodicExportingMetricReader(Exporter(), math.inf)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("x").create_counter("c").add(1)
    failed: list[int] = []
    compatibility.when_an_export_fails(reader, lambda: failed.append(1))
    received: list[object] = []
    before = compatibility.redirect(reader, lambda data, **_: received.append(data))
    for count in (0, 1, 2):
        reader.collect()
        before(received[-1])
        assert len(failed) == count


def test_the_overflow_of_a_pool_of_sqlalchemy(caplog: pytest.LogCaptureFixture) -> None:
    engine = create_engine("sqlite:///x.db", max_overflow=3)
    assert compatibility.sqlalchemys_max_overflow(engine.pool) == 3
    assert compatibility.sqlalchemys_max_overflow(object()) is None
    assert "SQLAlchemy has changed" in caplog.text


def test_who_waits_for_a_pool_of_asyncpg(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> list[int | None]:
        pool = asyncpg.create_pool(min_size=0, max_size=1)
        waiting = [compatibility.asyncpgs_waiting(pool)]
        # What asyncpg itself makes when it is initialized; without a minimum it needs no server.
        await pool
        waiting.append(compatibility.asyncpgs_waiting(pool))
        pool._queue.get_nowait()
        tasks = [asyncio.create_task(pool.fetch("select 1")) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting.append(compatibility.asyncpgs_waiting(pool))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        waiting.append(compatibility.asyncpgs_waiting(pool))
        pool.terminate()
        return waiting

    assert asyncio.run(run()) == [None, 0, 3, 0]
    assert compatibility.asyncpgs_waiting(object()) is None
    assert "asyncpg has changed" in caplog.text


def test_the_handler_for_pythons_logging() -> None:
    kind = compatibility.handler_class()
    assert issubclass(kind, logging.Handler)
    if find_spec("opentelemetry.instrumentation.logging.handler"):
        assert kind.__module__ == "opentelemetry.instrumentation.logging.handler"
