"""prometheus_client's global registry on the page of OpenTelemetry's metrics."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Metric,
    Summary,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from telemetry.compatibility import collectors_of
from telemetry.sdk.exposition import page, registry
from tests.support.applications import Measured
from tests.support.series import parse, parse_openmetrics, values

OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The registry without what a test adds, and every log line."""
    before = collectors_of(REGISTRY)
    monkeypatch.setattr(registry._logger, "filters", [])
    registry._tell_taken.cache_clear()
    registry._tell_that_they_are_one_workers.cache_clear()
    yield
    for collector in collectors_of(REGISTRY):
        if collector not in before:
            REGISTRY.unregister(collector)


class Custom:
    """A collector of an application's own."""

    def __init__(self, *families: Metric | Exception) -> None:
        self.families = families
        REGISTRY.register(self)

    def describe(self) -> Iterable[Metric]:
        # Else older versions collect when they register, and raise what collecting raises.
        return ()

    def collect(self) -> Iterable[Metric]:
        for each in self.families:
            if isinstance(each, Exception):
                raise each
            yield each


def register(registry: CollectorRegistry) -> None:
    Counter("old_orders", "Orders.", ["kind"], registry=registry).labels("book").inc(
        2, {"trace_id": "abc"}
    )
    Gauge("old_queue", "Queue.", registry=registry).set(3)
    Histogram("old_delay_seconds", "Delay.", buckets=[1], registry=registry).observe(
        0.5, {"trace_id": "abc"}
    )
    Summary("old_size", "Size.", registry=registry).observe(7)
    Info("old_build", "Build.", registry=registry).info({"version": "1.2"})
    Enum("old_state", "State.", states=["on", "off"], registry=registry).state("on")


def without_created(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "_created" not in line)


@pytest.mark.parametrize("openmetrics", [False, True])
def test_every_kind_is_as_prometheus_client_writes_it(openmetrics: bool) -> None:
    other = CollectorRegistry()
    register(other)
    register(REGISTRY)
    generate: Any = generate_openmetrics if openmetrics else generate_latest
    expected = without_created(generate(other).decode().removesuffix("# EOF\n"))
    answer = Measured().client.get("/metrics", headers=OPENMETRICS if openmetrics else {})
    # An exemplar ends with when it was made.
    shown = without_created(answer.text)
    for line in expected.splitlines():
        assert f"{line.partition(' # {')[0]}" in shown
    assert shown.count('# {trace_id="abc"}') == (2 if openmetrics else 0)
    assert ("old_orders_created" in answer.text) == (
        "old_orders_created" in generate(other).decode()
    )
    assert (parse_openmetrics if openmetrics else parse)(answer.text)
    assert answer.text.count("# EOF") == openmetrics


def test_what_prometheus_client_tells_of_the_process_is_left_out() -> None:
    """It has other names than OpenTelemetry's, which are the same under several workers."""
    shown = Measured().client.get("/metrics").text
    for name in ("process_cpu_seconds_total", "process_open_fds", "python_info", "\npython_gc"):
        assert name not in shown
    assert "\nprocess_cpu_time_seconds_total{" in shown


def test_of_a_name_that_both_have_ours_stays_and_that_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    measured = Measured()
    meter = measured.provider.get_meter("shop")
    meter.create_counter("orders").add(1)
    meter.create_histogram("delay", unit="s").record(1)
    Counter("orders", "", registry=REGISTRY).inc(7)
    # Derived names clash as well.
    Gauge("delay_seconds_count", "", registry=REGISTRY).set(7)
    Gauge("target", "", registry=REGISTRY).set(7)
    Gauge("free", "", registry=REGISTRY).set(3)
    for headers in ({}, OPENMETRICS) * 2:
        shown = measured.client.get("/metrics", headers=headers).text
        series = (parse_openmetrics if headers else parse)(shown)
        assert values(series, "orders_total") == {(): 1}
        assert values(series, "delay_seconds_count") == {(): 1}
        assert values(series, "free") == {(): 3}
    assert caplog.text.count("Of prometheus_client these are not shown") == 1
    assert "have their names: delay_seconds_count, orders, target\n" in caplog.text


@pytest.mark.parametrize(
    "broken",
    [
        [GaugeMetricFamily("half", "", value=1), OSError("no such disk")],
        [GaugeMetricFamily("half", "", value="no number")],  # type: ignore[arg-type]
    ],
)
def test_a_collector_that_fails_costs_only_its_own_metrics(
    broken: list[Metric | Exception], caplog: pytest.LogCaptureFixture
) -> None:
    Custom(*broken)
    Custom(CounterMetricFamily("whole", "", value=2))
    measured = Measured()
    measured.client.get("/nope")
    series = measured.series()
    assert values(series, "whole_total") == {(): 2}
    assert values(series, "app_requests_total") == {("GET", "unmatched"): 1}
    assert not values(series, "half")
    assert "test_registry.Custom has failed" in caplog.text
    assert "no such disk" in caplog.text or "could not convert string to float" in caplog.text


def test_a_collector_that_hangs_is_503_with_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "TIMEOUT", 0.3)
    go_on = threading.Event()

    class Hanging(Custom):
        def collect(self) -> Iterable[Metric]:
            go_on.wait(10)
            return super().collect()

    measured = Measured()
    go_on.set()
    Hanging()
    go_on.clear()
    answer = measured.client.get("/metrics")
    go_on.set()
    assert answer.status_code == 503
    assert "the collector tests.sdk.exposition.test_registry.Hanging hangs" in answer.text


def test_one_argument_leaves_it_out() -> None:
    Gauge("old_queue", "", registry=REGISTRY).set(3)
    assert values(Measured().series(), "old_queue") == {(): 3}
    measured = Measured(instrument=False)
    measured.instrument(prometheus_client_metrics=False)
    assert not values(measured.series(), "old_queue")


def test_of_several_workers_without_a_folder_one_line_says_whose_they_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(2):
        assert not registry.registry_text(False, True, ())
    assert not caplog.records
    Gauge("old_queue", "", registry=REGISTRY)
    for several in (False, True, True):
        assert b"old_queue 0.0" in registry.registry_text(False, several, ())
    assert caplog.text.count("those of the worker that answers the scrape") == 1
