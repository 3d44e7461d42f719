"""Meter providers and metric readers of OpenTelemetry's SDK, 1.45."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from telemetry.logger import limited_logger

_logger = limited_logger(__name__)


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

    Logfire has such a view. Without it, their classic buckets have powers of two as bounds.
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
        _logger.warning(
            "Histograms that a View makes exponential have powers of two as bounds on /metrics: "
            "the SDK has changed"
        )


def resource_of(provider: object) -> Any:
    """The resource of a provider. Without it, that of the collected metrics is used."""
    return getattr(getattr(provider, "_sdk_config", None), "resource", None)


def has_delta_temporality(reader: object) -> bool:
    """Whether a reader collects any deltas. Without it, cumulative values are expected."""
    temporality: dict[type, Any] = getattr(reader, "_instrument_class_temporality", {})
    return any(each.name == "DELTA" for each in temporality.values())


def has_exponential_histograms(reader: object) -> bool:
    """Whether a reader makes exponential histograms. Without it, explicit ones are expected."""
    aggregation: dict[type, Any] = getattr(reader, "_instrument_class_aggregation", {})
    return any(type(each).__name__.startswith("Exponential") for each in aggregation.values())


def redirect(
    reader: Any, receive: Callable[..., None], collect: Callable[..., None] | None = None
) -> Callable[..., None]:
    """Hand what a reader collects to `receive`, and call `collect` instead of the reader's own.

    Returns what received it so far, which exports in the case of a periodic reader.
    """
    before: Callable[..., None] = reader._receive_metrics
    reader._receive_metrics = receive
    if collect is not None:
        reader.collect = collect
    return before
