"""Several workers push one truth to a real Prometheus, whatever becomes of them."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Service, free_port, get, query, wait_for
from tests.support.prometheus import pushed_prometheus, raw
from tests.support.receivers import grpc_receiver
from tests.support.workers import (
    COMMANDS,
    GUNICORN,
    UVICORN,
    Load,
    all_up,
    requests,
    spread,
    workers,
)

REQUESTS = 'sum(app_requests_total{path="/health"})'
PUSHED = ("app_requests_total", "app_responses_total", "app_requests_processing_time_seconds_count")


@contextmanager
def pushing(
    folder: Path, url: str, command: Sequence[str] = UVICORN, interval: int = 500, **more: str
) -> Iterator[Service]:
    """Workers that are scraped and push."""
    environment = {
        "OTEL_METRICS_EXPORTER": "prometheus,otlp",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{url}/api/v1/otlp/v1/metrics",
        "OTEL_METRIC_EXPORT_INTERVAL": str(interval),
        "OTEL_SERVICE_NAME": "shop",
        **more,
    }
    with workers(folder, command=command, **environment) as app:
        yield app


def value(url: str, expression: str) -> float:
    return sum(query(url, expression).values())


def becomes(url: str, expression: str, wanted: float, patience: float = 20) -> None:
    wait_for(lambda: value(url, expression) == wanted, f"{expression} is {wanted}", patience)


def never_went_back(url: str) -> None:
    """No series of the service has ever been less than before, and there is one instance."""
    for name in PUSHED:
        series = raw(url, f'{name}{{job="shop"}}')
        assert series
        for samples in series.values():
            values = [each for _, each in samples]
            assert values == sorted(values)
        assert len({dict(labels)["instance"] for labels in series}) == 1


@pytest.mark.parametrize(
    "command", ["uvicorn", "gunicorn", "gunicorn --preload", "hypercorn", "granian"]
)
def test_what_is_pushed_is_what_is_scraped(tmp_path: Path, command: str) -> None:
    with pushed_prometheus(tmp_path) as url, pushing(tmp_path, url, COMMANDS[command]) as app:
        pids = all_up(app)
        for _ in range(200):
            app.get("/health")
        for weight in (1, 2, 10) * 10:
            app.get(f"/weigh/{weight}")
        becomes(url, REQUESTS, 200)
        becomes(url, 'sum(weight_kg_bucket{le=~"5|5.0"})', 20)
        becomes(url, "sum(queue_length)", 130)
        by_worker = query(url, "sum by (process_pid) (app_memory_usage_bytes)")
        assert {int(pid) for (pid,) in by_worker} == pids
        assert value(url, "count(target_info)") == 1
        never_went_back(url)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("command", ["uvicorn", "gunicorn"])
def test_another_worker_goes_on_when_the_one_that_pushes_has_ended(
    tmp_path: Path, command: str, how: signal.Signals
) -> None:
    with pushed_prometheus(tmp_path) as url, pushing(tmp_path, url, COMMANDS[command]) as app:
        pids = all_up(app)
        with Load(app) as load:
            # Each of them in turn, and so the one that leads, too.
            for pid in sorted(pids):
                time.sleep(1)
                os.kill(pid, how)
        time.sleep(2)
        scraped = requests(app)
        becomes(url, REQUESTS, scraped)
        assert scraped <= load.answered + 1
        never_went_back(url)
        # The gauges of those that have ended are gone, and not five minutes later.
        living = all_up(app)
        assert living.isdisjoint(pids)
        becomes(url, 'count(app_memory_usage_bytes{type="rss"})', len(living))
        # No moment without numbers: the longest time between two samples is some intervals.
        samples = raw(url, 'app_requests_total{path="/health"}')
        times = sorted(at for series in samples.values() for at, _ in series)
        assert max(b - a for a, b in pairwise(times)) < 3


def test_a_hup_of_gunicorn_goes_on_where_it_was(tmp_path: Path) -> None:
    with pushed_prometheus(tmp_path) as url, pushing(tmp_path, url, GUNICORN) as app:
        pids = all_up(app)
        for _ in range(100):
            app.get("/health")
        becomes(url, REQUESTS, 100)
        os.kill(app.process.popen.pid, signal.SIGHUP)
        wait_for(lambda: all_up(app).isdisjoint(pids), "all workers are new")
        for _ in range(100):
            app.get("/health")
        becomes(url, REQUESTS, 200)
        never_went_back(url)


def test_all_that_was_counted_before_the_first_push_is_in_the_increase(tmp_path: Path) -> None:
    with (
        pushed_prometheus(tmp_path) as url,
        pushing(tmp_path, url, interval=5000) as app,
    ):
        for _ in range(120):
            app.get("/health")
        becomes(url, REQUESTS, 120)
        increase = value(url, 'sum(increase(app_requests_total{path="/health"}[1m]))')
        # Prometheus extrapolates to the window's ends, by half an interval at most each.
        assert 118 <= increase <= 160


def test_a_service_that_stops_ends_its_series_and_the_next_one_counts_from_zero(
    tmp_path: Path,
) -> None:
    with pushed_prometheus(tmp_path) as url:
        with pushing(tmp_path, url) as app:
            all_up(app)
            for _ in range(300):
                app.get("/health")
            becomes(url, REQUESTS, 300)
            app.process.stop()
        # At once, and not after five minutes.
        becomes(url, "count(app_requests_total) or vector(0)", 0, patience=3)
        began = time.time()
        with pushing(tmp_path, url, interval=2000) as app:
            for _ in range(200):
                app.get("/health")
            becomes(url, REQUESTS, 200)
            assert value(url, "count(count by (instance) (app_requests_total))") == 1
            window = f"{time.time() - began:.0f}s"
            increase = value(url, f'sum(increase(app_requests_total{{path="/health"}}[{window}]))')
            assert 195 <= increase <= 300


def test_an_outage_of_prometheus_loses_nothing(tmp_path: Path) -> None:
    with pushed_prometheus(tmp_path) as url:
        port = int(url.rsplit(":", 1)[1])
        # What is pushed while it is away is pushed again: the totals are cumulative.
    with pushing(tmp_path, url) as app:
        with pushed_prometheus(tmp_path, port):
            all_up(app)
            for _ in range(50):
                app.get("/health")
            becomes(url, REQUESTS, 50)
        for _ in range(50):
            app.get("/health")
        time.sleep(3)
        with pushed_prometheus(tmp_path, port):
            becomes(url, REQUESTS, 100)
            never_went_back(url)


def test_a_users_own_instance_id_stays(tmp_path: Path) -> None:
    own = "service.instance.id=shop-1,deployment.environment.name=test"
    with (
        pushed_prometheus(tmp_path) as url,
        pushing(tmp_path, url, OTEL_RESOURCE_ATTRIBUTES=own) as app,
    ):
        all_up(app)
        for _ in range(50):
            app.get("/health")
        becomes(url, 'sum(app_requests_total{path="/health", instance="shop-1"})', 50)
        never_went_back(url)


def test_two_services_on_one_host_never_mix(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with (
        pushed_prometheus(tmp_path) as url,
        pushing(tmp_path / "one", url, TMPDIR=str(tmp_path)) as one,
        pushing(
            tmp_path / "other", url, GUNICORN, TMPDIR=str(tmp_path), OTEL_SERVICE_NAME="bank"
        ) as other,
    ):
        for _ in range(30):
            one.get("/health")
        for _ in range(70):
            other.get("/health")
        becomes(url, 'sum(app_requests_total{path="/health", job="shop"})', 30)
        becomes(url, 'sum(app_requests_total{path="/health", job="bank"})', 70)


FILE = """
file_format: "1.0"
resource:
  attributes:
    - name: service.name
      value: shop
