"""Every private name of other packages that this one leans on, in sections by package.

A section names the version that its names were seen in. Nothing is imported before it is needed,
and nothing fails when a name has moved: what it is for is missing then, and one log line says so.
Each name has a test in tests/test_compatibility.py that fails when it moves.

What this package changes in objects of other packages, from `telemetry.instrument` on:

- an application's ``build_middleware_stack``: to stand outside of all other middleware
- its router's ``middleware_stack``: to see what routing finds where a middleware copies the scope
- ``FastAPI.__call__``, ``Starlette.__call__``: ``opentelemetry-instrument`` has all applications
  measured when they are called
- ``starlette.routing.Router.lifespan``: to flush before the server ends the process
- FastAPI's list of exporters: to flush where the lifespan had begun before
- FastAPI's telemetry settings: one set of request metrics; excluded paths have no spans
- contrib's ``excluded_urls``: excluded paths; requests that the outer application counts
- a meter provider's ``add_metric_reader``: later readers export the service, too
- a periodic reader's ``_receive_metrics``, ``collect``: to export what all workers have measured
- its exporter's ``export``: to count the pushes that have failed
- the SDK's aggregations: requests are added to them, and what has changed is collected from them,
  directly; a forked process begins at zero
- the SDK's observable instruments: a failing callback costs its own metric, a hanging one is named
- an OTLP exporter's ``encode_metrics``: to end series at the receiver (OTLP's flag for no value)
- a database pool's ``connect``: ``observe_pool``, as SQLAlchemy does not tell who waits
- loggers of exporters and SDK: the same line at most once a minute
"""

import inspect
import os
import re
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from copy import copy
from dataclasses import replace
from functools import cache, partial, wraps
from itertools import chain, repeat
from math import inf
from operator import add, attrgetter, methodcaller
from threading import Lock, RLock, main_thread
from types import SimpleNamespace
from typing import Any

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.metrics import (
    CallbackOptions,
    Counter,
    Histogram,
    ObservableCounter,
    Synchronous,
)

from telemetry.logger import limited_logger

_logger = limited_logger(__name__)

# The modules whose functions multiprocessing starts as worker processes.
WORKER_MODULES = frozenset(
    {"uvicorn._subprocess", "hypercorn.asyncio.run", "hypercorn.trio.run", "granian.server.mp"}
)
# The module whose function calls the application in gunicorn's workers, which it forks.
ARBITER_MODULE = "gunicorn.arbiter"
_SPAWN = "spawn_worker"
# DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK of opentelemetry/proto/metrics/v1/metrics.proto.
_NO_RECORDED_VALUE = 1

# Off for tests, all of which pass both ways: by the SDK's own methods, and straight to what it
# aggregates.
DIRECT = os.environ.get("_TELEMETRY_DIRECT") != "false"

_DEPTH = 8
_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.metrics._internal.export",
    "opentelemetry.sdk.metrics._internal.instrument",
)


# OpenTelemetry's API, 1.45


def no_meter_provider_is_set(provider: object) -> bool:
    """Whether it is only the API's stand-in for one, which the API has no public way to ask."""
    try:
        from opentelemetry.metrics._internal import _ProxyMeterProvider
    except ImportError:
        _logger.warning("It is unknown whether a meter provider was set: the API has changed")
        return type(provider).__name__.startswith("_Proxy")
    return isinstance(provider, _ProxyMeterProvider)


def context_getter() -> Callable[[], Context]:
    """What tells the current context, without the two calls of the public function."""
    runtime = getattr(context, "_RUNTIME_CONTEXT", None)
    variable = getattr(runtime, "_current_context", None)
    return variable.get if isinstance(variable, ContextVar) else context.get_current


def span_getter() -> Callable[[Context], trace.Span | None]:
    """What finds a context's span, without the calls of the public function."""
    key = getattr(trace.propagation, "_SPAN_KEY", None)
    return trace.get_current_span if key is None else methodcaller("get", key)


# OpenTelemetry's SDK, 1.45


def metric_readers(provider: object) -> Sequence[Any]:
    """The metric readers of a provider. Without it, each worker exports its own metrics."""
    consumer = getattr(provider, "_measurement_consumer", None)
    storages: dict[Any, Any] | None = getattr(consumer, "_reader_storages", None)
    if storages is None and type(provider).__module__.startswith("opentelemetry.sdk"):
        _logger.warning("The readers of a meter provider are not found: the SDK has changed")
    return list(storages or ())


