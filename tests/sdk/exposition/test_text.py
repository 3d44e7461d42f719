"""The text of a page, beside that of OpenTelemetry's own reader with prometheus_client."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from telemetry.compatibility.prometheus import prometheus_names
from telemetry.logger import OncePerMinute
from telemetry.sdk.collection import Collection
from telemetry.sdk.exposition import families as module
from telemetry.sdk.exposition.text import TextWriter
from telemetry.sdk.snapshot import Snapshot
from tests.support.versions import needs

NO_RESOURCE = "# HELP target_info Target metadata\n# TYPE target_info gauge\ntarget_info 1.0\n"


@pytest.fixture(autouse=True)
def every_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._logger, "filters", [])


def written(
    measure: Callable[[MeterProvider], None],
    *,
    openmetrics: bool = False,
) -> str:
    """The page of what was measured, without the resource's lines and without when it began."""
    reader = InMemoryMetricReader()
    measure(MeterProvider([reader], shutdown_on_exit=False))
    data = reader.get_metrics_data()
    snapshot = Collection().snapshot(data, 0) if data else Snapshot()
    writer = TextWriter(openmetrics, created=False)
    text = writer.write(snapshot, {}).decode()
    list(parse_openmetrics(text) if openmetrics else parse_text(text))  # type: ignore[no-untyped-call]
    return text.removeprefix(NO_RESOURCE)


def both(measure: Callable[[MeterProvider], None]) -> str:
    """The text form, where OpenMetrics, whose parser is strict, is valid too."""
    written(measure, openmetrics=True)
    return written(measure)


def meters(*measures: Callable[[Meter], None]) -> Callable[[MeterProvider], None]:
    """Each of the functions is called with a meter of another scope."""

    def measure(provider: MeterProvider) -> None:
        for number, each in enumerate(measures):
            each(provider.get_meter(f"scope{number}"))

    return measure


def test_all_kinds_as_text() -> None:
    def measure(meter: Meter) -> None:
        meter.create_counter("orders", unit="{order}", description="All\nof them.").add(
            2, {"kind": "big"}
        )
        meter.create_up_down_counter("queue.length").add(-3)
        meter.create_gauge("temperature", unit="Cel").set(21.5, {"room": 'a "b" \\', "no": ""})
        histogram = meter.create_histogram(
            "weight", unit="kg", explicit_bucket_boundaries_advisory=[1, 2.5]
        )
        for weight in (0.5, 2, 2, 9):
            histogram.record(weight, {"of": "x"})

    assert both(meters(measure)) == (
        "# HELP orders_total All\\nof them.\n"
        "# TYPE orders_total counter\n"
        'orders_total{kind="big"} 2.0\n'
        "# HELP queue_length \n"
        "# TYPE queue_length gauge\n"
        "queue_length -3.0\n"
        "# HELP temperature_celsius \n"
        "# TYPE temperature_celsius gauge\n"
        'temperature_celsius{room="a \\"b\\" \\\\"} 21.5\n'
        "# HELP weight_kg \n"
        "# TYPE weight_kg histogram\n"
        'weight_kg_bucket{le="1.0",of="x"} 1.0\n'
        'weight_kg_bucket{le="2.5",of="x"} 3.0\n'
        'weight_kg_bucket{le="+Inf",of="x"} 4.0\n'
        'weight_kg_count{of="x"} 4.0\n'
        'weight_kg_sum{of="x"} 13.5\n'
    )


def test_openmetrics_says_the_unit_and_when_a_series_began() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("x")
    meter.create_counter("used", unit="By", description='"All"').add(1)
    meter.create_gauge("level").set(1)
    snapshot = Collection().snapshot(reader.get_metrics_data() or pytest.fail("nothing"), 2**60)
    (used,) = snapshot.streams["x", "used", 0].points.values()
    assert TextWriter(openmetrics=True).write(snapshot, {"a.b": 1}).decode() == (
        "# HELP target Target metadata\n"
        "# TYPE target info\n"
        'target_info{a_b="1"} 1.0\n'
        '# HELP used_bytes \\"All\\"\n'
        "# TYPE used_bytes counter\n"
        "# UNIT used_bytes bytes\n"
        "used_bytes_total 1.0\n"
        f"used_bytes_created {used.start / 1000:.3f}\n"
        "# HELP level \n"
        "# TYPE level gauge\n"
        "# UNIT level \n"
        "level 1.0\n"
        "# EOF\n"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "1.0"),
        (Decimal("2.5"), "2.5"),
        (Fraction(1, 4), "0.25"),
        (numpy.float32(1.5), "1.5"),
        (numpy.int64(7), "7.0"),
        (numpy.bool_(True), "1.0"),
        (10**15, "1000000000000000.0"),
    ],
)
def test_any_real_number(value: Any, shown: str) -> None:
    def measure(meter: Meter) -> None:
        meter.create_gauge("level").set(value)

    assert f"\nlevel {shown}\n" in both(meters(measure))


