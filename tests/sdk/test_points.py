"""Points that add up to what one process would have measured."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from telemetry.sdk.collection import Collection
from telemetry.sdk.points import Exponential


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
    parts, whole = exponential(one).plus(exponential(other)), exponential(one + other)
    scale = min(parts.scale, whole.scale)
    assert counts(parts, scale) == counts(whole, scale)
    assert (parts.total, parts.zeros) == (whole.total, whole.zeros)
    assert (parts.min, parts.max) == (whole.min, whole.max)
    assert parts.sum == pytest.approx(whole.sum)
