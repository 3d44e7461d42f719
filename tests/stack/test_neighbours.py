"""Beside FastAPI's own telemetry and contrib's, in an application and in what is mounted in it."""

import sys
from pathlib import Path

import pytest

from tests.support.processes import Service, script, service, wait_for
from tests.support.receivers import http_receiver
from tests.support.series import total, values
from tests.support.versions import needs

APP = """
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route
import telemetry

def api(measured):
    app = FastAPI()
    if measured:
        telemetry.instrument(app)
    @app.get("/items/{i}")
    def item(i: int) -> int:
        return i
    return app

versioned = api(False)
app = api(False)
app.mount("/v1", versioned)

def with_the_line():
    telemetry.instrument(app)
    return app

def two_below_one_that_is_not_measured():
    async def wrapped(scope, receive, send):
        await parent(scope, receive, send)
    up = Route("/openapi.json", lambda _: Response())
    parent = Starlette(routes=[up, Mount("/a", api(True)), Mount("/{tenant}/b", api(True))])
    return wrapped
"""
LINE, BELOW = "shop:with_the_line", "shop:two_below_one_that_is_not_measured"
UVICORN = (sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--log-level", "warning")
ITEMS = "/items/{i}"


def ask(shop: Service, *paths: str) -> None:
    for path in paths:
        shop.get(path)


def counts(shop: Service) -> dict[tuple[str, ...], float]:
    return values(shop.series(), "app_requests_total")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("names", "metric"),
    [("app", "app_requests"), ("http.server", "http.server.request.duration")],
)
@needs("fastapi", "0.142.0")
def test_what_fastapi_exports_by_itself_is_the_service_as_a_whole(
    tmp_path: Path, workers: int, names: str, metric: str
) -> None:
    """A reader that joins when the lifespan starts pushes the one sum, under one instance."""
    (tmp_path / "shop.py").write_text(APP)
    with http_receiver() as (url, receiver):
        environment = {
            "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_METRIC_EXPORT_INTERVAL": "300",
            "TELEMETRY_REQUEST_METRICS": names,
            "PYTHONPATH": str(tmp_path),
        }
        command = (*UVICORN, "--factory", LINE, "--workers", str(workers))
        with service(tmp_path, command=command, environment=environment, cwd=tmp_path) as shop:
            ask(shop, *["/items/1"] * 40)
            wait_for(lambda: 40 in receiver.counts(metric).values(), "all are pushed")
            log = shop.process.log
        assert len(receiver.counts(metric)) == 1
        # Not both are recorded, and that others than FastAPI's are pushed is said.
        pushed = {name for _, name in receiver.metrics}
        assert ("app_requests" in pushed) != ("http.server.request.duration" in pushed)
        assert log.count("are exported in the place of FastAPI's") == (
            workers if names == "app" else 0
        )


@pytest.mark.parametrize("names", ["app", "http.server", "both"])
@pytest.mark.parametrize("zero_code", [False, True])
@needs("fastapi", "0.142.0")
def test_requests_below_a_mount_are_counted_once(
    tmp_path: Path, names: str, zero_code: bool
) -> None:
    (tmp_path / "shop.py").write_text(APP)
    environment = {"TELEMETRY_REQUEST_METRICS": names, "PYTHONPATH": str(tmp_path)}
    command = (*UVICORN, *(("shop:app",) if zero_code else ("--factory", LINE)))
    if zero_code:
        command = (script("opentelemetry-instrument"), *command)
    with service(tmp_path, command=command, environment=environment, cwd=tmp_path) as shop:
        ask(shop, *["/v1/items/1"] * 5, "/items/1", "/docs", "/metrics", "/metrics")
        series = shop.series()
        assert shop.status("/v1/metrics") == 404
    ours = {path: count for (_, path), count in values(series, "app_requests_total").items()}
    ours.pop("unmatched", None)
    wanted = {} if names == "http.server" else {f"/v1{ITEMS}": 5, ITEMS: 1}
    assert ours == wanted
    standard = "http_server_request_duration_seconds_count"
    # Those that are excluded are in none of them.
    answered = total(series, standard, http_response_status_code="200")
    assert answered == (0 if names == "app" else 6)


@pytest.mark.parametrize("root_path", ["", "/proxy"])
def test_below_a_parent_that_is_not_measured_each_path_has_all_prefixes(
    tmp_path: Path, root_path: str
) -> None:
    (tmp_path / "shop.py").write_text(APP)
    environment = {"PYTHONPATH": str(tmp_path)}
    command = (*UVICORN, "--root-path", root_path, "--factory", BELOW)
    with service(tmp_path, command=command, environment=environment, cwd=tmp_path) as shop:
        ask(shop, "/a/items/1", "/a/items/2", "/acme/b/items/3", "/acme/b/docs", "/a/docs")
        shop.url += "/a"
        assert counts(shop) == {("GET", f"/a{ITEMS}"): 2, ("GET", f"/{{tenant}}/b{ITEMS}"): 1}
