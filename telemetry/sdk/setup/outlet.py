"""How a meter provider's metrics leave the process."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader

from telemetry.compatibility import (
    has_delta_temporality,
    has_exponential_histograms,
    resource_of,
)
from telemetry.quiet import quiet_logger
from telemetry.sdk.exposition.reader import EndpointReader
from telemetry.sdk.push import Push, push_deltas
from telemetry.sdk.service import Service
from telemetry.sdk.shutdown import own_shutdown
from telemetry.sdk.workers.group import worker_group
from telemetry.versions import add_metric_reader

_logger = quiet_logger(__name__)


class Outlet(NamedTuple):
    """What is shown or pushed of a provider, and what shows it if anything does."""

    services: Sequence[Service]
    endpoint: EndpointReader | None


_outlets: WeakKeyDictionary[MeterProvider, Outlet] = WeakKeyDictionary()


def connect(provider: MeterProvider, readers: Iterable[MetricReader]) -> None:
    """Have the readers that configuration has given a provider share what the service measures.

    Parameters:
        provider: The provider.
        readers: Its readers, of which at most one is an `EndpointReader`.
    """
    endpoint: EndpointReader | None = None
    alike: list[MetricReader] = []
    services: list[Service] = []
    pushes: list[Push] = []
    deltas: list[MetricReader] = []
    for reader in readers:
        if isinstance(reader, EndpointReader):
            endpoint = reader
        elif has_delta_temporality(reader):
            deltas.append(reader)
            push_deltas(reader)
        elif has_exponential_histograms(reader):
            # It collects others than /metrics shows, and so shares them apart from those.
            service = Service(reader, f"-exponential-{len(services)}")
            services.append(service)
            pushes.append(Push(reader, service))
        else:
            alike.append(reader)
    if endpoint or alike:
        service = endpoint.service if endpoint else Service(alike[0])
        services.append(service)
        pushes += [Push(reader, service) for reader in alike]
    for service in services:
        service.resource = resource_of(provider)
    _outlets[provider] = Outlet(services, endpoint)
    if deltas and worker_group() is not None:
        _logger.warning(
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: each worker pushes deltas of its "
            "own, under its own service.instance.id. Only cumulative metrics are added up first."
        )
    if not pushes and not deltas:
        return

    def flush() -> None:
        for service in services:
            service.flush()
        for reader in deltas:
            reader.force_flush()

    def end() -> None:
        flush()
        for push in pushes:
            push.close()
        provider.shutdown()  # type: ignore[attr-defined]

    own_shutdown(provider, flush, end)


def outlet_of(provider: MeterProvider) -> Outlet:
    """How a provider's metrics leave the process.

    Parameters:
        provider: A provider. What configuration has made is as it was configured; one that the
            application made is given a reader for ``/metrics``. One that takes none (another
            vendor's) is logged as a warning.
    """
    if provider not in _outlets:
        endpoint = _attached(provider)
        _outlets[provider] = Outlet([endpoint.service] if endpoint else [], endpoint)
    return _outlets[provider]


def _attached(provider: MeterProvider) -> EndpointReader | None:
    reader = EndpointReader()
    if not add_metric_reader(provider, reader):
        _logger.warning(
            "/metrics is not served: the global meter provider, %s.%s, takes no further metric "
            "reader. Set an opentelemetry.sdk.metrics.MeterProvider instead, or none.",
            type(provider).__module__,
            type(provider).__qualname__,
        )
        return None
    reader.service.resource = resource_of(provider)
    return reader
