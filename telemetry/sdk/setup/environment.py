"""From ``OTEL_*`` variables or a configuration file to the global providers."""

import logging
import os
from pathlib import Path

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider as ApiMeterProvider
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_PROMETHEUS_HOST,
    OTEL_EXPORTER_PROMETHEUS_PORT,
    OTEL_SDK_DISABLED,
)
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource

from telemetry.compatibility.api import no_meter_provider_is_set
from telemetry.compatibility.exporters import limit_foreign_loggers
from telemetry.logger import get_logger
from telemetry.providers import METER
from telemetry.sdk.exposition.reader import EndpointReader
from telemetry.sdk.setup import exporters
from telemetry.sdk.setup.checks import check_settings
from telemetry.sdk.setup.exemplars import exemplar_filter
from telemetry.sdk.setup.readers import readers_of
from telemetry.sdk.shutdown import own_shutdown
from telemetry.versions import OTEL_CONFIG_FILE, instance_id, limit_of_series

_logger = get_logger(__name__)

# The labels of the request metrics are bounded by the routes, the known methods and the
# status codes. The SDK's own limit, 2,000 series of an instrument, is for labels that are
# not bounded: clients would reach it with eleven methods on each of 182 routes.
_MAX_SERIES = 50_000


def disabled() -> bool:
    """Whether ``OTEL_SDK_DISABLED`` says that nothing is to be measured."""
    return os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"


def global_meter_provider(native_histograms: bool | None = None) -> ApiMeterProvider:
    """The global meter provider, set up as the environment says where there was none."""
    provider = metrics.get_meter_provider()
    if no_meter_provider_is_set(provider):
        configure(native_histograms=native_histograms)
        provider = metrics.get_meter_provider()
        if no_meter_provider_is_set(provider):
            # A configuration file without metrics: there is nothing to show.
            readers_of(provider, configured=True)
    return provider


def configure(
    resource_attributes: dict[str, str] | None = None, native_histograms: bool | None = None
) -> None:
    """Set the global providers, by ``OTEL_CONFIG_FILE`` or by the ``OTEL_*_EXPORTER`` variables.

    What cannot be set up is logged in one line each and never raised.
    """
    if disabled():
        return
    limit_foreign_loggers()
    check_settings()
    if path := os.environ.get(OTEL_CONFIG_FILE):
        _configure_from_file(path)
        return
    resource = Resource.create({**instance_id(), **(resource_attributes or {})})
    _configure_metrics(resource, native_histograms)
    _configure_traces(resource)
    _configure_logs(resource)


def _configure_from_file(path: str) -> None:
    def failed(what: str) -> None:
        _logger.error("%s=%s: %s", OTEL_CONFIG_FILE, path, what)

    files = "config/ in this project's repository has files that work"
    if not Path(path).is_file():
        failed(f"file not found. Nothing is exported. {files}.")
        return
    try:
        from opentelemetry.configuration import configure_sdk, load_config_file
    except ImportError:
        failed(
            "a package is missing, install it: pip install 'fastapi-otel-metrics[config]'. "
            "Nothing is exported."
        )
        return

    # It logs what it raises, in its own words and without the variable's name.
    loader = logging.getLogger("opentelemetry.configuration")
    level = loader.level
    loader.setLevel(logging.CRITICAL + 1)
    try:
        configuration = load_config_file(path)
        loader.setLevel(level)
        configure_sdk(configuration)
    except Exception as error:
        failed(
            f"{exporters.line(error)}. Nothing is exported. {files}; the format is "
            "https://opentelemetry.io/docs/languages/sdk-configuration/declarative-configuration/."
        )
    finally:
        loader.setLevel(level)
    from opentelemetry._logs import get_logger_provider

    readers_of(metrics.get_meter_provider(), configured=True)
    for each in (trace.get_tracer_provider(), get_logger_provider()):
        own_shutdown(each)


def _configure_metrics(resource: Resource, native_histograms: bool | None) -> None:
    readers: list[MetricReader] = []
    if exporters.PROMETHEUS in exporters.exporter_names(exporters.METRICS):
        readers += _endpoint_readers(native_histograms)
    for name, exporter in exporters.create_exporters(exporters.METRICS):
        try:
            is_reader = isinstance(exporter, MetricReader)
            readers.append(exporter if is_reader else PeriodicExportingMetricReader(exporter))
        except ValueError as error:
            _logger.error(
                "OTEL_METRICS_EXPORTER=%s: cannot be set up: %s. OTEL_METRIC_EXPORT_INTERVAL=%s: "
                "it takes milliseconds, such as 15000.",
                name,
                exporters.line(error),
                os.environ.get("OTEL_METRIC_EXPORT_INTERVAL"),
            )
    limit = limit_of_series(_MAX_SERIES)
    views = [View(instrument_type=kind, meter_name=METER, **limit) for kind in (Counter, Histogram)]
    provider = MeterProvider(
        metric_readers=readers, resource=resource, exemplar_filter=exemplar_filter(), views=views
    )
    metrics.set_meter_provider(provider)
    readers_of(provider, configured=True)


def _endpoint_readers(native_histograms: bool | None) -> list[EndpointReader]:
    port = os.environ.get(OTEL_EXPORTER_PROMETHEUS_PORT, "").strip()
    if not port:
        return [EndpointReader(native_histograms=native_histograms)]
    if not port.isdecimal() or not 0 < int(port) < 65536:
        _logger.error(
            "%s=%s: not a port; valid are 1 to 65535. The metrics are not served.",
            OTEL_EXPORTER_PROMETHEUS_PORT,
            port,
        )
        return []
    host = os.environ.get(OTEL_EXPORTER_PROMETHEUS_HOST)
    return [EndpointReader(host, int(port), native_histograms)]


def _configure_traces(resource: Resource) -> None:
    if not (created := list(exporters.create_exporters(exporters.TRACES))):
        # Without a provider no spans are made, which would take each request some time.
        return
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource)
    for _, exporter in created:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    own_shutdown(provider)


def _configure_logs(resource: Resource) -> None:
    if not (created := list(exporters.create_exporters(exporters.LOGS))):
        return
    from opentelemetry._logs import set_logger_provider
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(resource=resource)
    for _, exporter in created:
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    set_logger_provider(provider)
    own_shutdown(provider)
