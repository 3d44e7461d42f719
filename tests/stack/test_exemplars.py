"""From a bucket of a real Prometheus to the very span that a real collector has passed on."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, pairwise
from math import inf
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from telemetry.instrumentation.recorder import BUCKETS
from tests.support.collector import forwarding_collector
from tests.support.processes import ROOT, Service, get, query, script, service, wait_for
from tests.support.prometheus import Exemplars, exemplars, prometheus, pushed_prometheus
from tests.support.receivers import http_receiver
from tests.support.workers import all_up

APP = """
import asyncio
import os
from fastapi import FastAPI
from opentelemetry import metrics, trace
import telemetry

app = FastAPI()
telemetry.instrument(app)
meter = metrics.get_meter("shop")
orders = meter.create_counter("orders")
weights = meter.create_histogram("weight", unit="kg", explicit_bucket_boundaries_advisory=[1, 5])

@app.get("/wait/{milliseconds}")
async def wait(milliseconds: float) -> str:
    await asyncio.sleep(milliseconds / 1000)
    orders.add(1)
    weights.record(milliseconds / 10)
    return f"{os.getpid()} {trace.get_current_span().get_span_context().trace_id:032x}"
"""
BOUNDS: Mapping[str, tuple[float, ...]] = {
    "app_requests_processing_time_seconds_bucket": (0, *BUCKETS, inf),
    "app_requests_time_to_first_byte_seconds_bucket": (0, *BUCKETS, inf),
    "weight_kg_bucket": (0, 1, 5, inf),
    "orders_total": (),
}
OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


@contextmanager
def traced(folder: Path, *options: str, **environment: str) -> Iterator[Service]:
    """The application above under uvicorn."""
    (folder / "traced.py").write_text(APP)
    (folder / "tmp").mkdir()
    command = (script("uvicorn"), "--no-access-log", *options, "traced:app")
    variables = {
        "PYTHONPATH": f"{ROOT}:{folder}",
        "TMPDIR": str(folder / "tmp"),
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        **environment,
    }
    with service(folder, command=command, environment=variables, cwd=folder) as app:
        yield app


def page(app: Service) -> str:
    return get(f"{app.url}/metrics", OPENMETRICS)


def exemplars_of(text: str) -> dict[str, str]:
    """What follows the values on an OpenMetrics page, by the series."""
    lines = [line.split(" # ") for line in text.splitlines() if " # " in line]
    return {sample.rpartition(" ")[0]: exemplar for sample, exemplar in lines}


def test_each_exemplar_of_1000_requests_to_four_workers_is_of_a_span_that_was_exported(
    tmp_path: Path,
) -> None:
    with (
        http_receiver() as (address, receiver),
        forwarding_collector(tmp_path, address) as collector,
        pushed_prometheus(tmp_path) as pushed,
        traced(
            tmp_path,
            "--workers=4",
            OTEL_TRACES_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector}/v1/traces",
            OTEL_METRICS_EXPORTER="prometheus,otlp",
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{pushed}/api/v1/otlp/v1/metrics",
            OTEL_METRIC_EXPORT_INTERVAL="500",
        ) as app,
        prometheus(tmp_path, app.port) as scraped,
    ):
        pids = all_up(app)
        waits = [2.0 + 7 * (number % 20) for number in range(1000)]
        with ThreadPoolExecutor(8) as pool:
            answers = [
                answer.strip('"').split()
                for answer in pool.map(lambda each: app.get(f"/wait/{each}"), waits)
            ]
        waited = {trace: each for (_, trace), each in zip(answers, waits, strict=True)}
        workers = {trace: int(pid) for pid, trace in answers}
        assert len(waited) == 1000
        found: list[tuple[str, Exemplars]] = []
        for store in (scraped, pushed):
            wait_for_orders(store, 1000)
            found += [(selector, exemplars(store, selector)) for selector in BOUNDS]
        exported: dict[tuple[str, str], Span] = {}

        def all_exported() -> bool:
            exported.update(
                {(span.trace_id.hex(), span.span_id.hex()): span for _, span in receiver.spans}
            )
            return {trace for trace, _ in exported} >= set(waited)

        wait_for(all_exported, "the spans of all requests")
        for selector, by_series in found:
            assert by_series
            for labels, of_series in by_series.items():
                for each in of_series:
                    trace, span = each["labels"]["trace_id"], each["labels"]["span_id"]
                    value = float(each["value"])
                    assert set(each["labels"]) == {"trace_id", "span_id"}
                    assert (trace, span) in exported
                    if selector == "orders_total":
                        assert value == 1
                        continue
                    below, bound = bucket(BOUNDS[selector], dict(labels)["le"])
                    assert below < value <= bound
                    if selector == "weight_kg_bucket":
                        assert value == waited[trace] / 10
                        continue
                    request = exported[trace, span]
                    assert request.kind == Span.SPAN_KIND_SERVER
                    # The two clocks are started one after the other, on a machine that is busy.
                    took = (request.end_time_unix_nano - request.start_time_unix_nano) / 1e9
                    assert waited[trace] / 1000 - 0.002 < value
                    assert abs(value - took) < 0.1
        # Not of the worker alone that has answered the scrapes.
        kept = [each for _, by_series in found for each in by_series.values()]
        seen = {workers[each["labels"]["trace_id"]] for each in chain.from_iterable(kept)}
        assert len(seen) > 1
        assert seen <= pids
        # They outlive their workers, and are in OpenMetrics only.
        before = exemplars_of(page(app))
        assert {name.partition("{")[0] for name in before} == set(BOUNDS)
        killed = sorted(pids)[1:]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: all_up(app).isdisjoint(killed), "three workers are new")
        assert exemplars_of(page(app)) == before
        assert " # " not in app.get("/metrics")


def wait_for_orders(store: str, count: int) -> None:
    wait_for(lambda: query(store, "sum(orders_total)") == {(): count}, f"{count} orders")


def bucket(bounds: Sequence[float], bound: str) -> tuple[float, float]:
    """Where a bucket begins, and where it ends."""
    return next(pair for pair in pairwise(bounds) if pair[1] == float(bound))


def test_prometheus_takes_exemplars_outside_of_any_span(tmp_path: Path) -> None:
    with (
        traced(tmp_path, OTEL_METRICS_EXEMPLAR_FILTER="always_on") as app,
        prometheus(tmp_path, app.port) as store,
    ):
        app.get("/wait/1")
        wait_for_orders(store, 1)
        assert "orders_total 1.0 # {} 1.0 " in page(app)
        ((kept,),) = wait_for(lambda: list(exemplars(store, "orders_total").values()), "exemplars")
        assert (kept["labels"], kept["value"]) == ({}, "1")
