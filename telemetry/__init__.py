"""Request and memory metrics for any FastAPI application, through OpenTelemetry."""

from collections.abc import Collection
from functools import cache
from weakref import WeakSet

from fastapi import FastAPI
from opentelemetry.metrics import MeterProvider
from starlette.types import ASGIApp

from telemetry.instrumentation.excluded import urls_excluded
from telemetry.instrumentation.memory import observe_memory
from telemetry.instrumentation.recorder import recorder_of
from telemetry.instrumentation.requests import RequestMetrics
from telemetry.instrumentation.routes import RouteTemplates
from telemetry.instrumentation.stack import wrap_middleware_stack
from telemetry.quiet import quiet_logger, quieten
from telemetry.sdk.configuration import disabled
from telemetry.sdk.endpoint import MetricsEndpoint
from telemetry.sdk.provider import meter_provider as global_meter_provider
from telemetry.sdk.reader import reader_of
from telemetry.sdk.serving import METRICS_PATH, keep_own_metrics, serve_metrics
from telemetry.sdk.shutdown import flushed_on_shutdown

__all__ = ["instrument"]
__version__ = "0.1.0"

_logger = quiet_logger(__name__)

_instrumented: WeakSet[FastAPI] = WeakSet()


def instrument(
    app: FastAPI,
    *,
    meter_provider: MeterProvider | None = None,
    excluded_paths: Collection[str] = (
        "/favicon.ico",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/metrics",
    ),
) -> None:
    """Measure an application's requests and memory, and serve ``/metrics``.

    It may be called before or after routes and middleware are added, and more than once:
    every call but the first does nothing. The series are ``app_requests_total``,
    ``app_responses_total``, ``app_requests_processing_time_seconds``,
    ``app_requests_in_progress`` and ``app_memory_usage_bytes``. With
    ``OTEL_SDK_DISABLED=true`` nothing is done at all.

    Parameters:
        app: The application. A ``/metrics`` route of its own stays, and a warning is logged.
        meter_provider: Where the instruments are made. By default the global meter provider,
            which is set up as the ``OTEL_*`` variables say where there is none.
        excluded_paths: Route templates, or paths that no route matches, that are not counted.
    """
    if app in _instrumented or disabled():
        return
    _instrumented.add(app)
    quieten()
    try:
        provider = meter_provider or global_meter_provider()
        recorder = recorder_of(provider)
        observe_memory(provider)
        reader = reader_of(provider)
    except Exception:
        _logger.exception("The application is not measured: its meter provider has failed")
        return
    templates = RouteTemplates(app.router)
    excluded_urls = urls_excluded()

    @cache
    def serve() -> None:
        """Once, in the process that serves the application, when it is about to."""
        if reader is None:
            return
        reader.share()
        if reader.port is not None:
            reader.listen_soon()
        elif templates.has(METRICS_PATH):
            keep_own_metrics()
        else:
            serve_metrics(app, MetricsEndpoint(reader.exposition))

    def measure(stack: ASGIApp) -> ASGIApp:
        try:
            serve()
        except Exception:
            _logger.exception("The metrics are not served")
        return RequestMetrics(
            stack,
            otherwise=flushed_on_shutdown(stack),
            recorder=recorder,
            templates=templates,
            excluded_paths=excluded_paths,
            excluded_urls=excluded_urls,
        )

    wrap_middleware_stack(app, measure)