def gauge(
    name: str, value: float = 1, unit: str = "", **attributes: Any
) -> Callable[[Meter], None]:
    return lambda meter: meter.create_gauge(name, unit=unit).set(value, attributes)


def counter(name: str, *attributes: Any) -> Callable[[Meter], None]:
    def measure(meter: Meter) -> None:
        for each in attributes or ({},):
            meter.create_counter(name).add(1, each)

    return measure


def histogram(name: str, bound: float = 1.0) -> Callable[[Meter], None]:
    return lambda meter: meter.create_histogram(
        name, explicit_bucket_boundaries_advisory=[bound]
    ).record(1)


def in_one(*measures: Callable[[Meter], None]) -> Callable[[MeterProvider], None]:
    def measure(provider: MeterProvider) -> None:
        for each in measures:
            each(provider.get_meter("scope"))

    return measure


@pytest.mark.parametrize(
    ("measure", "lines"),
    [
        # Sums add up, of gauges the last one stays.
        (in_one(counter("a.b"), counter("a_b")), ["a_b_total 2.0"]),
        (in_one(counter("c", {"code": 200}, {"code": "200"})), ['c_total{code="200"} 2.0']),
        (in_one(histogram("a.b"), histogram("a_b")), ["a_b_sum 2.0"]),
        (in_one(gauge("dur", 1, "s"), gauge("dur_seconds", 2)), ["dur_seconds 2.0"]),
        (in_one(gauge("g", 1, le="x"), gauge("g", 2)), ['g{le="x"} 1.0', "g 2.0"]),
        # Of two scopes, they are told apart.
        (
            meters(counter("jobs"), counter("jobs")),
            ["jobs_total 1.0", 'jobs_total{otel_scope_name="scope1"} 1.0'],
        ),
        # A counter beside something that has its name but for the suffix is shown.
        (in_one(histogram("hh"), counter("hh_count")), ["hh_count 1.0", "hh_count_total 1.0"]),
        (in_one(counter("hh_count"), histogram("hh")), ["hh_count 1.0", "hh_count_total 1.0"]),
        (in_one(gauge("jobs"), counter("jobs.total")), ["jobs 1.0", "jobs_total 1.0"]),
        (in_one(gauge("target")), ["target 1.0"]),
        # Several attributes of one name.
        (in_one(gauge("g", 1, **{"a.b": "x", "a_b": "y"})), ['g{a_b="x;y"} 1.0']),
        (lambda p: p.get_meter("s").create_histogram("h").record(1, {"le": "x"}), []),
    ],
)
def test_one_page_of_names_that_clash(
    measure: Callable[[MeterProvider], None],
    lines: Sequence[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = both(measure)
    for line in lines:
        assert f"\n{line}\n" in text, text
    assert text.count("# TYPE") == len({each for each in text.splitlines() if "# TYPE" in each})
    assert "not shown" not in caplog.text


@pytest.mark.parametrize(
    ("measure", "left_out"),
    [
        (in_one(gauge("a.b"), histogram("a_b")), "a_b"),
        (in_one(histogram("hh"), gauge("hh_count")), "hh_count"),
        (in_one(gauge("jobs_total"), counter("jobs")), "jobs"),
        (meters(gauge("jobs"), histogram("jobs")), "jobs"),
        (in_one(histogram("a.b", 1.0), histogram("a_b", 2.0)), "a_b"),
        (in_one(gauge("target_info")), "target_info"),
    ],
)
def test_what_there_is_no_name_for_is_named_in_the_log(
    measure: Callable[[MeterProvider], None], left_out: str, caplog: pytest.LogCaptureFixture
) -> None:
    both(measure)
    assert f"The metric {left_out} of scope" in caplog.text
    assert "is not shown" in caplog.text


def test_each_metric_that_is_left_out_is_named_within_the_same_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._logger, "filters", [OncePerMinute()])
    measure = in_one(histogram("hh"), gauge("hh_count"), histogram("ii"), gauge("ii_sum"))
    written(measure)
    written(measure)
    named = [record.getMessage().split()[2] for record in caplog.records]
    assert named == ["hh_count", "ii_sum"]


def test_two_versions_of_one_meter_add_up() -> None:
    def measure(provider: MeterProvider) -> None:
        for version in ("1", "2"):
            provider.get_meter("scope", version).create_counter("jobs").add(1)

    assert "\njobs_total 2.0\n" in both(measure)


def test_ready_text_of_series_that_are_gone_is_dropped() -> None:
    writer = TextWriter(openmetrics=False)
    for round_ in range(5):
        reader = InMemoryMetricReader()
        meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
        for number in range(10):
            meter.create_counter("jobs").add(1, {"n": f"{round_}-{number}"})
        data = reader.get_metrics_data()
        assert data is not None
        writer.write(Collection().snapshot(data, 0), {})
    (family,) = writer._families
    assert [len(series) for series in family.series.values()] == [10]


NAMES = st.one_of(
    st.sampled_from(["a", "a.b", "a_b", "a-b/c", "a_total", "a.count", "a_bytes", "A__b", "b_"]),
    st.from_regex(r"[a-zA-Z][-_./a-zA-Z0-9]{0,8}", fullmatch=True),
)
UNITS = st.sampled_from(["", "s", "By", "1", "%", "{x}", "m/s", "By/s", "kg", "a b", "/s", "ms"])
KEYS = st.one_of(
    st.sampled_from(["a", "a.b", "a_b", "_x", "1x", "code"]), st.text(min_size=1, max_size=3)
)
# The SDK itself takes no surrogates for equal to anything; they are tested in test_page.py.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
VALUES = st.one_of(TEXTS, st.booleans(), st.integers(-9, 999), st.floats(-9, 9), st.lists(TEXTS))
INSTRUMENTS = st.lists(
    st.tuples(
        st.sampled_from(["counter", "up_down", "gauge", "histogram"]),
        NAMES,
        UNITS,
        TEXTS,
        st.lists(
            st.tuples(
                st.dictionaries(KEYS, VALUES, max_size=3),
                st.one_of(st.integers(0, 10**18), st.floats(0, 1e18)),
            ),
            min_size=1,
            max_size=3,
        ),
    ),
    max_size=4,
)


def measure_all(provider: MeterProvider, instruments: Sequence[Any]) -> None:
    meter = provider.get_meter("scope")
    for kind, name, unit, description, measurements in instruments:
        if kind == "counter":
            instrument = meter.create_counter(name, unit, description).add
        elif kind == "up_down":
            instrument = meter.create_up_down_counter(name, unit, description).add
        elif kind == "gauge":
            instrument = meter.create_gauge(name, unit, description).set
        else:
            instrument = meter.create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=[1.0, 5.5]
            ).record
        for attributes, value in measurements:
            instrument(value, attributes)


