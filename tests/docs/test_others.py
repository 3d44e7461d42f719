"""What the documents say of other packages is what these packages do."""

import functools
import inspect
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version

import pytest
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from packaging.requirements import Requirement
from packaging.version import Version
from prometheus_fastapi_instrumentator import Instrumentator
from starlette_exporter import PrometheusMiddleware

from tests.docs.test_statements import tables
from tests.support.documents import blocks
from tests.support.processes import ROOT

OTHERS = tomllib.loads((ROOT / "docs/others.toml").read_text())
COMPARISON = ("docs/comparison.en.md", "docs/comparison.ko.md")
SWITCHING = ("docs/switching.en.md", "docs/switching.ko.md")

APP = """
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

app = FastAPI()

@app.post("/items/{item_id}")
async def item(item_id: int, request: Request) -> int:
    await request.body()
    return item_id
"""
ASKED = """
with TestClient(app) as client:
    client.post("/items/7", content=b"12345")
    client.post("/nothing")
    print(client.get("/metrics").text)
"""
OURS = "import telemetry\ntelemetry.instrument(app, body_sizes=True)\n"
INSTRUMENTATOR = """
from prometheus_fastapi_instrumentator import Instrumentator
Instrumentator(should_instrument_requests_inprogress=True).instrument(app)
"""
EXPORTER = """
from starlette_exporter import PrometheusMiddleware
app.add_middleware(
    PrometheusMiddleware, optional_metrics=["request_body_size", "response_body_size"]
)
"""
CONTRIB = """
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import make_asgi_app
metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
FastAPIInstrumentor.instrument_app(app)
app.mount("/metrics", make_asgi_app())
"""


@functools.cache
def shown(*code: str, **environment: str) -> str:
    """What a process prints that runs this."""
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def families(page: str, prefix: str) -> set[str]:
    found = re.findall(rf"^# TYPE ({prefix}\w+) ", page, re.MULTILINE)
    # prometheus_client's text has the time of creation as families of their own.
    return {name for name in found if not name.endswith("_created")}


def table(name: str, heading: str, first: str) -> dict[tuple[str, ...], list[str]]:
    """A table below a heading: the names in its first column, and the other cells."""
    text = (ROOT / name).read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    found = [each for each in tables(name) if f"`{first}`" in each[2][0]]
    (rows,) = [each[2:] for each in found if all(cell in section for cell in each[2])]
    return {tuple(re.findall(r"`\.?([\w.]+)[`(]", row[0])): row[1:] for row in rows}


@pytest.mark.parametrize("package", OTHERS)
def test_no_newer_version_is_installed_than_was_checked(package: str) -> None:
    assert Version(version(package)) <= Version(OTHERS[package]["version"]), (
        f"check what docs/comparison and docs/switching say of {package} {version(package)}, "
        "and raise its version in docs/others.toml"
    )


@pytest.mark.parametrize("name", COMPARISON)
def test_the_comparison_is_of_these_versions_and_says_what_they_need(name: str) -> None:
    head, _, needs = next(each for each in tables(name) if "starlette_exporter" in each[0][3])[:3]
    for facts, title, cell in zip(OTHERS.values(), head[2:], needs[2:], strict=True):
        assert title.endswith(f" {facts['version']}")
        assert cell == f"Python {facts['python']}, {facts['needs']}"


@pytest.mark.parametrize(
    ("package", "needed"),
    [
        ("prometheus-fastapi-instrumentator", "starlette"),
        ("starlette-exporter", "starlette"),
        ("opentelemetry-instrumentation-fastapi", "fastapi"),
    ],
)
def test_what_they_need(package: str, needed: str) -> None:
    (requirement,) = [
        each for each in map(Requirement, requires(package) or []) if each.name == needed
    ]
    lowest = OTHERS[package]["needs"].split()[1]
    assert requirement.specifier.contains(lowest, prereleases=True)
    before = {"1": "0.99", "0.35": "0.34", "0.92": "0.91"}[lowest]
    assert not requirement.specifier.contains(before)


