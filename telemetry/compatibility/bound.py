"""Values that are added directly to the aggregations of OpenTelemetry's SDK, 1.45."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram

from telemetry.compatibility import aggregations


class Bound:
    """A counter or a histogram with its attributes, for many values that belong to no span.

    OpenTelemetry's specification has bound instruments since 1.57, the SDK has none yet. This adds
    to the SDK's aggregations of all readers and views, if all of them are of the types expected
    here. Everything else, and the first values after readers were added or removed, goes through
    the instrument's own method.
    """

    __slots__ = ("_add", "_aggregations", "_attributes", "_consumer", "_instrument", "_storages")

    def __init__(self, instrument: Counter | Histogram, attributes: Mapping[str, str]) -> None:
        self._instrument: Any = instrument
        self._attributes = attributes
        self._add = _add_to_sum if isinstance(instrument, Counter) else _add_to_histogram
        self._consumer: Any = None
        self._storages: object = None
        self._aggregations: list[Any] | None = None

    @property
    def is_direct(self) -> bool:
        """Whether values are added directly to aggregations, which makes no exemplars."""
        return self._aggregations is not None

    def record(self, value: float) -> None:
        """Add a value by the instrument's own method: the current span may become its exemplar."""
        instrument = self._instrument
        add = instrument.add if isinstance(instrument, Counter) else instrument.record
        add(value, self._attributes)
        self._resolve()

    def add(self, values: Sequence[float]) -> None:
        """Add values, none of them negative, that have nothing to do with the current span."""
        direct = self._aggregations
        if direct is not None and self._consumer._reader_storages is self._storages:
            # Where instruments can be switched off at all.
            is_enabled = getattr(self._instrument, "_is_enabled", None)
            if is_enabled is None or is_enabled():
                for each in direct:
                    self._add(each, values)
            return
        token = context.attach(Context())
        try:
            for value in values:
                self.record(value)
        finally:
            context.detach(token)

    def _resolve(self) -> None:
        """Look for the aggregations again if readers have changed; a value was added before."""
        real = getattr(self._instrument, "_real_instrument", None) or self._instrument
        consumer = getattr(real, "_measurement_consumer", None)
        storages = getattr(consumer, "_reader_storages", None)
        if storages is not self._storages and aggregations.DIRECT:
            self._aggregations = None
            self._instrument, self._consumer, self._storages = real, consumer, storages
            with suppress(AttributeError, ImportError, KeyError, TypeError):
                self._aggregations = list(_aggregations_of(real, storages, self._attributes))


def _add_to_sum(aggregation: Any, values: Sequence[float]) -> None:
    with aggregation._lock:
        aggregation._value = (aggregation._value or 0) + sum(values)


def _add_to_histogram(aggregation: Any, values: Sequence[float]) -> None:
    bounds = aggregation._boundaries
    # Many values and few buckets: looking for the bounds among the values takes a third as long.
    ordered = sorted(values) if len(values) > 1 else values
    least, most = ordered[0], ordered[-1]
    last = bisect_left(bounds, most)
    below = 0
    with aggregation._lock:
        counts = aggregation._value
        if counts is None:
            counts = aggregation._value = [0] * (len(bounds) + 1)
        if len(ordered) > 1:
            for bucket in range(bisect_left(bounds, least), last):
                before, below = below, bisect_right(ordered, bounds[bucket])
                counts[bucket] += below - before
        counts[last] += len(ordered) - below
        aggregation._sum += sum(values)
        if aggregation._record_min_max:
            if least < aggregation._min:
                aggregation._min = least
            if most > aggregation._max:
                aggregation._max = most


def _aggregations_of(real: Any, storages: Any, attributes: Mapping[str, str]) -> Iterator[Any]:
    """The aggregations that a value was just added to; a TypeError if one is not the SDK's."""
    from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, TraceBasedExemplarFilter
    from opentelemetry.sdk.metrics._internal import _view_instrument_match, aggregation

    key_of: Callable[[Any], Any] = getattr(
        _view_instrument_match, "_hash_attributes", lambda each: frozenset(each.items())
    )
    expected: type = aggregation._ExplicitBucketHistogramAggregation
    if isinstance(real, Counter):
        expected = aggregation._SumAggregation
    exemplars = real._measurement_consumer._sdk_config.exemplar_filter
    _expect(exemplars, AlwaysOffExemplarFilter, TraceBasedExemplarFilter)
    for storage in storages.values():
        for match in storage._instrument_view_instrument_matches[real]:
            _expect(match, _view_instrument_match._ViewInstrumentMatch)
            keys = match._view._attribute_keys
            kept = {key: attributes[key] for key in attributes if keys is None or key in keys}
            known = match._attributes_aggregation
            found = known.get(key_of(kept)) or known[key_of({"otel.metric.overflow": True})]
            if type(found) is aggregation._DropAggregation:
                continue
            _expect(found, expected)
            if getattr(match, "_reset_on_collect", False):
                raise TypeError("it has other aggregations after each collection")
            yield found


def _expect(given: object, *expected: type) -> None:
    if type(given) not in expected:
        raise TypeError(f"the SDK has changed, or {given!r} is another vendor's")