meter_provider:
  readers:
    - periodic:
        interval: 500
        exporter:
          otlp_http:
            endpoint: {endpoint}
"""


def test_a_declarative_file_follows_the_same_rule(tmp_path: Path) -> None:
    with pushed_prometheus(tmp_path) as url:
        path = tmp_path / "otel.yaml"
        path.write_text(FILE.format(endpoint=f"{url}/api/v1/otlp/v1/metrics"))
        with workers(tmp_path, command=UVICORN, OTEL_CONFIG_FILE=str(path)) as app:
            for _ in range(100):
                app.get("/health")
            becomes(url, REQUESTS, 100)
            time.sleep(2)
            assert value(url, REQUESTS) == 100
            never_went_back(url)
            app.process.stop()
        becomes(url, "count(app_requests_total) or vector(0)", 0, patience=3)


def test_over_grpc_one_instance_pushes_what_all_have_measured(tmp_path: Path) -> None:
    with (
        grpc_receiver() as (endpoint, receiver),
        workers(
            tmp_path,
            OTEL_METRICS_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_METRIC_EXPORT_INTERVAL="300",
        ) as app,
    ):
        answered = spread(app)

        def pushed() -> int:
            metrics = receiver.metrics()
            # The first push may have come before the first request.
            points = metrics["app_requests"].sum.data_points if "app_requests" in metrics else []
            return sum(
                point.as_int
                for point in points
                if any(each.value.string_value == "/health" for each in point.attributes)
            )

        wait_for(lambda: receiver.requests and pushed() == answered, "all is pushed")
        instances = {
            each.value.string_value
            for request in receiver.requests
            for resource in request.resource_metrics
            for each in resource.resource.attributes
            if each.key == "service.instance.id"
        }
        assert len(instances) == 1
        # One of the four pushes, every 0.3 s.
        before = len(receiver.requests)
        time.sleep(3)
        assert 5 <= len(receiver.requests) - before <= 12


def test_a_users_own_aggregation_of_histograms_wins(tmp_path: Path) -> None:
    """Exponential histograms of several workers add up, too."""
    variable = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    own: Any = {variable: "base2_exponential_bucket_histogram"}
    with pushed_prometheus(tmp_path) as url, pushing(tmp_path, url, **own) as app:
        all_up(app)
        for _ in range(100):
            app.get("/health")
        becomes(
            url,
            'sum(histogram_count(app_requests_processing_time_seconds{path="/health"}))',
            100,
        )


def test_deltas_are_pushed_by_each_worker_and_add_up(tmp_path: Path) -> None:
    with (
        grpc_receiver() as (endpoint, receiver),
        workers(
            tmp_path,
            OTEL_METRICS_EXPORTER="prometheus,otlp",
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta",
            OTEL_METRIC_EXPORT_INTERVAL="300",
        ) as app,
    ):
        answered = spread(app)
        time.sleep(1)
        counts = [
            point.as_int
            for request in receiver.requests
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "app_requests"
            for point in metric.sum.data_points
            if any(each.value.string_value == "/health" for each in point.attributes)
        ]
        assert sum(counts) == answered
        assert requests(app) == answered
        assert "Each worker pushes deltas of its own" in app.process.log


@pytest.mark.parametrize("command", ["gunicorn --preload", "opentelemetry-instrument gunicorn"])
def test_the_arbiter_of_gunicorn_pushes_nothing(tmp_path: Path, command: str) -> None:
    with pushed_prometheus(tmp_path) as url:
        with pushing(tmp_path, url, COMMANDS[command]) as app:
            all_up(app)
            time.sleep(1)
            up = time.time()
            time.sleep(2)
            assert app.process.stop() == 0
        becomes(url, "count(level) or vector(0)", 0, patience=3)
        # It has the gauge as well, but it is no worker. A first worker's gauge has no process_pid
        # until there is a second one.
        assert not [
            labels
            for labels, samples in raw(url, "level").items()
            if "process_pid" not in dict(labels) and samples[-1][0] > up
        ]


HANGING = """
import os, threading
from fastapi import FastAPI
from opentelemetry import metrics
import telemetry