@pytest.mark.parametrize("name", SWITCHING)
def test_the_old_library_and_this_one_are_on_one_page(name: str) -> None:
    (block,) = blocks(name)
    asked = "from fastapi.testclient import TestClient\nclient = TestClient(app)\n"
    page = shown(block.text, asked, 'client.get("/items/7")\nprint(client.get("/metrics").text)')
    assert block.output is not None
    for line in block.output.splitlines():
        assert f"\n{line}\n" in page


SERIES = {
    "prometheus-fastapi-instrumentator": ("http_requests_total", INSTRUMENTATOR, "http_"),
    "starlette_exporter": ("starlette_requests_total", EXPORTER, "starlette_"),
}


@pytest.mark.parametrize("name", SWITCHING)
@pytest.mark.parametrize("library", SERIES)
def test_the_series_of_the_old_library_and_ours(name: str, library: str) -> None:
    first, code, prefix = SERIES[library]
    page = shown(APP, OURS, code, ASKED)
    rows = table(name, library, first)
    assert {each for names in rows for each in names} == families(page, prefix)
    for here, _ in rows.values():
        (series,) = re.findall(r"`(\w+)`", here)
        assert re.search(rf"^{series}(?:_count)?(?:{{| )", page, re.MULTILINE), series


@pytest.mark.parametrize("name", SWITCHING)
def test_the_series_of_contribs_instrumentation_and_ours(name: str) -> None:
    rows = table(name, "opentelemetry-instrumentation-fastapi", "http_server_duration_milliseconds")
    old = families(shown(APP, CONTRIB, ASKED), "http_")
    stable = families(
        shown(APP, CONTRIB, ASKED, OTEL_SEMCONV_STABILITY_OPT_IN="http"), "http_server_"
    )
    assert {each for names in rows for each in names} == old | stable
    # Its default is in milliseconds, and the page of the stock exporter is on the app's port.
    assert "http_server_duration_milliseconds" in old - stable
    ours = shown(APP, OURS, ASKED)
    standard = shown(
        APP, "import telemetry\ntelemetry.instrument(app, request_metrics='http.server')\n", ASKED
    )
    for here, there in rows.values():
        for page, cell in ((ours, here), (standard, there)):
            for series in re.findall(r"`(\w+)`", cell):
                assert re.search(rf"^# TYPE {series} ", page, re.MULTILINE), series


NATIVE = """
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import make_asgi_app
metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
app.mount("/metrics", make_asgi_app())
"""


def test_fastapis_own_metrics_are_scraped_on_the_apps_port_with_the_stock_exporter() -> None:
    found = families(shown(APP, NATIVE, ASKED), "http_server_")
    assert found == {"http_server_request_duration_seconds", "http_server_active_requests"}


def options(library: str) -> set[str]:
    """The names of the parameters that a library is told by."""
    functions = {
        "prometheus-fastapi-instrumentator": (
            Instrumentator.__init__,
            Instrumentator.instrument,
            Instrumentator.expose,
        ),
        "starlette_exporter": (PrometheusMiddleware.__init__,),
        "opentelemetry-instrumentation-fastapi": (FastAPIInstrumentor.instrument_app,),
    }[library]
    found = {each for function in functions for each in inspect.signature(function).parameters}
    return found - {"self", "app", "kwargs"}


@pytest.mark.parametrize("name", SWITCHING)
@pytest.mark.parametrize(
    ("library", "first", "beside"),
    [
        (
            "prometheus-fastapi-instrumentator",
            "should_group_status_codes",
            # FastAPI's, which `expose` hands on, and a method.
            {"dependencies", "expose", "add"},
        ),
        ("starlette_exporter", "app_name", set()),
        ("opentelemetry-instrumentation-fastapi", "meter_provider", set()),
    ],
)
def test_every_option_of_the_old_library_is_named(
    name: str, library: str, first: str, beside: set[str]
) -> None:
    rows = table(name, library, first)
    assert {each for names in rows for each in names} == options(library) | beside
