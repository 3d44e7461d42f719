"""How an application gets its metrics: record, wrap, serve."""

from collections.abc import Iterable
from threading import Lock
from weakref import WeakSet

from opentelemetry.metrics import MeterProvider
from starlette.applications import Starlette
from starlette.types import ASGIApp, Scope

from telemetry.compatibility.contrib import exclude_from_contrib, is_instrumented_by_contrib
from telemetry.compatibility.fastapi import (
    flush_with_fastapi,
    has_native_metrics,
    set_native_default,
    switch_off_native_metrics,
)
from telemetry.instrumentation import middleware
from telemetry.instrumentation.excluded import Excluded
from telemetry.instrumentation.recorder import recorder_of
from telemetry.instrumentation.requests import RequestMeasure
from telemetry.instrumentation.routes import CountedPaths
from telemetry.instrumentation.saturation import saturation_of
from telemetry.instrumentation.websockets import measure_websockets
from telemetry.logger import get_logger
from telemetry.options import Options
from telemetry.request_names import RequestNames
from telemetry.sdk import health
from telemetry.sdk.exposition.route import serve_metrics
from telemetry.sdk.setup.environment import global_meter_provider
from telemetry.sdk.setup.logs import export_logging
from telemetry.sdk.setup.readers import readers_of
from telemetry.sdk.shutdown import flush, flush_after_lifespans

_logger = get_logger(__name__)


class Wiring:
    """Connects one application with what measures it and with what shows it."""

    def __init__(self, app: Starlette, options: Options) -> None:
        self._app = app
        self._options = options
        self._excluded = Excluded(options.excluded)
        self._paths = CountedPaths(app.router, options.excluded, self._settle_below)
        self._below = WeakSet[Starlette]()
        self._served = False
        self._serving = Lock()
        native = options.native_histograms
        provider = options.meter_provider or global_meter_provider(native)
        self._measures = self._record(provider)
        self._saturation = saturation_of(provider)
        if options.names is not RequestNames.STANDARD:
            self._saturation.loop.in_progress = recorder_of(provider, options.bounds).in_progress
        health.observe(provider)
        self._readers = readers_of(provider, native_histograms=native)
        endpoint = self._readers.endpoint
        if endpoint is None:
            return
        endpoint.path = options.path
        endpoint.shows_registry &= options.prometheus_client_metrics
        if native not in (None, endpoint.native_histograms):
            _logger.warning(
                "native_histograms=%s: /metrics was set up before, and stays as it is. Set "
                "TELEMETRY_NATIVE_HISTOGRAMS=%s before the process starts.",
                native,
                str(native).lower(),
            )

    def wrap(self) -> None:
        """Put the measuring middleware around everything that the application answers with."""
        self._settle_native_metrics()
        flush_after_lifespans()
        if self._app.middleware_stack is not None:
            flush_with_fastapi(flush)
        middleware.remember_routing(self._app.router, self._paths.templates)
        middleware.wrap_middleware_stack(self._app, self._wrapped)

    def _record(self, provider: MeterProvider) -> dict[str, middleware.Measure]:
        """What measures requests and WebSockets, by the scope's type."""
        options = self._options
        measures = {"websocket": measure_websockets(provider, self._paths)}
        if options.names is not RequestNames.STANDARD:
            measures["http"] = RequestMeasure(
                recorder_of(provider, options.bounds),
                self._paths,
                options.declared,
                options.in_progress_by_route,
                options.body_sizes,
            ).begin
        return measures

    def _wrapped(self, stack: ASGIApp) -> ASGIApp:
        try:
            # Several threads may send the first request at once, and each builds a stack.
            with self._serving:
                self._serve()
        except Exception:
            _logger.exception("The metrics are not served")
        wrapped = middleware.Middleware(stack, self._measures, self._excluded.by_url, self._start)
        self._saturation.loop.watching.add(wrapped)
        return wrapped

    def _serve(self) -> None:
        """Join the other workers and show the metrics: in the process that serves, once."""
        if self._served:
            return
        self._served = True
        export_logging()
        self._saturation.watch()
        for service in self._readers.services:
            service.join()
        endpoint = self._readers.endpoint
        if endpoint is not None:
            endpoint.serve()
            if endpoint.port is None:
                options, has = self._options, self._paths.templates.has
                path, dependencies = options.path, options.metrics_dependencies
                serve_metrics(self._app, endpoint.page, path, has, dependencies)
        self._paths.templates.read()

    def _start(self, scope: Scope) -> None:
        """What needs a running event loop, or all middleware in place."""
        try:
            self._saturation.watch()
            expressions = self._excluded.expressions(scope.get("root_path", ""))
            exclude_from_contrib(self._app.middleware_stack, *expressions)
            if self._options.names is RequestNames.STANDARD:
                self._tell_if_nothing_is_recorded()
        except Exception:
            _logger.exception("The event loop is not measured, or excluded paths have spans")

    def _settle_native_metrics(self) -> None:
        set_native_default(self._app, "exclude", self._excluded)
        if self._options.names is not RequestNames.APP:
            provider = self._options.meter_provider
            set_native_default(self._app, "meter_provider", provider)
        elif switch_off_native_metrics(self._app):
            _logger.warning(
                "FASTAPI_OTEL_AUTO_CONFIGURE: app_* metrics of requests are exported in the place "
                "of FastAPI's http.server.*. TELEMETRY_REQUEST_METRICS=both exports both."
            )

    def _settle_below(self, mounted: Iterable[object]) -> None:
        """Have the outermost application alone measure the requests of those mounted in it."""
        for app in mounted:
            if not isinstance(app, Starlette) or app in self._below:
                continue
            self._below.add(app)
            if self._options.names is RequestNames.APP:
                switch_off_native_metrics(app)
            if all(map(is_instrumented_by_contrib, (self._app, app))):
                middleware.wrap_middleware_stack(app, _idle_contrib)

    def _tell_if_nothing_is_recorded(self) -> None:
        if not (has_native_metrics(self._app) or is_instrumented_by_contrib(self._app)):
            _logger.error(
                "Nothing records http.server.*: FastAPI does since 0.142, unless "
                "FastAPI(telemetry=...) switches it off. With an older one, run the "
                "application under opentelemetry-instrument."
            )


def _idle_contrib(stack: ASGIApp) -> ASGIApp:
    """Keep contrib's middleware, as FastAPI looks for it, but have it measure nothing."""
    exclude_from_contrib(stack, "")
    return stack