def families(parsed: Iterable[Any]) -> dict[Any, Any]:
    """Families as a value; a label that is empty is one that is not there."""
    result: dict[Any, Any] = {}
    for family in parsed:
        samples: dict[Any, float] = {}
        for sample in family.samples:
            labels = frozenset(item for item in sample.labels.items() if item[1])
            if (sample.name, labels) in samples:
                raise ValueError("twice")
            samples[sample.name, labels] = sample.value
        # The parser of the text form calls a counter a_total and a gauge a both a.
        if (family.name, family.type) in result:
            raise ValueError("twice")
        result[family.name, family.type] = (family.documentation, samples)
    return result


@needs("opentelemetry-exporter-prometheus", "0.64b0")
@pytest.mark.parametrize("openmetrics", [False, True])
@settings(deadline=None, max_examples=400)
@given(instruments=INSTRUMENTS)
def test_the_page_is_that_of_the_stock_reader_where_that_one_is_valid(
    openmetrics: bool, instruments: list[Any]
) -> None:
    """Where the stock page is not valid, ours is; where it is wrong, is said below."""
    registry = CollectorRegistry()
    stock, ours = (
        PrometheusMetricReader(scope_info_enabled=False, registry=registry),
        InMemoryMetricReader(),
    )
    measure_all(MeterProvider([stock, ours], shutdown_on_exit=False), instruments)
    data = ours.get_metrics_data()
    resource: dict[str, Any] = {}
    snapshot = Snapshot()
    if data is not None:
        resource = dict(data.resource_metrics[0].resource.attributes)
        snapshot = Collection().snapshot(data, 0)
    text = TextWriter(openmetrics, created=False).write(snapshot, resource).decode()
    # Always valid, by the strict parser of OpenMetrics as well.
    openmetrics_text = TextWriter(True, created=True).write(snapshot, resource).decode()
    families(parse_openmetrics(openmetrics_text))  # type: ignore[no-untyped-call]
    shown = families(parse_openmetrics(text) if openmetrics else parse_text(text))  # type: ignore[no-untyped-call]
    try:
        wanted = families(parse_text(generate_latest(registry).decode()))
        # The text form is laxer than OpenMetrics, in which Prometheus asks first.
        strict = families(parse_openmetrics(generate_openmetrics(registry).decode()))  # type: ignore[no-untyped-call]
    except ValueError:
        return
    if data is None:
        return
    if not has_joined_labels(instruments) and not has_mixed_labels(instruments):
        assert shown == (strict if openmetrics else wanted)


