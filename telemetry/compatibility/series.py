"""Collecting from the aggregations of OpenTelemetry's SDK, 1.45, only what has changed."""

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from math import inf
from operator import add, attrgetter
from typing import Any

from opentelemetry.metrics import CallbackOptions, Counter, ObservableCounter, Synchronous

from telemetry.compatibility import aggregations
from telemetry.compatibility.aggregations import consumer_of

# Two attributes of the aggregations of synchronous instruments: the first is None if nothing was
# recorded since the last collection, the second is a new object if others have collected.
_STATES = {
    "_SumAggregation": attrgetter("_value", "_previous_value"),
    "_ExplicitBucketHistogramAggregation": attrgetter("_value", "_previous_value"),
    "_ExponentialBucketHistogramAggregation": attrgetter("_value_positive", "_previous_count"),
}
_KINDS = {*_STATES, "_LastValueAggregation", "_DropAggregation"}
_EXEMPLARS = "_reservoir_storage"
_UNSEEN = object()


class Aggregations:
    """What a reader's `collect` reads: first all callbacks, then all views of instruments."""

    def __init__(self, reader: object) -> None:
        self._consumer = consumer_of(reader)
        self._storage = self._consumer._reader_storages[reader]
        # To be held while callbacks are called.
        self.lock = self._consumer._lock
        self.resource = self._storage._sdk_config.resource

    def asynchronous(self) -> Sequence[Any]:
        """The instruments with callbacks, in the order in which these are called."""
        return list(self._consumer._async_instruments)

    def observe(self, instrument: Any) -> None:
        """Call the callbacks of an instrument."""
        sample = self._consumer._sdk_config.exemplar_filter.should_sample
        for each in instrument.callback(CallbackOptions()):
            sampled = sample(each.value, each.time_unix_nano, each.attributes, each.context)
            self._storage.consume_measurement(each, sampled)

    def views(self, instrument: Any = None) -> Sequence[tuple[Any, Any]]:
        """Each instrument that has recorded anything, or the given one, with each of its views."""
        found = self._storage._instrument_view_instrument_matches
        of = list(found.items()) if instrument is None else [(instrument, found.get(instrument))]
        return [(each, view) for each, views in of for view in views or ()]

    def are_known(self) -> bool:
        """Whether all aggregations are cumulative, and of the kinds that are known here."""
        temporalities = self._storage._instrument_class_temporality.values()
        kinds = {type(view._aggregation).__name__ for _, view in self.views()}
        return {each.name for each in temporalities} == {"CUMULATIVE"} and kinds <= _KINDS


def aggregations_of(reader: object) -> Aggregations | None:
    """What a reader collects, or None where its own `collect` has to be called.

    That is so where the SDK has changed, and where it measures how long its `collect` takes.
    """
    if (
        not aggregations.DIRECT
        or type(getattr(reader, "_metrics", None)).__name__ == "MetricReaderMetrics"
    ):
        return None
    try:
        found = Aggregations(reader)
        return found if found.are_known() else None
    except (AttributeError, KeyError):
        return None


class Series:
    """The series of one view of an instrument, of which it finds those that may have changed."""

    def __init__(self, instrument: Any, view: Any) -> None:
        self.scope = instrument.instrumentation_scope
        self.name: str = view._name
        self._instrument, self._view = instrument, view
        self._kind = type(view._aggregation).__name__
        self.is_synchronous = isinstance(instrument, Synchronous)
        self._state = _STATES.get(self._kind) if self.is_synchronous else None
        self._advances = self._state is not None and "Exponential" not in self._kind
        self._seen: list[object] = []

    def changed(self) -> Iterator[tuple[int, Any]]:
        """The aggregations that may have changed since they were collected, by their index."""
        found = list(self._view._attributes_aggregation.values())
        if self._state is None:
            yield from enumerate(found)
            return
        states = map(self._state, found)
        seen = chain(self._seen, repeat(_UNSEEN))
        for index, ((new, collected), known) in enumerate(zip(states, seen, strict=False)):
            if new is not None or collected is not known:
                yield index, found[index]

    def collect(self, index: int, aggregation: Any, is_known: bool) -> Any:
        """The SDK's point of an aggregation, or None.

        A tuple, which is cheaper, if the last point is known and there are no exemplars: the sum
        or, of a histogram, the counts, the sum, the least and the greatest value.
        """
        if is_known and self._advances and not getattr(aggregation._reservoir, _EXEMPLARS, True):
            advanced = _advanced(aggregation)
            if advanced is not None:
                self._seen[index : index + 1] = [aggregation._previous_value]
                return advanced
        from opentelemetry.sdk.metrics.export import AggregationTemporality

        point = aggregation.collect(AggregationTemporality.CUMULATIVE, 0)
        if self._state is not None:
            self._seen[index : index + 1] = [self._state(aggregation)[1]]
        return point

    def metric(self, point: Any) -> Any:
        """The metric that the SDK makes of the view, with one point."""
        from opentelemetry.sdk.metrics import export

        cumulative = export.AggregationTemporality.CUMULATIVE
        data: Any
        if self._kind == "_SumAggregation":
            is_monotonic = isinstance(self._instrument, Counter | ObservableCounter)
            data = export.Sum([point], cumulative, is_monotonic)
        elif self._kind == "_LastValueAggregation":
            data = export.Gauge([point])
        elif self._kind == "_ExplicitBucketHistogramAggregation":
            data = export.Histogram([point], cumulative)
        else:
            data = export.ExponentialHistogram([point], cumulative)
        return export.Metric(self._view._name, self._view._description, self._instrument.unit, data)


def _advanced(each: Any) -> tuple[Any, ...] | None:
    """What `collect` returns, as plain numbers: without objects, it costs a tenth."""
    with each._lock:
        value, before = each._value, each._previous_value
        if value is None or before is None:
            return None
        each._value = None
        if not isinstance(value, list):
            each._previous_value = total = value + before
            return (total,)
        each._previous_value = counts = list(map(add, value, before))
        each._previous_min = least = min(each._min, each._previous_min)
        each._previous_max = most = max(each._max, each._previous_max)
        each._previous_sum = total = each._sum + each._previous_sum
        each._min, each._max, each._sum = inf, -inf, 0
        return counts, total, least, most
