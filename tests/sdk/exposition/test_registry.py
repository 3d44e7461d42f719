"""prometheus_client's global registry on the page of OpenTelemetry's metrics."""

import asyncio
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
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

from telemetry.compatibility.prometheus import collectors_of
from telemetry.sdk.exposition import page, registry
from tests.support.applications import Measured
from tests.support.series import parse, parse_openmetrics, values

OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The registry without what a test adds, and every log line."""
    before = collectors_of(REGISTRY)
    monkeypatch.setattr(registry._logger, "filters", [])
    registry._warn_once.cache_clear()
    yield
    for collector in collectors_of(REGISTRY):
        if collector not in before:
            REGISTRY.unregister(collector)


class Custom:
    """A collector of an application's own."""

    def __init__(self, *families: Metric | BaseException) -> None:
        self.families = families
        REGISTRY.register(self)

    def describe(self) -> Iterable[Metric]:
        # Else older versions collect when they register, and raise what collecting raises.
        return ()

    def collect(self) -> Iterable[Metric]:
        for each in self.families:
            if isinstance(each, BaseException):
                raise each
            yield each


class Yielding:
    """A collector whose families are made when they are asked for."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = families

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        return iter(self.families)


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


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_a_collector_that_wants_to_end_the_process_does_not(error: type[BaseException]) -> None:
    Custom(GaugeMetricFamily("half", "", value=1), error())
    Custom(CounterMetricFamily("whole", "", value=2))
    series = Measured().series()
    assert values(series, "whole_total") == {(): 2}
    assert not values(series, "half")


def both(families: Iterable[Metric], measured: Measured) -> list[Any]:
    """The series of a collector, by a strict parser in both formats."""
    collector = Custom(*families)
    shown = [
        (parse_openmetrics if headers else parse)(
            measured.client.get("/metrics", headers=headers).text
        )
        for headers in ({}, OPENMETRICS)
    ]
    REGISTRY.unregister(collector)
    return shown


def test_names_are_compared_as_they_are_written(caplog: pytest.LogCaptureFixture) -> None:
    measured = Measured()
    measured.provider.get_meter("shop").create_counter("cart.size").add(1)
    dotted = Metric("cart_size", "", "gauge")
    dotted.name = "cart.size"
    dotted.add_sample("cart.size", {}, 7)
    free = Metric("free_space", "", "gauge")
    free.add_sample("free_space", {"a.b": "x", "1c": "y"}, 3)
    for series in both([dotted, free], measured):
        assert values(series, "cart_size_total") == {(): 1}
        assert not values(series, "cart_size")
        assert values(series, "free_space") == {("y", "x"): 3}
    assert "have their names: cart_size\n" in caplog.text


def test_of_one_family_from_two_collectors_the_first_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Custom(GaugeMetricFamily("shared", "", value=1))
    for series in both([GaugeMetricFamily("shared", "", value=2)], Measured()):
        assert values(series, "shared") == {(): 1}
    assert "have their names: shared\n" in caplog.text


def test_a_series_that_is_there_twice_is_shown_once(caplog: pytest.LogCaptureFixture) -> None:
    twice = GaugeMetricFamily("twice", "", labels=["a"])
    for number in range(3):
        twice.add_metric([f"{number % 2}"], number)
    for series in both([twice], Measured()):
        assert values(series, "twice") == {("0",): 0, ("1",): 1}
    assert "Some series of twice are there twice" in caplog.text


def test_names_with_colons_are_taken_as_openmetrics_has_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Custom(GaugeMetricFamily("job_rate", "", value=1))
    for series in both([GaugeMetricFamily("job:rate", "", value=2)], Measured()):
        assert values(series, "job_rate") == {(): 1}
        assert not values(series, "job:rate")
    assert "have their names: job:rate\n" in caplog.text


TEXTS = st.one_of(
    st.sampled_from(["", "a", "a.b", "a_b", "1", ":", "le", 'x"\n\\', "\x00", "\r", "\ud800", "é"]),
    st.text(st.characters(codec=None), max_size=4),
)
ANY_FAMILY = st.tuples(
    TEXTS,
    TEXTS,
    st.lists(
        st.tuples(
            st.none() | TEXTS,
            st.dictionaries(TEXTS, TEXTS | st.integers(), max_size=3),
            st.floats() | st.integers() | TEXTS | st.none(),
            st.none() | st.integers() | st.floats() | TEXTS,
        ),
        max_size=4,
    ),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(ANY_FAMILY, max_size=4))
def test_whatever_a_collector_yields_both_pages_are_valid(families: list[Any]) -> None:
    def yielded(openmetrics: bool) -> Iterator[Metric]:
        for name, documentation, samples in families:
            family = Metric("x", documentation, "gauge")
            family.name = name
            for own, labels, value, timestamp in samples:
                # The strict parser wants the samples of a gauge to have its name.
                own = name if openmetrics or own is None else own
                family.add_sample(own, labels, value, timestamp)
            yield family

    for parser, openmetrics in ((parse, False), (parse_openmetrics, True)):
        # Each family is one collector's: what cannot be written costs all that its collector has.
        collectors = [("x", lambda family=family: [family]) for family in yielded(openmetrics)]
        with patch.object(registry, "_collectors", lambda: collectors):  # noqa: B023
            generate = registry.openmetrics_text if openmetrics else generate_latest
            text = registry.registry_text(generate, False, ()).decode()
        parser(text + "# EOF\n" * openmetrics)


@pytest.mark.parametrize("labels", [{"": "x"}, {"a.b": "x", "a_b": "y"}])
def test_labels_that_cannot_be_written_cost_only_their_collector(
    labels: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    odd = Metric("odd", "", "gauge")
    odd.add_sample("odd", labels, 1)
    for series in both([odd], Measured()):
        assert not values(series, "odd")
    assert "odd has no name, or several labels of one name" in caplog.text


def test_what_a_collector_adds_is_bounded_and_takes_no_more_memory_than_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def endless() -> Iterator[Metric]:
        for number in range(1_000):
            yield GaugeMetricFamily(f"g{number}", "", value=1, labels=None)
            big = GaugeMetricFamily(f"big{number}", "", labels=["a"])
            big.add_metric(["x" * 2**20], 1)
            yield big
            yielded.append(number)

    yielded: list[int] = []
    huge = GaugeMetricFamily("huge", "", labels=["a"])
    for number in range(100):
        huge.add_metric([f"{number}" + "x" * 2**20], 1)
    Custom(GaugeMetricFamily("small", "", value=1))
    for families in ([huge], endless()):
        REGISTRY.register(collector := Yielding(families))
        tracemalloc.start()
        page = registry.registry_text(generate_latest, False, ())
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        REGISTRY.unregister(collector)
        assert page.count(b"\n") == 3
        assert most < 6 * registry.MAX_SIZE
    assert len(yielded) < 20
    assert caplog.text.count("it has more than 16 MiB to show") == 2


def test_the_stock_reader_beside_ours_adds_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stock = PrometheusMetricReader()
    measured = Measured(instrument=False)
    measured.provider = MeterProvider([stock], shutdown_on_exit=False)
    measured.instrument()
    measured.client.get("/nope")
    assert measured.requests() == {("GET", "unmatched"): 1}
    assert "not shown" not in caplog.text


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
        assert not registry.registry_text(generate_latest, True, ())
    assert not caplog.records
    Gauge("old_queue", "", registry=REGISTRY)
    for several in (False, True, True):
        assert b"old_queue 0.0" in registry.registry_text(generate_latest, several, ())
    assert caplog.text.count("those of the worker that answers the scrape") == 1