app = FastAPI()
telemetry.instrument(app)
meter = metrics.get_meter("shop")
meter.create_counter("orders").add(100)
stuck = threading.Event()
over = threading.Event()

def callback(_):
    if stuck.is_set():
        over.wait(1000)
    yield metrics.Observation(1)

meter.create_observable_gauge("hangs", [callback])

@app.get("/health")
async def health() -> int:
    return os.getpid()

@app.get("/hang/{pid}")
async def hang(pid: int) -> int:
    if pid == os.getpid():
        stuck.set()
    return os.getpid()
"""


@pytest.mark.parametrize("how", ["a callback hangs", "it is stopped"])
def test_another_worker_goes_on_when_the_one_that_pushes_hangs(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.workers.APP", HANGING)
    port = free_port()
    own_port: Any = {"OTEL_EXPORTER_PROMETHEUS_PORT": str(port)}
    # Of uvicorn's workers, one that is stopped is replaced.
    with pushed_prometheus(tmp_path) as url, pushing(tmp_path, url, GUNICORN, **own_port) as app:
        becomes(url, "sum(orders_total)", 400)
        (group,) = (tmp_path / "tmp").glob("fastapi-otel-metrics-*/*")
        leader = int(os.readlink(group / "leader").split("-")[1])
        page = f"http://localhost:{port}/metrics"
        # The leader listens from its next turn on.
        wait_for(lambda: "orders_total 400" in get(page), "its port is open")
        if how == "it is stopped":
            os.kill(leader, signal.SIGSTOP)
        else:
            wait_for(lambda: int(app.get(f"/hang/{leader}")) == leader, "it hangs")
        time.sleep(12)
        began = time.time()
        time.sleep(5)
        (series,) = raw(url, "orders_total").values()
        # One push each half second, as before.
        assert sum(at > began for at, _ in series) >= 6
        assert {value for _, value in series[-6:]} == {400}
        if how == "a callback hangs":
            # A process that is stopped keeps its port.
            assert "orders_total 400" in get(page)
        values = [value for _, value in series]
        assert values == sorted(values)
        os.kill(leader, signal.SIGCONT)
