"""Adding up: any partition of a stream of measurements equals measuring them in one process."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData

from telemetry.sdk import snapshot as module
from telemetry.sdk.collection import Collection
from telemetry.sdk.points import Exemplar, Number
from telemetry.sdk.snapshot import Kind, Snapshot

# Halves add up exactly in any order, as not all decimal fractions do.
AMOUNTS = st.integers(-1000, 1000).map(lambda n: n / 2)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.one_of(
        st.text(max_size=3),
        st.booleans(),
        # Before 1.45 the SDK takes no lists, and 1 for the same as True.
        st.integers(2, 4),
        st.lists(st.text(max_size=2), max_size=2).map(tuple),
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


def snapshot_of(data: MetricsData) -> Snapshot:
    """All series began at 0, so that snapshots that are made at different times can be compared."""
    snapshot = Collection().snapshot(data, 0)
    snapshot.started = 0
    for stream in snapshot.streams.values():
        stream.points = {key: point._replace(start=0) for key, point in stream.points.items()}
    return snapshot


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
    assert Snapshot.from_json(snapshot.to_json()) == snapshot


def test_adding_leaves_what_is_added_as_it_was() -> None:
    part = measured([("histogram", "one", 2.0, {}, 0)])
    before = part.to_json()
    merged([part, part, part])
    assert part.to_json() == before


def test_gauges_are_told_apart_and_those_of_ended_processes_left_out() -> None:
    def measure(provider: MeterProvider) -> None:
        meter = provider.get_meter("x")
        meter.create_gauge("level").set(1, {"of": "tank"})
        meter.create_counter("jobs").add(1)
        meter.create_up_down_counter("queue").add(7)

    one = snapshot_of(collected(measure))
    total = Snapshot()
    total.add(one, attributes={"process.pid": 1})
    total.add(one, attributes={"process.pid": 2})
    total.add(one, ended=True)
    assert points_of(total) == {
        "level": {'{"of":"tank","process.pid":1}': 1, '{"of":"tank","process.pid":2}': 1},
        "jobs": {"{}": 3},
        "queue": {"{}": 14},
    }
    assert total.streams["x", "level", 0].kind == Kind.GAUGE


def points_of(snapshot: Snapshot) -> dict[str, dict[str, float]]:
    return {
        name: {
            key: point.value if isinstance(point, Number) else point.sum
            for key, point in stream.points.items()
        }
        for (_, name, _), stream in snapshot.streams.items()
    }


def instruments(*measures: Callable[[Meter], object]) -> Snapshot:
    def measure(provider: MeterProvider) -> None:
        for each in measures:
            each(provider.get_meter("x"))

    return snapshot_of(collected(measure))


def histogram(*bounds: float) -> Callable[[Meter], object]:
    return lambda meter: meter.create_histogram(
        "h", explicit_bucket_boundaries_advisory=bounds
    ).record(1)


def counter(name: str = "c", **options: str) -> Callable[[Meter], object]:
    return lambda meter: meter.create_counter(name, **options).add(1)


@pytest.mark.parametrize(
    ("old", "new", "total"),
    [
        # The definition is the later one's; what can be added to it goes on counting.
        (counter(description="old"), counter(description="new"), 2),
        (counter(unit="s"), counter(unit="ms"), 2),
        (histogram(1.0), histogram(1.0), 2),
        (histogram(1.0), histogram(2.0), 1),
        (counter("h"), histogram(1.0), 1),
        (histogram(1.0), counter("h"), 1),
    ],
)
def test_of_changed_code_the_later_definition_holds(
    old: Callable[[Meter], object], new: Callable[[Meter], object], total: float
) -> None:
    before, after = instruments(old), instruments(new)
    (stream,) = merged([before, after]).streams.values()
    (wanted,) = after.streams.values()
    assert (stream.description, stream.unit, stream.kind, stream.bounds) == (
        wanted.description,
        wanted.unit,
        wanted.kind,
        wanted.bounds,
    )
    assert list(points_of(merged([before, after])).values()) == [{"{}": total}]


def test_metrics_of_one_name_and_another_unit_or_kind_are_kept_apart() -> None:
    measures = (counter(unit="s"), counter(unit="By"), lambda meter: meter.create_gauge("c").set(5))
    twice = merged([instruments(*measures), instruments(*measures)])
    assert [(each.unit, each.ordinal) for each in twice.streams.values()] == [
        ("s", 0),
        ("By", 1),
        ("", 2),
    ]


@pytest.mark.parametrize(
    "text", ["", "[", "null", "7", "[1]", '[["a"]]', '{"a": 1}', "[" * 200_000]
)
def test_what_is_not_a_snapshot_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"snapshot|Expecting|unpack|Expected|invalid literal"):
        Snapshot.from_json(text)


@pytest.mark.parametrize(
    "stream",
    [
        *("[]", '["a"]', "7", "null"),
        '["s","","","n","","","counter",[],0,{"{}":["x",0]}]',
        '["s","","","n","","","counter",[],0,{"{}":[true,0]}]',
        '["s","","","n","","","other",[],0,{"{}":[1,0]}]',
        '["s","","","n","","","counter",[],0,{"7":[1,0]}]',
        '["s","","","n","","",1,[],0,{"{}":[1,0]}]',
        '["s","","","n","","","histogram",[1.0],0,{"{}":[[1],1,1,1,1,0]}]',
        '["s","","","n","","","histogram",[],0,{"{}":[["x"],1,1,1,1,0]}]',
    ],
)
def test_a_stream_that_cannot_be_read_costs_only_itself(
    stream: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._logger, "filters", [])
    good = '["s","","","good","","","counter",[],0,{"{}":[1,0]}]'
    snapshot = Snapshot.from_json(f"[0,[{stream},{good}]]")
    assert points_of(snapshot) == {"good": {"{}": 1}}
    assert "cannot be read" in caplog.text


@given(MEASUREMENTS, st.data())
def test_half_a_snapshot_is_told(measurements: list[Measurement], data: st.DataObject) -> None:
    text = measured(measurements).to_json()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(json.JSONDecodeError):
        Snapshot.from_json(text[:cut])


def test_exemplars_are_written_and_read_again() -> None:
    snapshot = with_exemplar(Exemplar(1, 7.5, 3, "ab" * 16, "cd" * 8, {"who": "me"}))
    read = Snapshot.from_json(snapshot.to_json())
    assert read == snapshot
    (stream,) = read.streams.values()
    (exemplar,) = stream.points["{}"].exemplars
    assert exemplar.trace == "ab" * 16


@pytest.mark.parametrize(
    "damaged", [{"bucket": 2}, {"bucket": -1}, {"value": "7"}, {"trace": "?"}, {"attributes": 1}]
)
def test_a_stream_with_a_damaged_exemplar_is_left_out(damaged: dict[str, Any]) -> None:
    exemplar = Exemplar(1, 7.5, 3, "ab", "cd", {})._replace(**damaged)
    assert Snapshot.from_json(with_exemplar(exemplar).to_json()).streams == {}


def with_exemplar(exemplar: Exemplar) -> Snapshot:
    snapshot = instruments(histogram(1.0))
    (stream,) = snapshot.streams.values()
    stream.points = {
        key: point._replace(exemplars=[exemplar]) for key, point in stream.points.items()
    }
    return snapshot
