"""prometheus_client's families in the protobuf format."""

from collections.abc import Iterable
from math import inf, isnan, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import METRIC_TYPES
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from telemetry.sdk.exposition.registry import _Family
from telemetry.sdk.exposition.registry_protobuf import protobuf_family
from tests.sdk.exposition.test_native import openmetrics
from tests.sdk.exposition.test_registry import register
from tests.support import protobuf
from tests.support.series import Series, parse


def written(metrics: Iterable[Metric]) -> protobuf.Page:
    return protobuf.decode(b"".join(protobuf_family(_Family(each)) for each in metrics))


def comparable(series: Series) -> dict[Any, Any]:
    """Without when series began; a NaN is equal to itself."""
    return {
        key: "nan" if isnan(value) else value
        for key, value in series.items()
        if not key[0].endswith("_created")
    }


def test_each_kind_is_as_in_text() -> None:
    registry = CollectorRegistry()
    register(registry)
    page = written(registry.collect())
    series, created, exemplars = openmetrics(generate_openmetrics(registry).decode())  # type: ignore[no-untyped-call]
    assert comparable(page.series) == comparable(parse(generate_latest(registry).decode()))
    assert comparable(page.series) == comparable(series)
    assert page.created == created
    assert len(page.created) == 3
    assert page.exemplars == exemplars
    assert len(page.exemplars) == 2
    assert {name: kind for name, (kind, _, _) in page.types.items()} == {
        "old_orders_total": "counter",
        "old_queue": "gauge",
        "old_delay_seconds": "histogram",
        "old_size": "summary",
        "old_build_info": "gauge",
        "old_state": "gauge",
    }


NUMBERS = st.one_of(st.integers(0, 10), st.floats(), st.sampled_from([inf, -inf, nan, 2.5]))
LABELS = st.dictionaries(st.sampled_from(["a", "b"]), st.text("xy\n", max_size=2), max_size=2)
SUFFIXES = ["", "_total", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info", "_other"]


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(METRIC_TYPES),
    st.lists(
        st.tuples(
            st.sampled_from(SUFFIXES),
            LABELS,
            st.sampled_from(["", "1.0", "+Inf"]),
            NUMBERS,
            st.none() | st.integers(1, 9),
        ),
        max_size=6,
    ),
)
def test_whatever_a_collector_yields_it_is_as_in_text(kind: str, samples: list[Any]) -> None:
    metric = Metric("m", "", kind)
    for suffix, labels, edge, value, timestamp in samples:
        special = "quantile" if kind == "summary" else "le"
        metric.add_sample(
            f"m{suffix}", labels | ({special: edge} if edge else {}), value, timestamp
        )
    family = _Family(metric)
    page = protobuf.decode(protobuf_family(family))
    wanted = comparable(parse(generate_latest(family).decode()))
    # Without labels that are empty, which are the same as none.
    assert comparable(page.series) == wanted


@pytest.mark.parametrize(
    "metric",
    [
        HistogramMetricFamily("m", "", buckets=[("1.0", 2), ("+Inf", 3)], sum_value=4),
        # It has values below zero, and so no sum.
        HistogramMetricFamily("m", "", buckets=[("-1.0", 2), ("+Inf", 3)], sum_value=None),
        HistogramMetricFamily("m", "", buckets=[("1.0", 0.5), ("+Inf", 2.5)], sum_value=4),
        GaugeHistogramMetricFamily("m", "", buckets=[("1.0", 2), ("+Inf", 3)], gsum_value=4),
        SummaryMetricFamily("m", "", count_value=3, sum_value=4),
        CounterMetricFamily("m", "", value=3, created=7.5),
    ],
)
def test_families_of_collectors(metric: Metric) -> None:
    page = written([metric])
    family: Any = _Family(metric)
    assert comparable(page.series) == comparable(parse(generate_latest(family).decode()))
