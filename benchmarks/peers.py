"""The same small application, measured by each of those that are compared."""

import time
from collections.abc import Awaitable, Callable, Mapping

import psutil
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# FastAPI's own metrics would wake up by the global meter provider that this project sets; it
# switches them off for its own application only.
_OFF = {"metrics": False, "tracing": False, "logs": False}
PATH = "/items/7"


def application(routes: int = 0, *, plain: bool = True) -> FastAPI:
    """One endpoint, after so many others.

    Parameters:
        plain: Whether it is as in the README: nothing is said of FastAPI's own metrics.
    """
    app = FastAPI() if plain else FastAPI(telemetry=_OFF)  # type: ignore[arg-type]

    for number in range(routes):

        @app.get(f"/other{number}/{{value}}")
        async def other(value: str) -> str:
            return value

    @app.get("/items/{item_id}")
    async def item(item_id: int) -> dict[str, int]:
        return {"item": item_id}

    return app


def _this_project(app: FastAPI) -> None:
    import telemetry

    telemetry.instrument(app)


def _prometheus_fastapi_instrumentator(app: FastAPI) -> None:
    from prometheus_fastapi_instrumentator import Instrumentator

    registry = CollectorRegistry()
    Instrumentator(registry=registry).instrument(app).expose(app)


def _starlette_exporter(app: FastAPI) -> None:
    from starlette_exporter import PrometheusMiddleware, handle_metrics

    app.add_middleware(PrometheusMiddleware, group_paths=True)
    app.add_route("/metrics", handle_metrics)


def _opentelemetry_instrumentation_fastapi(app: FastAPI) -> None:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.trace import NoOpTracerProvider

    registry = CollectorRegistry()
    provider = MeterProvider([PrometheusMetricReader(registry=registry)])
    FastAPIInstrumentor.instrument_app(
        app, meter_provider=provider, tracer_provider=NoOpTracerProvider()
    )
    _expose(app, registry)


def _tutorial(app: FastAPI) -> None:
    """The tutorial's own middleware, made anew from its description."""
    registry = CollectorRegistry()
    requests = Counter("app_requests", "requests", ["method", "path"], registry=registry)
    responses = Counter(
        "app_responses", "responses", ["method", "path", "status_code"], registry=registry
    )
    duration = Histogram(
        "app_requests_processing_time_seconds", "seconds", ["method", "path"], registry=registry
    )
    memory = Gauge("app_memory_usage_bytes", "bytes", ["type"], registry=registry)

    @app.middleware("http")
    async def monitor(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        process = psutil.Process()
        memory.labels(type="rss").set(process.memory_info().rss)
        memory.labels(type="vms").set(process.memory_info().vms)
        method, path = request.method, request.url.path
        requests.labels(method=method, path=path).inc()
        began = time.time()
        response = await call_next(request)
        duration.labels(method=method, path=path).observe(time.time() - began)
        responses.labels(method=method, path=path, status_code=response.status_code).inc()
        return response

    _expose(app, registry)


def _expose(app: FastAPI, registry: CollectorRegistry) -> None:
    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(generate_latest(registry))


THIS = "this project"
BARE = "bare app"
INSTRUMENTATOR = "prometheus-fastapi-instrumentator"
CONTRIB = "opentelemetry-instrumentation-fastapi"
PEERS: Mapping[str, Callable[[FastAPI], None]] = {
    THIS: _this_project,
    INSTRUMENTATOR: _prometheus_fastapi_instrumentator,
    "starlette_exporter": _starlette_exporter,
    CONTRIB: _opentelemetry_instrumentation_fastapi,
    "the tutorial's middleware": _tutorial,
}


def served() -> FastAPI:
    """For uvicorn: the application that ``BENCHMARK_PEER`` names, or the bare one."""
    import os

    peer = os.environ.get("BENCHMARK_PEER", BARE)
    app = application(plain=peer == THIS)
    if peer != BARE:
        PEERS[peer](app)
    return app
