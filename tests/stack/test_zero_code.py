"""opentelemetry-instrument in front of the command, with this project's app and a foreign one."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.processes import (
    ROOT,
    Service,
    answers,
    free_port,
    get,
    script,
    service,
    status,
    wait_for,
)
from tests.support.series import label_names, total, values

FOREIGN = """
from fastapi import FastAPI

app, sub = FastAPI(), FastAPI()

@app.get("/items/{item_id}")
async def item(item_id: int) -> int:
    return item_id

@sub.get("/leaf/{leaf_id}")
async def leaf(leaf_id: int) -> int:
    return leaf_id

app.mount("/sub", sub)
"""
STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

async def item(request):
    return PlainTextResponse(request.path_params["item_id"])

async def fails(request):
    raise KeyError

below = [Route("/items/{item_id}", item)]
app = Starlette(routes=[Mount("/v1", routes=below), Route("/fails", fails)])
"""


def instrumented(
    folder: Path, *flags: str, app: str = "app.main:app", **environment: str
) -> AbstractContextManager[Service]:
    (folder / "foreign.py").write_text(FOREIGN)
    full: Mapping[str, str] = {"PYTHONPATH": f"{ROOT}:{folder}", **environment}
    command = (script("opentelemetry-instrument"), *flags, script("uvicorn"), app)
    return service(folder, command=command, environment=full, cwd=folder)


def test_this_projects_app(tmp_path: Path) -> None:
    with instrumented(tmp_path) as app:
        app.get("/health")
        series = app.series()
        assert app.process.popen.poll() is None
        log = app.process.log
    assert values(series, "app_requests_total") == {("GET", "/health"): 1}
    assert total(series, "http_server_request_duration_seconds_count", http_route="/health") == 1
    assert total(series, "app_memory_usage_bytes", type="rss") > 0
    assert all(line.startswith("INFO:") for line in log.splitlines()), log


def test_an_app_that_has_never_heard_of_this(tmp_path: Path) -> None:
    with instrumented(tmp_path, app="foreign:app") as app:
        for _ in range(3):
            app.get("/items/1")
        for _ in range(2):
            app.get("/sub/leaf/1")
        assert app.status("/sub/metrics") == 404
        series = app.series()
    assert values(series, "app_requests_total") == {
        ("GET", "/items/{item_id}"): 3,
        ("GET", "/sub/leaf/{leaf_id}"): 2,
        ("GET", "unmatched"): 1,
    }
    count = "http_server_request_duration_seconds_count"
    # What came before: waiting until the server answered, at /openapi.json.
    openapi = total(series, count, http_route="/openapi.json")
    assert total(series, count) - openapi == 6
    assert not any("http_server_duration_milliseconds" in name for name, _ in series)
    assert total(series, "app_memory_usage_bytes", type="vms") > 0


def test_fastapis_own_metrics_instead_of_contribs(tmp_path: Path) -> None:
    disabled = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi"}
    with instrumented(tmp_path, app="foreign:app", **disabled) as app:
        app.get("/items/1")
        series = app.series()
    count = "http_server_request_duration_seconds_count"
    assert total(series, count, http_route="/items/{item_id}") == 1
    assert not any("response_body_size" in name for name, _ in series)
    assert values(series, "app_requests_total") == {("GET", "/items/{item_id}"): 1}


def test_ours_can_be_disabled_by_its_name(tmp_path: Path) -> None:
    disabled = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi_otel_metrics"}
    with instrumented(tmp_path, app="foreign:app", **disabled) as app:
        app.get("/items/1")
        assert app.status("/metrics") == 404


def test_flags_stand_for_variables(tmp_path: Path) -> None:
    flags = ("--service_name", "shop", "--resource_attributes", "team=books")
    with instrumented(tmp_path, *flags) as app:
        series = app.series()
    assert total(series, "target_info", service_name="shop", team="books") == 1


def test_the_distro_can_be_chosen_by_its_name(tmp_path: Path) -> None:
    with instrumented(tmp_path, OTEL_PYTHON_DISTRO="fastapi_otel_metrics") as app:
        app.get("/health")
        series = app.series()
    assert label_names(series, "http_server_request_duration_seconds_count")


def test_a_starlette_application_with_two_workers(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(STARLETTE)
    command = (script("opentelemetry-instrument"), script("uvicorn"), "main:app", "--workers=2")
    with service(tmp_path, command=command, cwd=tmp_path, up="/metrics") as app:
        for _ in range(40):
            assert app.get("/v1/items/7") == "7"
        assert app.status("/fails") == 500
        wait_for(lambda: total(app.series(), "app_responses_total") == 41, "all are on the page")
        assert values(app.series(), "app_responses_total") == {
            ("GET", "/v1/items/{item_id}", "200"): 40,
            ("GET", "/fails", "500"): 1,
        }


def test_the_sdk_can_be_disabled(tmp_path: Path) -> None:
    with instrumented(tmp_path, OTEL_SDK_DISABLED="true") as app:
        assert app.get("/health") == '{"status":"ok"}'
        assert app.status("/metrics") == 404


@pytest.mark.parametrize("app", ["app.main:app", "foreign:app"])
def test_a_port_of_their_own_instead_of_the_public_one(tmp_path: Path, app: str) -> None:
    port = free_port()
    environment = {"OTEL_EXPORTER_PROMETHEUS_PORT": str(port), "TELEMETRY_METRICS_PATH": "/own"}
    with instrumented(tmp_path, app=app, **environment) as public:
        assert public.status("/metrics") == public.status("/nope") == public.status("/own") == 404
        private = f"http://localhost:{port}"
        wait_for(lambda: answers(f"{private}/own"), "the port is served")
        assert 'app_requests_total{method="GET",path="unmatched"} 1.0' in get(f"{private}/own")
        assert status(f"{private}/metrics") == 404
        assert status(f"{private}/openapi.json") == 404
