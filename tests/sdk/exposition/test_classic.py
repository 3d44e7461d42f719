"""Classic buckets of exponential histograms."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from telemetry.sdk.collection import Collection
from telemetry.sdk.exposition.classic import ClassicBuckets
from telemetry.sdk.exposition.text import TextWriter
from telemetry.sdk.points import Buckets
from telemetry.sdk.snapshot import Kind, Snapshot, Stream

DURATIONS = tuple(2.0**exponent for exponent in range(-10, 5))


class Recorded:
    """An exponential histogram, and what is made of it."""

    def __init__(self, unit: str = "", max_size: int = 160) -> None:
        own = ExponentialBucketHistogramAggregation(max_size=max_size)
        self.reader = InMemoryMetricReader(preferred_aggregation={Histogram: own})
        provider = MeterProvider(
            [self.reader], exemplar_filter=AlwaysOnExemplarFilter(), shutdown_on_exit=False
        )
        meter = provider.get_meter("x")
        self.histogram = meter.create_histogram("h", unit)
        self.collection, self.classic = Collection(), ClassicBuckets()

    def snapshot(self, values: Iterable[float] = (), **labels: str) -> Snapshot:
        for value in values:
            self.histogram.record(value, labels)
        data = self.reader.get_metrics_data() or pytest.fail("nothing was collected")
        return self.collection.snapshot(data, 0)

    def stream(self, values: Iterable[float] = (), **labels: str) -> Stream:
        (stream,) = self.classic.of(self.snapshot(values, **labels)).streams.values()
        assert stream.kind == Kind.HISTOGRAM
        return stream


def only(stream: Stream) -> Buckets:
    (point,) = stream.points.values()
    assert isinstance(point, Buckets)
    return point


EDGES = st.sampled_from([0.0, 0.5, 1.0, 2.0, 1024.0, 2.0**-1000, 2.0**1023, 1.7e308])


@settings(deadline=None, max_examples=200)
@given(st.lists(EDGES | st.floats(0, 1e300, allow_subnormal=False), min_size=1, max_size=30))
def test_each_bucket_counts_exactly_the_values_up_to_its_bound(values: list[float]) -> None:
    stream = Recorded().stream(values)
    point = only(stream)
    for index, bound in enumerate(stream.bounds):
        assert sum(point.counts[: index + 1]) == sum(value <= bound for value in values)
    assert (sum(point.counts), point.total) == (len(values), len(values))


def test_at_scales_below_zero_there_are_fewer_bounds_and_they_are_exact() -> None:
    values = [1.5, 3.0, 16.0, 17.0, 1e6]
    stream = Recorded(max_size=2).stream(values)
    assert 1 <= len(stream.bounds) <= 3
    for index, bound in enumerate(stream.bounds):
        counted = sum(only(stream).counts[: index + 1])
        assert counted == sum(value <= bound for value in values)


def test_durations_have_the_same_bounds_whatever_was_measured() -> None:
    assert Recorded("s").stream([0.0]).bounds == DURATIONS
    assert Recorded("s").stream([0.003, 2.0]).bounds == DURATIONS
    assert Recorded("s").stream([20.0]).bounds == (*DURATIONS, 32.0)
    assert Recorded("s").stream([2.0**-12]).bounds == (2.0**-13, 2.0**-12, 2.0**-11, *DURATIONS)


def test_bounds_only_become_more_and_are_those_of_all_series() -> None:
    recorded = Recorded()
    assert recorded.stream([0.0]).bounds == ()
    assert recorded.stream([3.0]).bounds == (2.0, 4.0)
    stream = recorded.stream([20.0], of="other")
    assert stream.bounds == (2.0, 4.0, 8.0, 16.0, 32.0)
    assert [point.counts for point in stream.points.values() if isinstance(point, Buckets)] == [
        [1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0],
    ]
    assert recorded.stream([3.0]).bounds == stream.bounds


def test_what_has_not_changed_stays_the_same_object() -> None:
    recorded = Recorded()
    snapshot = recorded.snapshot([3.0], of="a")
    (before,) = recorded.classic.of(snapshot).streams.values()
    (same,) = recorded.classic.of(snapshot).streams.values()
    assert same is before
    (stream,) = snapshot.streams.values()
    (key,) = stream.points
    later = Snapshot(0, {stream.identity: stream.with_points(stream.points)})
    (after,) = recorded.classic.of(later).streams.values()
    assert after is not before
    assert after.points[key] is before.points[key]


def test_each_bucket_has_its_newest_exemplar() -> None:
    stream = Recorded().stream([1.0, 1.5, 2.0, 7.0])
    assert stream.bounds == (0.5, 1.0, 2.0, 4.0, 8.0)
    kept = [(each.bucket, each.value) for each in only(stream).exemplars]
    assert kept == [(2, 2.0), (4, 7.0)]


def test_text_has_the_buckets() -> None:
    recorded = Recorded()
    text = TextWriter(False).write(recorded.classic.of(recorded.snapshot([0.0, 3.0])), {}).decode()
    assert text.splitlines()[-5:] == [
        'h_bucket{le="2.0"} 1.0',
        'h_bucket{le="4.0"} 2.0',
        'h_bucket{le="+Inf"} 2.0',
        "h_count 2.0",
        "h_sum 3.0",
    ]
