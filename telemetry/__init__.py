"""Request and memory metrics for any FastAPI application, through OpenTelemetry."""

from collections.abc import Collection
from functools import cache
from weakref import WeakSet

from fastapi import FastAPI
from opentelemetry.metrics import MeterProvider
from starlette.types import ASGIApp

from telemetry.compatibility import switch_off_native_metrics
from telemetry.instrumentation.excluded import urls_excluded
from telemetry.instrumentation.memory import observe_memory
from telemetry.instrumentation.recorder import recorder_of
from telemetry.instrumentation.requests import RequestMetrics, remember_routing
from telemetry.instrumentation.routes import RouteTemplates
from telemetry.instrumentation.saturation import saturation_of
from telemetry.instrumentation.saturation.pools import observe_connections
from telemetry.instrumentation.stack import wrap_middleware_stack
from telemetry.quiet import quiet_logger, quieten
from telemetry.sdk.exposition.route import serve_metrics
from telemetry.sdk.setup.environment import disabled
from telemetry.sdk.setup.outlet import outlet_of
from telemetry.sdk.setup.provider import global_meter_provider
from telemetry.sdk.shutdown import flush_after_lifespans

__all__ = ["DEFAULT_EXCLUDED_PATHS", "instrument", "observe_pool"]
__version__ = "0.1.0"

DEFAULT_EXCLUDED_PATHS = ("/favicon.ico", "/docs", "/redoc", "/openapi.json", "/metrics")
"""The paths that are not counted unless `instrument` is told otherwise."""

_logger = quiet_logger(__name__)

_instrumented: WeakSet[FastAPI] = WeakSet()

flush_after_lifespans()


def instrument(
    app: FastAPI,
    *,
    meter_provider: MeterProvider | None = None,
    excluded_paths: Collection[str] = DEFAULT_EXCLUDED_PATHS,
    fastapi_metrics: bool = False,
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
            They take the place of `DEFAULT_EXCLUDED_PATHS`; to keep those, pass
            ``[*telemetry.DEFAULT_EXCLUDED_PATHS, "/health"]``.
        fastapi_metrics: Whether FastAPI records its own ``http.server.*`` metrics beside these.

    Raises:
        TypeError: `excluded_paths` is one string.
    """
    if isinstance(excluded_paths, str):
        raise TypeError(f"excluded_paths takes a list of paths: [{excluded_paths!r}]")
    if app in _instrumented or disabled():
        return
    _instrumented.add(app)
    if not fastapi_metrics:
        switch_off_native_metrics(app)
    quieten()
    try:
        provider = meter_provider or global_meter_provider()
        recorder = recorder_of(provider)
        observe_memory(provider)
        saturation = saturation_of(provider, "app")
        services, endpoint = outlet_of(provider)
    except Exception:
        _logger.exception("The application is not measured: its meter provider has failed")
        return
    templates = RouteTemplates(app.router)
    excluded_urls = urls_excluded()

    @cache
    def serve() -> None:
        """Once, in the process that serves the application, when it is about to."""
        for service in services:
            service.join()
        if endpoint is not None:
            endpoint.serve()
            if endpoint.port is None:
                serve_metrics(app, endpoint.page, templates.has)

    def measure(stack: ASGIApp) -> ASGIApp:
        try:
            serve()
        except Exception:
            _logger.exception("The metrics are not served")
        saturation.watch()
        return RequestMetrics(
            stack,
            others=saturation.watching(stack),
            recorder=recorder,
            templates=templates,
            excluded_paths=excluded_paths,
            excluded_urls=excluded_urls,
        )

    remember_routing(app.router)
    wrap_middleware_stack(app, measure)


def observe_pool(pool: object, *, name: str, meter_provider: MeterProvider | None = None) -> None:
    """Measure a pool of database connections: in use, idle, its limit, and who waits for one.

    The series are ``db_client_connection_count``, ``db_client_connection_max`` and
    ``db_client_connection_pending_requests``. With ``OTEL_SDK_DISABLED=true`` nothing is done.

    Parameters:
        pool: An ``Engine`` or ``AsyncEngine`` of SQLAlchemy whose pool has a size, as the default
            one has for all databases but SQLite in memory, or an asyncpg ``Pool``.
        name: Tells it apart from other pools, as the label ``db_client_connection_pool_name``.
            A pool that had the same name is not measured any more.
        meter_provider: As for `instrument`.

    Raises:
        TypeError: It is something else, or a pool that holds no connections.
    """
    if not disabled():
        observe_connections(meter_provider or global_meter_provider(), pool, name)
