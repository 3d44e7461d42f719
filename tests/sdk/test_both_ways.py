"""Reading the SDK's aggregations gives what its public way gives, whatever was done."""

import time
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import numpy
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import (
    AlwaysOnExemplarFilter,
    Counter,
    Histogram,
    MeterProvider,
    TraceBasedExemplarFilter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics._internal import (
    _view_instrument_match,
    instrument,
    measurement_consumer,
    metric_reader_storage,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricsData,
)
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.trace import TracerProvider

from telemetry.compatibility.series import aggregations_of
from telemetry.sdk.collection import Collection
from telemetry.sdk.snapshot import Kind, Snapshot
from telemetry.sdk.steps import result_of

CLOCKS = (instrument, _view_instrument_match, metric_reader_storage, measurement_consumer, time)
RESERVOIR = "opentelemetry.sdk.metrics._internal.exemplar.exemplar_reservoir"
KINDS = ("counter", "up_down_counter", "gauge", "histogram")
SCOPES = st.sampled_from([("one", "1"), ("one", "2"), ("other", None)])
INSTRUMENTS = st.lists(
    st.tuples(
        st.sampled_from([*KINDS, *(f"observable_{kind}" for kind in KINDS[:3])]),
        SCOPES,
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["", "s"]),
    ),
    min_size=1,
    max_size=5,
)
AGGREGATIONS = st.sampled_from(
    [
        None,
        DropAggregation(),
        SumAggregation(),
        LastValueAggregation(),
        ExplicitBucketHistogramAggregation([1.0, 5.0]),
        ExplicitBucketHistogramAggregation([]),
        ExponentialBucketHistogramAggregation(),
    ]
)
VIEWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "*"]),
        AGGREGATIONS,
        st.sampled_from([None, set(), {"k"}]),
        st.sampled_from([None, 2]),
    ),
    max_size=2,
)
# The first two are one once made safe.
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["k", "l"]), st.sampled_from(["\ud800", r"\ud800", "x", 1, True]), max_size=2
)
VALUES = st.sampled_from([0, 1, 3, 0.1, 2.5, 7.25, True, 2**70, numpy.float32(1.5), -1])
# What is in a span has an exemplar, and can go no shorter way.
MOSTLY_NOT = st.sampled_from([False, False, False, False, True])
MEASURED = st.tuples(st.integers(0, 4), VALUES, st.one_of(st.just({}), ATTRIBUTES), MOSTLY_NOT)
STEPS = st.lists(
    st.one_of(MEASURED, MEASURED, st.sampled_from(["collect", "collect", "delta"])),
    min_size=5,
    max_size=40,
)


class Both:
    """A provider whose measurements are read by both ways, by one reader each."""

    def __init__(self, instruments: list[Any], views: list[Any], is_always_on: bool) -> None:
        temporality = AggregationTemporality.DELTA
        kinds: list[type] = [Counter, Histogram, UpDownCounter]
        self.readers = [InMemoryMetricReader(), InMemoryMetricReader()]
        self.deltas = InMemoryMetricReader(preferred_temporality=dict.fromkeys(kinds, temporality))
        provider = MeterProvider(
            [*self.readers, self.deltas],
            exemplar_filter=AlwaysOnExemplarFilter()
            if is_always_on
            else TraceBasedExemplarFilter(),
            views=[view_of(*each) for each in views],
            shutdown_on_exit=False,
        )
        self.collections = [Collection(), Collection()]
        self.tracer = TracerProvider(shutdown_on_exit=False).get_tracer("x")
        self.observed: list[list[Observation]] = []
        self.measure: list[Callable[..., object]] = []
        for kind, scope, name, unit in instruments:
            meter = provider.get_meter(*scope)
            if kind.startswith("observable_"):
                told: list[Observation] = []
                create = getattr(meter, f"create_{kind}")
                create(name, [partial(list_of, told)], unit=unit)
                self.measure.append(partial(tell, told))
                self.observed.append(told)
                continue
            instrument = getattr(meter, f"create_{kind}")(name, unit=unit)
            verb = {"gauge": "set", "histogram": "record"}.get(kind, "add")
            self.measure.append(getattr(instrument, verb))

    def record(self, index: int, value: Any, attributes: Any, in_span: bool) -> None:
        measure = self.measure[index % len(self.measure)]
        if not in_span:
            measure(value, attributes)
            return
        with self.tracer.start_as_current_span("span"):
            measure(value, attributes)

    def collect(self, began: int) -> list[Snapshot]:
        direct, public = self.readers
        aggregations = aggregations_of(direct)
        assert aggregations is not None
        data = public.get_metrics_data() or MetricsData([])
        snapshots = [
            result_of(self.collections[0].direct(aggregations, began)),
            self.collections[1].snapshot(data, began),
        ]
        # What the callbacks tell is another selection the next time.
        for told in self.observed:
            del told[::2]
        return snapshots


