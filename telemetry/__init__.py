"""Request and process metrics for FastAPI and Starlette applications, through OpenTelemetry."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from weakref import WeakKeyDictionary

from fastapi import FastAPI
from fastapi.params import Depends
from opentelemetry.metrics import MeterProvider
from starlette.applications import Starlette

from telemetry.compatibility.exporters import limit_foreign_loggers
from telemetry.instrumentation.labels import RequestLabel
from telemetry.instrumentation.recorder import BUCKETS, BucketsDifferError
from telemetry.instrumentation.requests import set_label
from telemetry.instrumentation.saturation.pools import observe_connections
from telemetry.logger import limited_logger
from telemetry.options import Options
from telemetry.sdk.setup.environment import disabled, global_meter_provider
from telemetry.wiring import Wiring

__all__ = ["DEFAULT_EXCLUDED_PATHS", "RequestLabel", "instrument", "observe_pool", "set_label"]
__version__ = "0.1.0"

DEFAULT_EXCLUDED_PATHS = ("/favicon.ico", "/docs", "/redoc", "/openapi.json", "/metrics")
"""The paths that are not counted unless `instrument` is told otherwise."""

_logger = limited_logger(__name__)

_instrumented: WeakKeyDictionary[Starlette, Options] = WeakKeyDictionary()


def instrument(
    app: Starlette,
    *,
    meter_provider: MeterProvider | None = None,
    excluded_paths: Collection[str] = DEFAULT_EXCLUDED_PATHS,
    request_metrics: str | None = None,
    buckets: Iterable[float] = BUCKETS,
    labels: Mapping[str, str | RequestLabel] = MappingProxyType({}),
    in_progress_by_route: bool = False,
    body_sizes: bool = False,
    native_histograms: bool | None = None,
    metrics_path: str | None = None,
    metrics_dependencies: Sequence[Depends] = (),
    prometheus_client_metrics: bool = True,
) -> None:
    """Measure an application's requests and its process, and serve ``/metrics``.

    It may be called before or after routes and middleware are added, and more than once:
    every call but the first does nothing. The series are ``app_requests_total``,
    ``app_responses_total``, ``app_requests_processing_time_seconds``,
    ``app_requests_in_progress``, ``app_memory_usage_bytes`` and others of the process. What is
    mounted in the application is measured with it. With ``OTEL_SDK_DISABLED=true`` nothing is
    done at all.

    Parameters:
        app: The application, of FastAPI or of Starlette. A route of its own for the path of the
            metrics stays, and a warning is logged.
        meter_provider: Where the instruments are made. By default the global meter provider,
            which is set up as the ``OTEL_*`` variables say where there is none.
        excluded_paths: Route templates, or paths that no route matches, that are not counted and
            have no spans. They take the place of `DEFAULT_EXCLUDED_PATHS`; to keep those, pass
            ``[*telemetry.DEFAULT_EXCLUDED_PATHS, "/health"]``.
        request_metrics: ``"app"`` for the series above, ``"http.server"`` for FastAPI's own
            ``http.server.request.duration`` and ``http.server.active_requests`` in their place,
            or ``"both"``. By default the variable ``TELEMETRY_REQUEST_METRICS`` decides, and
            ``"app"`` where that is not set. The options below are for ``app_*``.
        buckets: Upper bounds of the duration histogram in seconds, ascending. A view on the
            histogram wins over them.
        labels: Further labels of the series of requests: by name, a constant value, or a
            `RequestLabel` that each request has a value for.
        in_progress_by_route: Whether requests in progress have ``method``, ``path`` and further
            labels. They are told apart when the metrics are read, at no cost for a request.
        body_sizes: Whether there are histograms of the sizes of bodies,
            ``app_request_body_size_bytes`` and ``app_response_body_size_bytes``.
        native_histograms: Whether histograms, also those of the application's own, are native ones
            to a Prometheus that scrapes with ``scrape_native_histograms``; other clients get
            buckets up to powers of two in the place of `buckets`. By default the variable
            ``TELEMETRY_NATIVE_HISTOGRAMS`` decides.
        metrics_path: Where the metrics are served in the place of ``/metrics``. By default the
            variable ``TELEMETRY_METRICS_PATH`` decides. It is excluded if ``/metrics`` is.
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
        meter_provider,
        excluded_paths,
        request_metrics,
        buckets,
        labels,
        in_progress_by_route,
        body_sizes,
        native_histograms,
        metrics_path,
        metrics_dependencies,
        prometheus_client_metrics,
    )
    if not isinstance(app, Starlette):
        raise TypeError(f"instrument takes a FastAPI or Starlette application: {app!r}")
    if metrics_dependencies and not isinstance(app, FastAPI):
        raise TypeError(
            "metrics_dependencies needs a FastAPI application. Set TELEMETRY_METRICS_TOKEN, or "
            f"serve the metrics on a port of their own: {app!r}"
        )
    if disabled():
        return
    first = _instrumented.setdefault(app, options)
    if first is not options:
        if first != options:
            _logger.warning(
                "instrument was called before for this application; of this call nothing holds: %s",
                ", ".join(first.differences(options)),
            )
        return
    limit_foreign_loggers()
    try:
        Wiring(app, options).wrap()
    except BucketsDifferError:
        del _instrumented[app]
        raise
    except Exception:
        _logger.exception("The application is not measured: its meter provider has failed")


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
