"""What a meter provider holds, as a registry that prometheus_client can write out."""

import logging
from weakref import WeakKeyDictionary

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import MeterProvider
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

_logger = logging.getLogger(__name__)

_registries: WeakKeyDictionary[MeterProvider, CollectorRegistry] = WeakKeyDictionary()


def registry_of(provider: MeterProvider) -> CollectorRegistry:
    """The registry that shows a meter provider's metrics, made when it is first asked for.

    It is not prometheus_client's global one: two providers never show each other's numbers.
    Beside the provider's metrics, which OpenTelemetry's own Prometheus reader adds, it has
    prometheus_client's ``process_*`` and ``python_*`` ones.

    Parameters:
        provider: The SDK's meter provider. One that takes no further reader (another
            vendor's) is logged as a warning, and its metrics are not in the registry.
    """
    registry = _registries.get(provider)
    if registry is None:
        registry = _registries[provider] = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        _add_reader(provider, registry)
    return registry


def _add_reader(provider: MeterProvider, registry: CollectorRegistry) -> None:
    add_metric_reader = getattr(provider, "add_metric_reader", None)
    if add_metric_reader is None:
        _logger.warning(
            "The global meter provider, %s.%s, takes no further metric reader: /metrics will "
            "not show its metrics. Set an opentelemetry.sdk.metrics.MeterProvider instead.",
            type(provider).__module__,
            type(provider).__qualname__,
        )
        return
    add_metric_reader(PrometheusMetricReader(registry=registry, scope_info_enabled=False))