def has_joined_labels(instruments: Sequence[Any]) -> bool:
    """Several attributes become one label: the stock reader keeps the last, ours joins them."""
    sanitized = prometheus_names()[1]
    return any(
        len({sanitized(key) for key in attributes}) < len(attributes)
        for *_, measurements in instruments
        for attributes, _ in measurements
    )


def has_mixed_labels(instruments: Sequence[Any]) -> bool:
    """Several instruments become one metric: the stock reader gives all the first one's labels."""
    name_of, label_of, unit_of = prometheus_names()
    labels: dict[tuple[str, str], set[frozenset[str]]] = {}
    for _, name, unit, _, measurements in instruments:
        keys = frozenset(label_of(key) for attributes, _ in measurements for key in attributes)
        labels.setdefault((name_of(name.lower()), unit_of(unit)), set()).add(keys)
    return any(len(each) > 1 for each in labels.values())


def exemplars(measure: Callable[[Meter], None], *, names: Sequence[str] = ()) -> list[str]:
    """What follows the values of the lines that have an exemplar, without its time.

    Each measurement is made in a span, and a view keeps no attributes but those of `names`.
    """
    reader, spans = InMemoryMetricReader(), TracerProvider(shutdown_on_exit=False)
    views = [View(instrument_name="*", attribute_keys=set(names))]
    provider = MeterProvider(
        [reader], exemplar_filter=AlwaysOnExemplarFilter(), views=views, shutdown_on_exit=False
    )
    with spans.get_tracer("x").start_as_current_span("one") as span:
        measure(provider.get_meter("x"))
    context = span.get_span_context()
    trace, own = f"{context.trace_id:032x}", f"{context.span_id:016x}"
    data = reader.get_metrics_data() or pytest.fail("nothing was collected")
    snapshot = Collection().snapshot(data, 0)
    assert " # " not in TextWriter(False).write(snapshot, {}).decode()
    text = TextWriter(True).write(snapshot, {}).decode()
    families(parse_openmetrics(text))  # type: ignore[no-untyped-call]
    lines = [line.replace(trace, "T").replace(own, "S") for line in text.splitlines()]
    return [line.rpartition(" ")[0] for line in lines if " # {" in line]


IDS = 'trace_id="T",span_id="S"'


def test_buckets_and_counters_have_exemplars() -> None:
    def measure(meter: Meter) -> None:
        histogram = meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 5])
        for value in (5, 0.5, 4):
            histogram.record(value)
        meter.create_counter("c").add(2)
        # OpenMetrics 1.0 has none for these.
        meter.create_up_down_counter("up").add(2)
        meter.create_gauge("g").set(2)

    assert exemplars(measure) == [
        f'h_bucket{{le="1.0"}} 1.0 # {{{IDS}}} 0.5',
        f'h_bucket{{le="5.0"}} 3.0 # {{{IDS}}} 4.0',
        f"c_total 2.0 # {{{IDS}}} 2.0",
    ]


@pytest.mark.parametrize(
    ("length", "shown"),
    # trace_id and span_id take 63 of 128 characters, and this label's name four.
    [(61, True), (62, False)],
)
def test_attributes_that_a_view_left_out_are_added_where_they_fit(length: int, shown: bool) -> None:
    value = "\u00e9" * length
    left_out = f'{IDS},kind="big"'
    assert exemplars(
        lambda meter: meter.create_counter("c").add(2, {"kind": "big", "of": "x", "trace.id": 1}),
        names=["of"],
    ) == [f'c_total{{of="x"}} 2.0 # {{{left_out}}} 2.0']
    more = f',kind="{value}"' if shown else ""
    assert exemplars(lambda meter: meter.create_counter("c").add(2, {"kind": value})) == [
        f"c_total 2.0 # {{{IDS}{more}}} 2.0"
    ]


def test_an_exemplar_outside_of_any_span_has_no_labels() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(
        [reader], exemplar_filter=AlwaysOnExemplarFilter(), shutdown_on_exit=False
    )
    provider.get_meter("x").create_counter("c").add(2)
    data = reader.get_metrics_data() or pytest.fail("nothing was collected")
    text = TextWriter(True).write(Collection().snapshot(data, 0), {}).decode()
    families(parse_openmetrics(text))  # type: ignore[no-untyped-call]
    assert "c_total 2.0 # {} 2.0 " in text


def test_a_counter_that_is_shown_as_unknown_has_none() -> None:
    def measure(meter: Meter) -> None:
        meter.create_gauge("c").set(1)
        meter.create_counter("c_total").add(2)

    assert exemplars(measure) == []
