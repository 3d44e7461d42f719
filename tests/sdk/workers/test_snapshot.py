"""Adding up: any partition of a stream of measurements equals measuring them in one process."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from telemetry.sdk.workers.snapshot import GAUGE, Snapshot, metrics_data, snapshot_of

# Halves add up exactly in any order, as not all decimal fractions do.
AMOUNTS = st.integers(-1000, 1000).map(lambda n: n / 2)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.one_of(
        st.text(max_size=3),
        st.booleans(),
        st.integers(0, 2),
        st.lists(st.text(max_size=2), max_size=2),
    ),
    max_size=2,
)
MEASUREMENTS = st.lists(
    st.tuples(
        st.sampled_from(["counter", "up_down", "histogram"]),
        st.sampled_from(["one", "two"]),
        AMOUNTS,
        ATTRIBUTES,
        st.integers(0, 3),
    ),
    max_size=40,
)
Measurement = tuple[str, str, float, dict[str, Any], int]


def collected(measure: Callable[[MeterProvider], None]) -> MetricsData:
    reader = InMemoryMetricReader()
    measure(MeterProvider([reader], shutdown_on_exit=False))
    data = reader.get_metrics_data()
    return data or MetricsData([])


def measured(measurements: Sequence[Measurement]) -> Snapshot:
    def measure(provider: MeterProvider) -> None:
        for kind, name, amount, attributes, _ in measurements:
            meter = provider.get_meter(f"meter.{name}", "1")
            if kind == "counter":
                meter.create_counter(f"{kind}.{name}").add(abs(amount), attributes)
            elif kind == "up_down":
                meter.create_up_down_counter(f"{kind}.{name}").add(amount, attributes)
            else:
                histogram = meter.create_histogram(
                    f"{kind}.{name}", unit="s", explicit_bucket_boundaries_advisory=[1.0, 10.0]
                )
                histogram.record(abs(amount), attributes)

    return snapshot_of(collected(measure))


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The sum of several snapshots."""
    result = Snapshot()
    for snapshot in snapshots:
        result.add(snapshot)
    return result


@given(MEASUREMENTS)
def test_the_parts_add_up_to_the_whole(measurements: list[Measurement]) -> None:
    parts = [[each for each in measurements if each[4] == worker] for worker in range(4)]
    assert merged(measured(part) for part in parts).streams == measured(measurements).streams


@given(MEASUREMENTS)
def test_the_order_and_the_grouping_do_not_matter(measurements: list[Measurement]) -> None:
    one, two, three, four = (
        measured([each for each in measurements if each[4] == worker]) for worker in range(4)
    )
    forward = merged([one, two, three, four])
    assert merged([merged([four, two]), merged([three, one])]).streams == forward.streams


@given(MEASUREMENTS)
def test_what_is_written_is_read_again(measurements: list[Measurement]) -> None:
    snapshot = measured(measurements)
    assert Snapshot.from_json(snapshot.to_json()).streams == snapshot.streams
    shown = metrics_data(snapshot, Resource({}))
    assert snapshot_of(shown).streams == snapshot.streams


def test_adding_leaves_what_is_added_as_it_was() -> None:
    part = measured([("histogram", "one", 2.0, {}, 0)])
    before = part.to_json()
    merged([part, part, part])
    assert part.to_json() == before


def test_gauges_are_told_apart_or_left_out() -> None:
    def measure(provider: MeterProvider) -> None:
        meter = provider.get_meter("x")
        meter.create_gauge("level").set(1, {"of": "tank"})
        meter.create_counter("jobs").add(1)

    one = snapshot_of(collected(measure))
    total = Snapshot()
    total.add(one, attributes={"process.pid": 1})
    total.add(one, attributes={"process.pid": 2})
    total.add(one, gauges=False)
    points = {stream.name: points for stream, points in total.streams.items()}
    assert points == {
        "level": {'{"of":"tank","process.pid":1}': 1, '{"of":"tank","process.pid":2}': 1},
        "jobs": {"{}": 3},
    }
    assert [stream.kind for stream in total.streams if stream.name == "level"] == [GAUGE]


def test_histograms_with_other_bounds_are_not_added_to_each_other() -> None:
    def with_bounds(*bounds: float) -> Snapshot:
        def measure(provider: MeterProvider) -> None:
            meter = provider.get_meter("x")
            meter.create_histogram("h", explicit_bucket_boundaries_advisory=list(bounds)).record(1)

        return snapshot_of(collected(measure))

    assert len(merged([with_bounds(1.0), with_bounds(2.0)]).streams) == 2


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "null", "7", "[1]", '[["a"]]', '{"a": 1}', "[[]]", "[" * 200_000),
        '[["s","","","n","","","counter",[],{"{}":"x"}]]',
        '[["s","","","n","","","counter",[],{"{}":true}]]',
        '[["s","","","n","","","other",[],{"{}":1}]]',
        '[["s","","","n","","","counter",[],{"7":1}]]',
        '[["s","","","n","","",1,[],{"{}":1}]]',
        '[["s","","","n","","","histogram",[1.0],{"{}":[[1],1,1,1,1]}]]',
        '[["s","","","n","","","histogram",[],{"{}":[["x"],1,1,1,1]}]]',
    ],
)
def test_what_is_no_snapshot_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"snapshot|Expecting|unpack|Expected"):
        Snapshot.from_json(text)


@given(MEASUREMENTS, st.data())
def test_half_a_snapshot_is_told(measurements: list[Measurement], data: st.DataObject) -> None:
    text = measured(measurements).to_json()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(json.JSONDecodeError):
        Snapshot.from_json(text[:cut])
