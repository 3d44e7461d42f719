"""Adding up: any partition of a stream of measurements equals measuring them in one process."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData

from telemetry.sdk.collection import Collection
from telemetry.sdk.points import Number
from telemetry.sdk.snapshot import Kind, Snapshot
from telemetry.sdk.total import Part, Total

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
    return Total(lambda _: 2_000).of(map(Part, snapshots))


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


def test_adding_leaves_what_is_added_as_it_was() -> None:
    part = measured([("histogram", "one", 2.0, {}, 0)])
    before = deepcopy(part)
    merged([part, part, part])
    assert part == before


def test_gauges_are_told_apart_and_those_of_ended_processes_left_out() -> None:
    def measure(provider: MeterProvider) -> None:
        meter = provider.get_meter("x")
        meter.create_gauge("level").set(1, {"of": "tank"})
        meter.create_counter("jobs").add(1)
        meter.create_up_down_counter("queue").add(7)

    one = snapshot_of(collected(measure))
    parts = [Part(one, pid=1), Part(one, pid=2), Part(one, ended=True)]
    total = Total(lambda _: 2_000).of(parts)
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


def test_what_has_not_changed_is_the_same_object() -> None:
    """So these sums need not be written again."""
    one, two, other = (measured([("counter", "one", n, {}, 0)]) for n in (1, 2, 3))
    one.streams |= measured([("histogram", "one", 1.0, {}, 0)]).streams
    total = Total(lambda _: 2_000)
    first, again = total.of([Part(one), Part(two)]), total.of([Part(one), Part(two)])
    later = total.of([Part(one), Part(other)])
    for identity, stream in first.streams.items():
        assert again.streams[identity] is stream
        assert (later.streams[identity] is stream) == (stream.kind == Kind.HISTOGRAM)
    assert points_of(later)["counter.one"] == {"{}": 4}


def test_of_a_stream_only_the_points_that_have_changed_are_added_up_again() -> None:
    one, two = (measured([("counter", "one", 1.0, {"a": a}, 0) for a in "xy"]) for _ in range(2))
    total = Total(lambda _: 2_000)
    (before,) = total.of([Part(one), Part(two)]).streams.values()
    ((identity, stream),) = two.streams.items()
    points = {**stream.points, '{"a":"x"}': Number(7.0, 0)}
    changed = Snapshot(0, {identity: stream.with_points(points)})
    (after,) = total.of([Part(one), Part(changed)]).streams.values()
    assert after.points['{"a":"y"}'] is before.points['{"a":"y"}']
    assert [each.points['{"a":"x"}'][0] for each in (before, after)] == [2, 8]


@given(st.lists(MEASUREMENTS, max_size=6))
def test_what_is_kept_is_not_seen(turns: list[list[Measurement]]) -> None:
    """Sums of workers that go on measuring are those that would be without anything kept."""
    total = Total(lambda _: 2_000)
    known = [Snapshot(), Snapshot(), Snapshot()]
    for number, measurements in enumerate(turns):
        known[number % 3] = measured(measurements)
        parts = [Part(each, ended=not at) for at, each in enumerate(known)]
        assert total.of(parts) == Total(lambda _: 2_000).of(parts)