def add_metric_reader(provider: Any, reader: Any) -> bool:
    """Add a reader to a provider that is there already. False where it takes none.

    The SDK has a method since 1.43. From 1.30 to 1.42 this is what it does.
    """
    if hasattr(provider, "add_metric_reader"):
        provider.add_metric_reader(reader)
        return True
    consumer = getattr(provider, "_measurement_consumer", None)
    if consumer is None:
        return False
    from opentelemetry.sdk.metrics._internal.metric_reader_storage import MetricReaderStorage

    storage = MetricReaderStorage(
        consumer._sdk_config,
        reader._instrument_class_temporality,
        reader._instrument_class_aggregation,
    )
    with consumer._lock:
        # Not changed in place: measurements are distributed without the lock.
        consumer._reader_storages = {**consumer._reader_storages, reader: storage}
    reader._set_collect_callback(consumer.collect)
    return True


def when_reader_is_added(provider: Any, added: Callable[[Any], object]) -> None:
    """Have a function called with each reader that is added to a provider from now on."""
    add = getattr(provider, "add_metric_reader", None)
    if add is None:
        return

    def add_metric_reader(metric_reader: Any) -> None:
        add(metric_reader)
        added(metric_reader)

    provider.add_metric_reader = add_metric_reader


def without_exponential_histograms(provider: Any, reader: Any) -> None:
    """Have a reader collect explicit buckets where a view of its provider has exponential ones.

    Logfire has such a view. Without it, those histograms are not on a page of text.
    """
    from opentelemetry.sdk.metrics.view import (
        DefaultAggregation,
        ExponentialBucketHistogramAggregation,
    )

    def explicit(view: Any) -> Any:
        if isinstance(view._aggregation, ExponentialBucketHistogramAggregation):
            view = copy(view)
            view._aggregation = DefaultAggregation()
        return view

    try:
        storage = provider._measurement_consumer._reader_storages[reader]
        config = storage._sdk_config
        storage._sdk_config = replace(config, views=[explicit(view) for view in config.views])
    except (AttributeError, KeyError, TypeError):
        _logger.warning("Exponential histograms are not shown on /metrics: the SDK has changed")


def resource_of(provider: object) -> Any:
    """The resource of a provider. Without it, the resource of what is collected is taken."""
    return getattr(getattr(provider, "_sdk_config", None), "resource", None)


def has_delta_temporality(reader: object) -> bool:
    """Whether a reader collects any deltas. Without it, cumulative values are expected."""
    temporality: dict[type, Any] = getattr(reader, "_instrument_class_temporality", {})
    return any(each.name == "DELTA" for each in temporality.values())


def has_exponential_histograms(reader: object) -> bool:
    """Whether a reader makes exponential histograms. Without it, explicit ones are expected."""
    aggregation: dict[type, Any] = getattr(reader, "_instrument_class_aggregation", {})
    return any(type(each).__name__.startswith("Exponential") for each in aggregation.values())


