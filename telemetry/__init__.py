"""Request and memory metrics for any FastAPI application, through OpenTelemetry."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from weakref import WeakSet

from fastapi import FastAPI
from fastapi.params import Depends
from opentelemetry.metrics import MeterProvider
from starlette.types import ASGIApp

from telemetry.compatibility import (
    exclude_from_contrib,
    has_native_metrics,
    is_instrumented_by_contrib,
    switch_off_native_metrics,
    use_native_metrics,
)
from telemetry.instrumentation.excluded import excluding, urls_excluded
from telemetry.instrumentation.labels import RequestLabel
from telemetry.instrumentation.memory import observe_memory
from telemetry.instrumentation.recorder import BUCKETS, PREFIX, BucketsDifferError, recorder_of
from telemetry.instrumentation.requests import RequestMetrics, remember_routing, set_label
from telemetry.instrumentation.routes import RouteTemplates
from telemetry.instrumentation.saturation import LifespanWatch, saturation_of
from telemetry.instrumentation.saturation.pools import observe_connections
from telemetry.instrumentation.stack import wrap_middleware_stack
from telemetry.instrumentation.websockets import WebSocketMetrics, websocket_recorder_of
from telemetry.options import Options, RequestNames
from telemetry.quiet import quiet_logger, quieten
from telemetry.sdk.exposition.route import serve_metrics
from telemetry.sdk.setup.environment import disabled
from telemetry.sdk.setup.logs import export_logging
from telemetry.sdk.setup.outlet import outlet_of
from telemetry.sdk.setup.provider import global_meter_provider
from telemetry.sdk.shutdown import flush_after_lifespans

__all__ = ["DEFAULT_EXCLUDED_PATHS", "RequestLabel", "instrument", "observe_pool", "set_label"]
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
    request_metrics: str | None = None,
    prefix: str = PREFIX,
    buckets: Iterable[float] = BUCKETS,
    labels: Mapping[str, str | RequestLabel] = MappingProxyType({}),
    in_progress_by_route: bool = False,
    body_sizes: bool = False,
    metrics_dependencies: Sequence[Depends] = (),
    prometheus_client_metrics: bool = True,
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
        request_metrics: ``"app"`` for the series above, ``"http.server"`` for FastAPI's own
            ``http.server.request.duration`` and ``http.server.active_requests`` in their place,
            or ``"both"``. By default the variable ``TELEMETRY_REQUEST_METRICS`` decides, and
            ``"app"`` where that is not set. The options below are for ``app_*``.
        prefix: What the names of the series begin with in the place of ``app``.
        buckets: Upper bounds of the duration histogram in seconds, ascending. A view on the
            histogram wins over them.
        labels: Further labels of the series of requests: by name, a constant value, or a
            `RequestLabel` that each request has a value for.
        in_progress_by_route: Whether requests in progress have ``method``, ``path`` and further
            labels. They are told apart when the metrics are read, at no cost for a request.
        body_sizes: Whether there are histograms of the sizes of bodies,
            ``app_request_body_size_bytes`` and ``app_response_body_size_bytes``.
        metrics_dependencies: FastAPI dependencies that a scrape of ``/metrics`` must pass, such
            as ``[Depends(only_for_monitoring)]``. For a bearer token, set
            ``TELEMETRY_METRICS_TOKEN`` instead. They are not asked on a port of its own.
        prometheus_client_metrics: Whether ``/metrics`` also shows what the global registry of
            prometheus_client has. It is not pushed. Applications that share a meter provider
            share what is shown: False for one is False for all.

    Raises:
        TypeError: An argument is of another type.
        ValueError: An argument has a value that it cannot have.
    """
    options = Options(
        excluded_paths,
        request_metrics,
        prefix,
        buckets,
        labels,
        in_progress_by_route,
        body_sizes,
        metrics_dependencies,
        prometheus_client_metrics,
    )
    if app in _instrumented or disabled():
        return
    _instrumented.add(app)
    names = options.names()
    quieten()
    try:
        provider = meter_provider or global_meter_provider()
        if names is not RequestNames.STANDARD:
            recorder = recorder_of(provider, prefix, options.bounds())
        observe_memory(provider, prefix)
        saturation = saturation_of(provider, prefix)
        websockets = websocket_recorder_of(provider, prefix)
        services, endpoint = outlet_of(provider)
        if endpoint is not None and not prometheus_client_metrics:
            endpoint.shows_registry = False
    except BucketsDifferError:
        _instrumented.discard(app)
        raise
    except Exception:
        _logger.exception("The application is not measured: its meter provider has failed")
        return
    templates = RouteTemplates(app.router)
    excluded_urls = urls_excluded()
    if names is RequestNames.APP:
        switch_off_native_metrics(app)
    else:
        use_native_metrics(app, meter_provider, excluding(excluded_paths, excluded_urls))

    @cache
    def serve() -> None:
        """Once, in the process that serves the application, when it is about to."""
        export_logging()
        for service in services:
            service.join()
        if endpoint is not None:
            endpoint.serve()
            if endpoint.port is None:
                serve_metrics(app, endpoint.page, templates.has, metrics_dependencies)

    def measure(stack: ASGIApp) -> ASGIApp:
        try:
            serve()
        except Exception:
            _logger.exception("The metrics are not served")
        saturation.watch()
        others = WebSocketMetrics(
            LifespanWatch(stack, saturation),
            recorder=websockets,
            templates=RouteTemplates(app.router, websockets=True),
            excluded_paths=excluded_paths,
            excluded_urls=excluded_urls,
        )
        if names is RequestNames.STANDARD:
            if not has_native_metrics(app) and not is_instrumented_by_contrib(app):
                _logger.error(
                    "Nothing records http.server.*: FastAPI does since 0.142, unless "
                    "FastAPI(telemetry=...) switches it off. With an older one, run the "
                    "application under opentelemetry-instrument."
                )
            exclude_from_contrib(stack, *(rf"//[^/]*{re.escape(path)}$" for path in excluded_paths))
            return others
        return RequestMetrics(
            stack,
            others=others,
            recorder=recorder,
            templates=templates,
            excluded_paths=excluded_paths,
            excluded_urls=excluded_urls,
            labels=options.declared(),
            in_progress_by_route=in_progress_by_route,
            sizes=body_sizes,
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