def list_of(told: list[Observation], _: CallbackOptions) -> list[Observation]:
    return list(told)


def tell(told: list[Observation], value: Any, attributes: Any) -> None:
    told.append(Observation(value, attributes))


def view_of(name: str, aggregation: Any, keys: Any, limit: int | None) -> View:
    options: dict[str, Any] = {"aggregation": aggregation, "attribute_keys": keys}
    if limit is not None and "aggregation_cardinality_limit" in signature(View).parameters:
        options["aggregation_cardinality_limit"] = limit
    return View(instrument_name=name, **options)


def shown(snapshot: Snapshot) -> list[Any]:
    """A snapshot with its streams and points in their order.

    Of several gauges with the same attributes, the public way forgets the exemplars of those that
    are not shown.
    """
    return [
        (
            identity,
            stream.with_points({}),
            [
                (key, point._replace(exemplars=()) if stream.kind == Kind.GAUGE else point)
                for key, point in stream.points.items()
            ],
        )
        for identity, stream in snapshot.streams.items()
    ]


@settings(deadline=None, max_examples=300)
@given(
    instruments=INSTRUMENTS,
    views=VIEWS,
    steps=STEPS,
    is_always_on=MOSTLY_NOT,
    times=st.randoms(),
)
def test_both_ways_give_the_same(
    instruments: list[Any], views: list[Any], steps: list[Any], is_always_on: bool, times: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("telemetry.compatibility.aggregations.DIRECT", True)
        now = 1_000_000_000
        for where in CLOCKS:
            patch.setattr(where, "time_ns", lambda: now)
        # The newest exemplar is kept, and not one by chance.
        patch.setattr(f"{RESERVOIR}.randrange", lambda *_: 0)
        both = Both(instruments, views, is_always_on)
        before = [Snapshot(), Snapshot()]
        for step in [*steps, "collect", "collect"]:
            now += 1_000_000 * times.randint(1, 9)
            if step == "delta":
                both.deltas.get_metrics_data()
            elif step == "collect":
                try:
                    snapshots = both.collect(now // 1_000_000)
                except Exception as error:
                    # The SDK's own, of exponential histograms; only the public way passes it on.
                    assume(str(error) != "Incorrect merge scale")
                    raise
                assert shown(snapshots[0]) == shown(snapshots[1])
                for last, snapshot in zip(before, snapshots, strict=True):
                    assert_kept(last, snapshot)
                before = snapshots
            else:
                both.record(*step)


def assert_kept(last: Snapshot, snapshot: Snapshot) -> None:
    """What is equal is the same object."""
    for identity, stream in snapshot.streams.items():
        before = last.streams.get(identity)
        if before is None:
            continue
        assert (before is stream) == (before == stream)
        if before.adds_up_with(stream) and before.unit == stream.unit:
            for key, point in stream.points.items():
                assert (before.points.get(key) is point) == (before.points.get(key) == point)