def guard_callbacks(guard: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> None:
    """Have each callback replaced by what `guard` makes of its instrument's name and of itself.

    Without it, one that raises SystemExit ends the collecting thread, and none that hangs is named.
    """
    try:
        from opentelemetry.sdk.metrics._internal.instrument import _Asynchronous
    except ImportError:
        _logger.warning("Callbacks are called without protection: the SDK has changed")
        return
    original = _Asynchronous.callback
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def callback(self: Any, options: Any) -> Any:
        if not hasattr(self, "_are_guarded"):
            self._are_guarded = True
            self._callbacks = [guard(self.name, each) for each in self._callbacks]
        return original(self, options)

    setattr(_Asynchronous, "callback", callback)  # noqa: B010


class Bound:
    """A counter or a histogram with its attributes, for many values that belong to no span.

    OpenTelemetry's specification has bound instruments since 1.57, the SDK has none yet. This adds
    to the SDK's own aggregations, those of all readers and views, where all of them are what they
    are known to be. Everything else, and the first values after readers have come or gone, goes
    through the instrument's own method.
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
        """Whether values go straight to aggregations, none of which has an exemplar of them."""
        return self._aggregations is not None

    def record(self, value: float) -> None:
        """Add a value that the present span may be an example of."""
        instrument = self._instrument
        add = instrument.add if isinstance(instrument, Counter) else instrument.record
        add(value, self._attributes)
        self._resolve()

    def add(self, values: Sequence[float]) -> None:
        """Add each of the values, none of which is negative or of the present span."""
        aggregations = self._aggregations
        if aggregations is not None and self._consumer._reader_storages is self._storages:
            # Where instruments can be switched off at all.
            is_enabled = getattr(self._instrument, "_is_enabled", None)
            if is_enabled is None or is_enabled():
                for each in aggregations:
                    self._add(each, values)
            return
        token = context.attach(Context())
        try:
            for value in values:
                self.record(value)
        finally:
            context.detach(token)

    def _resolve(self) -> None:
        """Find the aggregations, once a value was added, if there are other readers than before."""
        real = getattr(self._instrument, "_real_instrument", None) or self._instrument
        consumer = getattr(real, "_measurement_consumer", None)
        storages = getattr(consumer, "_reader_storages", None)
        if storages is not self._storages and DIRECT:
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
    ordered = sorted(values)
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
            aggregation._min = min(aggregation._min, least)
            aggregation._max = max(aggregation._max, most)


def _aggregations_of(real: Any, storages: Any, attributes: Mapping[str, str]) -> Iterator[Any]:
    """The aggregations that a value has just been added to; a TypeError where one is another's."""
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


def _consumer_of(reader: object) -> Any:
    return getattr(getattr(reader, "_collect", None), "__self__", None)


def _instruments_of(reader: object) -> Iterator[tuple[Any, Any]]:
    """Each instrument that a reader collects, with what the SDK aggregates for it."""
    storage = getattr(_consumer_of(reader), "_reader_storages", {}).get(reader)
    found = getattr(storage, "_instrument_view_instrument_matches", {})
    for instrument, matches in list(found.items()):
        for match in matches:
            yield instrument, match


def has_measured(reader: object) -> bool:
    """Whether something was recorded, beside what callbacks tell. Without it, nothing ever was."""
    return any(
        match._attributes_aggregation and not hasattr(instrument, "_callbacks")
        for instrument, match in _instruments_of(reader)
    )


def has_measured_lately(reader: object, gauges: dict[Any, Any]) -> bool:
    """Whether something was recorded since a reader has collected, beside what callbacks tell.

    The SDK does not tell of gauges: in `gauges` is what they had when this was called last. What
    is unknown is taken to have been recorded.
    """
    lately = False
    for instrument, match in _instruments_of(reader):
        aggregations = list(match._attributes_aggregation.values())
        if not aggregations or hasattr(instrument, "_callbacks"):
            continue
        kind = type(aggregations[0]).__name__
        name = "_value_positive" if kind.startswith("_Exponential") else "_value"
        values = [getattr(each, name, each) for each in aggregations]
        if kind == "_LastValueAggregation":
            # With the SDK 1.30, a gauge has no value once it was collected.
            changed = gauges.get(match) != values and values.count(None) < len(values)
            lately = lately or changed
            gauges[match] = values
        elif kind != "_DropAggregation":
            lately = lately or values.count(None) < len(values)
    return lately


def forget_measurements(reader: object) -> Callable[[], None]:
    """Have a reader begin at zero in a forked process; the result has callbacks called again.

    It asks for none of the SDK's locks, which another thread may have held when the process was
    forked. Without it, the process has what was measured before as well.
    """
    for _, match in _instruments_of(reader):
        match._lock = Lock()
        match._attributes_aggregation = {}
    consumer = _consumer_of(reader)
    if consumer is None:
        return lambda: None
    for storage in consumer._reader_storages.values():
        storage._lock = RLock()
    consumer._lock = Lock()
    # Another mapping, by which a `Bound` sees that its aggregations are others.
    consumer._reader_storages = dict(consumer._reader_storages)
    instruments, consumer._async_instruments = consumer._async_instruments, []
    return lambda: consumer._async_instruments.extend(instruments)


def series_limits(reader: object) -> dict[tuple[str, str], int]:
    """How many series metrics may have, by scope and name: the SDK has a limit since 1.45.2."""
    return {
        (instrument.instrumentation_scope.name, match._name): match._cardinality_limit
        for instrument, match in _instruments_of(reader)
        if hasattr(match, "_cardinality_limit")
    }


def redirect(
    reader: Any, receive: Callable[..., None], collect: Callable[..., None] | None = None
) -> Callable[..., None]:
    """Have `receive` take what a reader collects, and `collect` called in its `collect`'s place.

    Returns what has taken it so far: that of a periodic reader exports it.
    """
    before: Callable[..., None] = reader._receive_metrics
    reader._receive_metrics = receive
    if collect is not None:
        reader.collect = collect
    return before


def when_an_export_fails(reader: object, do: Callable[[], None]) -> None:
    """Have a function called when the exporter of a periodic reader fails, which does not tell."""
    exporter: Any = getattr(reader, "_exporter", None)
    if exporter is None:
        return
    export = exporter.export

    @wraps(export)
    def watched(*arguments: Any, **options: Any) -> Any:
        succeeded = False
        try:
            result = export(*arguments, **options)
            succeeded = getattr(result, "name", "") == "SUCCESS"
            return result
        finally:
            if not succeeded:
                do()

    exporter.export = watched


def limit_foreign_loggers() -> None:
    """Have exporters and the SDK log the same line at most once a minute."""
    for name in _LOGGERS:
        limited_logger(name)


# OpenTelemetry's SDK, 1.45: its aggregations, of which those that have rested need not be collected

# Of a synchronous instrument's aggregation: what is None where nothing was recorded since it was
# collected, and what is another object where it was collected by somebody else.
_STATES = {
    "_SumAggregation": attrgetter("_value", "_previous_value"),
    "_ExplicitBucketHistogramAggregation": attrgetter("_value", "_previous_value"),
    "_ExponentialBucketHistogramAggregation": attrgetter("_value_positive", "_previous_count"),
}
_KINDS = {*_STATES, "_LastValueAggregation", "_DropAggregation"}
_EXEMPLARS = "_reservoir_storage"
_UNSEEN = object()


class Aggregations:
    """What the `collect` of a reader reads: first callbacks, and then all views of instruments."""

    def __init__(self, reader: object) -> None:
        self._consumer = _consumer_of(reader)
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
        """Each instrument that something was recorded by, or one, with each of its views."""
        found = self._storage._instrument_view_instrument_matches
        of = list(found.items()) if instrument is None else [(instrument, found.get(instrument))]
        return [(each, view) for each, views in of for view in views or ()]

    def are_known(self) -> bool:
        """Whether all of them are cumulative, and of the kinds that are known here."""
        temporalities = self._storage._instrument_class_temporality.values()
        kinds = {type(view._aggregation).__name__ for _, view in self.views()}
        return {each.name for each in temporalities} == {"CUMULATIVE"} and kinds <= _KINDS


def aggregations_of(reader: object) -> Aggregations | None:
    """What a reader collects, or None where the SDK is not as it is known to be.

    Then all has to be collected by the reader each time. So it has where the SDK measures how long
    that takes.
    """
    if not DIRECT or type(getattr(reader, "_metrics", None)).__name__ == "MetricReaderMetrics":
        return None
    try:
        found = Aggregations(reader)
        return found if found.are_known() else None
    except (AttributeError, KeyError):
        return None


class Series:
    """The series of one view of an instrument, of which those are told that may have changed."""

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
        aggregations = list(self._view._attributes_aggregation.values())
        if self._state is None:
            yield from enumerate(aggregations)
            return
        states = map(self._state, aggregations)
        seen = chain(self._seen, repeat(_UNSEEN))
        for index, ((new, collected), known) in enumerate(zip(states, seen, strict=False)):
            if new is not None or collected is not known:
                yield index, aggregations[index]

    def collect(self, index: int, aggregation: Any, is_known: bool) -> Any:
        """What the SDK collects of an aggregation, if anything.

        Of one whose last point is known, and which has no exemplars, that is a tuple: the sum or,
        of a histogram, the counts, the sum, the least and the greatest value.
        """
        point: Any = None
        if is_known and self._advances and not getattr(aggregation._reservoir, _EXEMPLARS, True):
            point = _advanced(aggregation)
        if point is None:
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
    """What `collect` adds up, for a tenth of the cost as no objects are made."""
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


# OpenTelemetry's exporters: otlp-proto-http and -grpc 1.45, prometheus 0.66b2


def can_send_no_recorded_value(reader: object, ended: type) -> bool:
    """Have a reader's OTLP exporter send data of the class `ended` with the flag for no value.

    Neither the SDK's data nor the exporters' encoder have it. False for other exporters.
    """
    exporter = getattr(reader, "_exporter", None)
    module = sys.modules.get(type(exporter).__module__)
    encode = getattr(module, "encode_metrics", None)
    if encode is None:
        if "otlp" in type(exporter).__module__:
            _logger.warning("Series that have ended are shown for minutes: the encoder has moved")
        return False
    if not hasattr(encode, "__wrapped__"):
        setattr(module, "encode_metrics", _flagging(encode, ended))  # noqa: B010
    return True


def _flagging(encode: Callable[[Any], Any], ended: type) -> Callable[[Any], Any]:
    @wraps(encode)
    def encoded(data: Any) -> Any:
        request = encode(data)
        if isinstance(data, ended):
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        for point in getattr(metric, metric.WhichOneof("data")).data_points:
                            point.flags |= _NO_RECORDED_VALUE
        return request

    return encoded


@cache
def prometheus_names() -> tuple[Callable[[str], str], Callable[[str], str], Callable[[str], str]]:
    """How the Prometheus exporter writes names of metrics and labels, and units (else: none)."""
    try:
        from opentelemetry.exporter.prometheus._mapping import (
            map_unit,
            sanitize_attribute,
            sanitize_full_name,
        )
    except ImportError:
        _logger.warning("Metrics are shown without their units: the Prometheus exporter has moved")

        def sanitized(name: str) -> str:
            return re.sub(r"^[0-9]|[^a-zA-Z0-9]+", "_", name)

        return sanitized, sanitized, lambda _: ""
    return sanitize_full_name, sanitize_attribute, map_unit


# OpenTelemetry's instrumentations, 0.66b2


def is_instrumented_by_contrib(app: object) -> bool:
    """Whether opentelemetry-instrumentation-fastapi has put its middleware around an app."""
    return bool(getattr(app, "_is_instrumented_by_opentelemetry", False))


def exclude_from_contrib(stack: object, *expressions: str) -> None:
    """Have contrib's middleware in a stack, if any, leave out URLs in which one is found.

    Without it, all are measured.
    """
    while stack is not None and type(stack).__name__ != "OpenTelemetryMiddleware":
        stack = getattr(stack, "app", None)
    if stack is not None:
        from opentelemetry.util.http import ExcludeList

        own = getattr(getattr(stack, "excluded_urls", None), "_excluded_urls", [])
        expressions = tuple(dict.fromkeys([*own, *expressions]))
        setattr(stack, "excluded_urls", ExcludeList(expressions))  # noqa: B010


def handler_class() -> Any:
    """OpenTelemetry's handler for Python's logging; of the SDK, deprecated since, with 0.51b0."""
    try:
        from opentelemetry.instrumentation.logging.handler import LoggingHandler
    except ImportError:
        from opentelemetry.sdk._logs import LoggingHandler as SdkLoggingHandler

        return SdkLoggingHandler
    return LoggingHandler


# prometheus_client 0.26


def is_opentelemetrys(collector: object) -> bool:
    """Whether a collector is a `PrometheusMetricReader`'s, which would be collected once more."""
    return type(collector).__module__.startswith("opentelemetry.exporter.prometheus")


def collectors_of(registry: Any) -> Sequence[Any]:
    """The collectors of a registry. Without it, one that raises costs what the others have, too."""
    return list(getattr(registry, "_collector_to_names", [registry]))


# FastAPI 0.165; before 0.142 it has no telemetry


def switch_off_native_metrics(app: object) -> bool:
    """Have FastAPI record no ``http.server.*`` metrics for an app that has no provider for them.

    It does as soon as there is a global provider, at several times the cost of ours. Its spans and
    exporters stay. Returns whether ``FASTAPI_OTEL_AUTO_CONFIGURE=true`` had asked for the metrics.
    """
    native = getattr(app, "_native_telemetry", None)
    config = getattr(native, "config", None)
    if not isinstance(config, dict):
        if native is not None:
            _logger.warning("FastAPI records http.server.* as well: its configuration has moved")
        return False
    if config.get("meter_provider") is not None or not config.get("metrics"):
        return False
    setattr(native, "config", {**config, "metrics": False})  # noqa: B010
    return bool(config.get("auto_configure"))


def set_native_default(app: object, name: str, value: object) -> None:
    """Set one of the ``FastAPI(telemetry=...)`` settings, unless the application has set it."""
    config = getattr(app, "_telemetry", None)
    if isinstance(config, dict):
        config[name] = config.get(name) or value


def has_native_metrics(app: object) -> bool:
    """Whether FastAPI records ``http.server.*`` metrics of its own for an application."""
    config = getattr(getattr(app, "_native_telemetry", None), "config", None)
    return isinstance(config, dict) and config.get("metrics") is True


def flush_with_fastapi(flush: Callable[[], object]) -> None:
    """Have FastAPI call a function when a lifespan ends, as it flushes its own exporters then.

    For an application that is instrumented when its lifespan has begun: nothing public comes
    between that one's end and the server. Without it, what was measured last is not pushed.
    """
    try:
        from fastapi.telemetry._runtime import _owned
    except ImportError:
        _logger.warning(
            "What is measured last may not be pushed: the application was instrumented while it "
            "started. Instrument it before, or use FastAPI 0.142 or later."
        )
        return
    _owned.append(SimpleNamespace(force_flush=flush, shutdown=lambda: None))


# uvicorn 0.54, gunicorn 27, hypercorn 0.18, granian 2.8


def started_as_worker() -> bool:
    """Whether a server's supervisor has started this process as one of its workers.

    Nothing public tells a server's worker from a process that a program has started for itself.
    What multiprocessing has started runs in a process that has multiprocessing imported.
    """
    process = sys.modules.get("multiprocessing.process")
    current: Callable[[], object] | None = getattr(process, "current_process", None)
    target = getattr(current(), "_target", None) if current else None
    while isinstance(target, partial):
        target = target.func
    if getattr(target, "__module__", None) in WORKER_MODULES:
        return True
    return _SPAWN in _functions_of_arbiter()


def is_gunicorn_loaded() -> bool:
    """Whether this is a process of gunicorn's, or one that uses it."""
    return ARBITER_MODULE in sys.modules


def is_gunicorns_arbiter() -> bool:
    """Whether this is the process that forks gunicorn's workers, with ``--preload``."""
    functions = _functions_of_arbiter()
    return bool(functions) and _SPAWN not in functions


def _functions_of_arbiter() -> set[str]:
    """The functions of gunicorn's arbiter that the main thread is in.

    It calls the application in the midst of them: in the workers, which it forks, as well.
    """
    functions = set[str]()
    if not is_gunicorn_loaded():
        return functions
    frame = sys._current_frames().get(main_thread().ident or 0)
    while frame is not None:
        if frame.f_globals.get("__name__") == ARBITER_MODULE:
            functions.add(frame.f_code.co_name)
        frame = frame.f_back
    return functions


def client_has_left(receive: Callable[..., Any]) -> bool | None:
    """Whether the client has closed its connection, or None where the server does not tell.

    To receive ASGI's message would take it from the application, and would invite a client that
    waits with ``Expect: 100-continue`` to send its body. uvicorn has the answer in the object that
    `receive` is a method of, below the functions that others, as FastAPI, have put around it.
    """
    for _ in range(_DEPTH):
        left = getattr(getattr(receive, "__self__", None), "disconnected", None)
        if isinstance(left, bool):
            return left
        if not inspect.isfunction(receive) or "receive" not in receive.__code__.co_freevars:
            return None
        receive = inspect.getclosurevars(receive).nonlocals["receive"]
    return None


# SQLAlchemy 2.1, asyncpg 0.32 and the asyncio of Python 3.11


def sqlalchemys_max_overflow(pool: object) -> int | None:
    """How many connections a pool opens beyond its size; -1 is without a limit."""
    overflow = getattr(pool, "_max_overflow", None)
    if not isinstance(overflow, int):
        _logger.warning("The limit of a pool is not shown: SQLAlchemy has changed")
        return None
    return overflow


def asyncpgs_waiting(pool: object) -> int | None:
    """How many tasks wait for a connection, for which a pool has an `asyncio.Queue`."""
    getters = getattr(getattr(pool, "_queue", None), "_getters", None)
    if getters is None:
        # Before a pool is initialized, it has no queue.
        if not hasattr(pool, "_queue"):
            _logger.warning("Who waits for a pool is not shown: asyncpg has changed")
        return None
    return sum(not getter.done() for getter in list(getters))
