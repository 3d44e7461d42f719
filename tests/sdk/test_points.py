"""Points that add up to what one process would have measured."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from telemetry.sdk.collection import Collection
from telemetry.sdk.points import Buckets, Exemplar, Exponential, Number, newest


def exponential(values: list[float]) -> Exponential:
    aggregation = ExponentialBucketHistogramAggregation(max_size=8)
    reader = InMemoryMetricReader(preferred_aggregation={Histogram: aggregation})
    histogram = MeterProvider([reader], shutdown_on_exit=False).get_meter("x").create_histogram("h")
    for value in values:
        histogram.record(value)
    data = reader.get_metrics_data() or pytest.fail("nothing was collected")
    (stream,) = Collection().snapshot(data, 0).streams.values()
    (point,) = stream.points.values()
    assert isinstance(point, Exponential)
    return point


def counts(point: Exponential, scale: int) -> dict[int, int]:
    """The positive buckets that are not empty, at a scale that is not finer."""
    first, buckets = point.positive
    result: dict[int, int] = {}
    for index, count in enumerate(buckets, first):
        if count:
            at = index >> (point.scale - scale)
            result[at] = result.get(at, 0) + count
    return result


VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=20)


@settings(max_examples=50, deadline=None)
@given(VALUES, VALUES)
def test_exponential_histograms_add_up_at_the_coarser_scale(
    one: list[float], other: list[float]
) -> None:
    parts, whole = (
        Exponential.sum_of([exponential(one), exponential(other)]),
        exponential(one + other),
    )
    scale = min(parts.scale, whole.scale)
    assert counts(parts, scale) == counts(whole, scale)
    assert (parts.total, parts.zeros) == (whole.total, whole.zeros)
    assert (parts.min, parts.max) == (whole.min, whole.max)
    assert parts.sum == pytest.approx(whole.sum)


def test_zeros_alone_do_not_coarsen_a_sum() -> None:
    fine, zeros = exponential([3.0]), exponential([0.0])
    for both in (Exponential.sum_of([fine, zeros]), Exponential.sum_of([zeros, fine])):
        assert (both.scale, both.total, both.zeros) == (fine.scale, 2, 1)
        assert counts(both, 0) == counts(fine, 0)
    none = Exponential.sum_of([zeros, zeros])
    assert (none.total, none.zeros) == (2, 2)


@pytest.mark.parametrize("scale", [4, 0, -3])
def test_downscaled_to_a_coarser_scale_only(scale: int) -> None:
    point = exponential([1.5, 2.0, 3.0, 100.0])
    coarse = point.downscaled(scale)
    assert coarse.scale == min(scale, point.scale)
    assert counts(coarse, -3) == counts(point, -3)
    assert coarse.downscaled(20) == coarse


def exemplar(bucket: int, time: int, trace: str) -> Exemplar:
    return Exemplar(bucket, 1.0, time, trace, trace, {})


def test_of_two_points_each_bucket_has_the_newer_exemplar() -> None:
    old, new, other = exemplar(0, 1, "aa"), exemplar(0, 2, "bb"), exemplar(2, 1, "cc")
    one = Buckets([1, 0, 1], 2, 2, 1, 1, 0, [old, other])
    two = Buckets([1, 0, 0], 1, 1, 1, 1, 0, [new])
    assert (
        Buckets.sum_of([one, two]).exemplars == Buckets.sum_of([two, one]).exemplars == [new, other]
    )
    assert Number.sum_of([Number(1, 0, [old]), Number(1, 0, [new])]).exemplars == [new]
    assert Number.sum_of([Number(1, 0, [old]), Number(1, 0)]).exemplars == [old]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.just("aa"))))
def test_there_are_never_more_exemplars_than_buckets(given: list[tuple[int, int, str]]) -> None:
    exemplars = [exemplar(*each) for each in given]
    kept = newest(exemplars)
    assert [each.bucket for each in kept] == sorted({each.bucket for each in exemplars})
    for each in kept:
        assert each.time == max(one.time for one in exemplars if one.bucket == each.bucket)
