"""What OpenTelemetry's SDK, 1.45, aggregates for a metric reader."""

import os
from collections.abc import Callable, Iterator
from threading import Lock, RLock
from typing import Any

# Tests switch it off, since all must pass both ways: through the SDK's own methods, and with direct
# access to its aggregations.
DIRECT = os.environ.get("_TELEMETRY_DIRECT") != "false"


def consumer_of(reader: object) -> Any:
    """The SDK's measurement consumer, which hands the values of instruments to all readers."""
    return getattr(getattr(reader, "_collect", None), "__self__", None)


def _instruments_of(reader: object) -> Iterator[tuple[Any, Any]]:
    """Each instrument that a reader collects, with what the SDK aggregates for it."""
    storage = getattr(consumer_of(reader), "_reader_storages", {}).get(reader)
    found = getattr(storage, "_instrument_view_instrument_matches", {})
    for instrument, matches in list(found.items()):
        for match in matches:
            yield instrument, match


def _recorded(reader: object) -> Iterator[tuple[Any, list[Any]]]:
    """The aggregations of each view of a reader, without those of observable instruments."""
    for instrument, match in _instruments_of(reader):
        aggregations = list(match._attributes_aggregation.values())
        if aggregations and not hasattr(instrument, "_callbacks"):
            yield match, aggregations


def has_measured(reader: object) -> bool:
    """Whether an instrument without callbacks has recorded anything. Without it, none ever has."""
    return any(True for _ in _recorded(reader))


def has_measured_lately(reader: object, gauges: dict[Any, Any]) -> bool:
    """The same since the last collection; an unknown kind of aggregation counts as recorded.

    The SDK does not tell whether a gauge was set: `gauges` keeps their values from call to call.
    """
    lately = False
    for match, aggregations in _recorded(reader):
        kind = type(aggregations[0]).__name__
        name = "_value_positive" if kind.startswith("_Exponential") else "_value"
        values = [getattr(each, name, each) for each in aggregations]
        # With the SDK 1.30, a gauge also has no value once it was collected.
        is_new = kind != "_DropAggregation" and values.count(None) < len(values)
        if kind == "_LastValueAggregation":
            is_new = is_new and gauges.get(match) != values
            gauges[match] = values
        lately = lately or is_new
    return lately


def forget_measurements(reader: object) -> Callable[[], None]:
    """Have a reader begin at zero in a forked process; calling the result enables callbacks again.

    It takes none of the SDK's locks, which another thread may have held when the process was
    forked. Without it, the process also counts what was measured before.
    """
    for _, match in _instruments_of(reader):
        match._lock = Lock()
        match._attributes_aggregation = {}
    consumer = consumer_of(reader)
    if consumer is None:
        return lambda: None
    for storage in consumer._reader_storages.values():
        storage._lock = RLock()
    consumer._lock = Lock()
    # A new mapping tells each `Bound` to look for its aggregations again.
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
