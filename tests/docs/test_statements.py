"""What the documents say of numbers, versions, arguments and variables is so."""

import functools
import inspect
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import metrics

import telemetry
from tests.docs.test_languages import DOCUMENTS
from tests.stack.test_names import DIFFERENCES
from tests.support.documents import blocks
from tests.support.processes import ROOT, query, service
from tests.support.prometheus import pushed_prometheus
from tests.support.promtool import check, series

OPTIONS = ("docs/options.en.md", "docs/options.ko.md")
SETTINGS = ("docs/settings.en.md", "docs/settings.ko.md")
VERSIONS = ("docs/versions.en.md", "docs/versions.ko.md")
TUTORIAL = ("docs/tutorial.en.md", "docs/tutorial.ko.md")


def tables(name: str) -> Iterator[list[list[str]]]:
    """The tables of a document, by the cells of each row."""
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        rows = [line.strip("|").split("|") for line in table.splitlines()]
        yield [[cell.strip() for cell in row] for row in rows]


def rows(name: str, first: str) -> list[list[str]]:
    """The rows of the table in which one begins with this cell."""
    return next(table for table in tables(name) if any(row[0] == first for row in table))


@pytest.mark.parametrize("name", VERSIONS)
def test_the_versions_are_those_that_the_package_asks_for(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", each) for each in project["dependencies"]]
    bounds = {each[1]: each[2] for each in found if each}
    bounds["Python"] = project["requires-python"].removeprefix(">=")
    shown = {row[0].strip("`"): row[1].split()[0] for row in rows(name, "`fastapi`")[2:] if row[1]}
    del shown["Prometheus, Grafana"]
    assert shown == {package: bounds[package] for package in shown}
    assert {"Python", "fastapi", "opentelemetry-sdk", "prometheus-client"} <= shown.keys()


@pytest.mark.parametrize("name", OPTIONS)
def test_the_arguments_are_those_of_the_function(name: str) -> None:
    parameters = list(inspect.signature(telemetry.instrument).parameters)
    assert [row[0].strip("`") for row in rows(name, "`app`")[2:]] == parameters
    (shown,) = re.findall(r"`telemetry\.instrument\((app, \*.*)\)`", (ROOT / name).read_text())
    assert re.findall(r"(\w+)(?:,|=|$)", shown.replace("telemetry.", ""))[0] == "app"
    assert re.findall(r"(\w+)=", shown) == parameters[1:]


PACKAGES = Path(metrics.__file__).parents[1], ROOT / "telemetry"
"""The SDK and the exporters, the instrumentations and this project."""
ELSEWHERE = {
    # FastAPI's, and prometheus_client's.
    "FASTAPI_OTEL_AUTO_CONFIGURE",
    "PROMETHEUS_MULTIPROC_DIR",
    "PROMETHEUS_DISABLE_CREATED_SERIES",
}
VARIABLE = re.compile(r"\b(?:OTEL|TELEMETRY|PROMETHEUS|FASTAPI)_[A-Z][A-Z_]+[A-Z]\b")


@functools.cache
def variables() -> set[str]:
    """The variables that this project or OpenTelemetry reads."""
    found = set(ELSEWHERE)
    for folder in PACKAGES:
        for path in folder.glob("**/*.py"):
            found.update(VARIABLE.findall(path.read_text(encoding="utf-8")))
    return found | {
        # Put together from the name of an instrumentation.
        f"OTEL_PYTHON_{name}_EXCLUDED_URLS"
        for name in ("FASTAPI",)
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_variable_and_argument_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert set(VARIABLE.findall(text)) <= variables()
    arguments = set(re.findall(r"\b([a-z_]+)=(?:True|False)\b", text))
    assert arguments <= inspect.signature(telemetry.instrument).parameters.keys()


PAGE = """
import gc
import time
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from sqlalchemy import QueuePool, create_engine
import telemetry

app = FastAPI()
telemetry.instrument(app)
engine = create_engine("sqlite://", poolclass=QueuePool)
telemetry.observe_pool(engine, name="main")

@app.websocket("/ws")
async def ws(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()

@app.get("/blocks")
async def blocks() -> None:
    time.sleep(0.3)

with TestClient(app) as client:
    with client.websocket_connect("/ws"):
        pass
    client.get("/blocks")
    time.sleep(0.2)
    pause = [[] for _ in range(300_000)]
    gc.collect()
    print(client.get("/metrics").text)
"""
# Where a container has a limit, and where something has failed or was lost.
NOT_EVERYWHERE = {
    "app_exceptions_total",
    "app_memory_limit_bytes",
    "telemetry_points_dropped_total",
    "telemetry_scrapes_failed_total",
}


def test_the_series_are_those_of_a_page() -> None:
    command = [sys.executable, "-c", PAGE]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", result.stdout, re.MULTILINE))
    for name in ("docs/metrics.en.md", "docs/metrics.ko.md"):
        shown = [row[0] for row in rows(name, "`app_requests_total`")[2:]]
        series = {each for cell in shown for each in re.findall(r"`(\w+)`", cell)}
        assert series - types.keys() <= NOT_EVERYWHERE, result.stderr
        assert {each for each in types if each.startswith(("app_", "telemetry_"))} <= series


PATH = "app_requests_total"


def test_why_the_first_numbers_look_wrong(tmp_path: Path) -> None:
    """The tutorial's table and its two examples, as Prometheus computes them."""
    sleep = 'app_requests_total{path="/random_sleep"}'
    bucket = "app_requests_processing_time_seconds_bucket"
    quantile = f"histogram_quantile(0.95, sum by (path, le) (rate({bucket}[5m])))"
    given = [
        series(PATH, "_ 10 10 12", path="/random_sleep"),
        series(bucket, "_ 10 10 10", path="/random_sleep", le="0.5"),
        series(bucket, "_ 10 10 10", path="/random_sleep", le="+Inf"),
    ]
    one = '{path="/random_sleep"}'
    check(
        tmp_path,
        "15s",
        given,
        [
            (f"rate({sleep}[1m])", "15s", []),
            (f"rate({sleep}[1m])", "30s", [(one, 0.0)]),
            (f"{sleep} - {sleep} offset 15s", "45s", [(one, 2.0)]),
            # NaN is not equal to itself.
            (f"({quantile} != {quantile}) * 0 or vector(1)", "15s", [("{}", 1.0)]),
            (f"count({quantile} != {quantile})", "30s", [("{}", 1.0)]),
        ],
    )
    # A hundred calls between two scrapes, in a series that is there for long.
    check(
        tmp_path,
        "15s",
        [series(PATH, "1000x23 1100x20", path="/random_sleep")],
        [
            (f"round(increase({sleep}[1m]))", "6m15s", [(one, 133.0)]),
            (f"round(increase({sleep}[5m]))", "8m", [(one, 105.0)]),
        ],
    )


ASKED = """
from fastapi.testclient import TestClient
client = TestClient(app)
client.get("/order")
print(client.get("/metrics").text)
"""


@pytest.mark.parametrize("name", TUTORIAL)
def test_the_example_of_the_other_library_works(name: str) -> None:
    (block,) = [block for block in blocks(name) if block.reason == "for comparison"]
    result = subprocess.run(
        [sys.executable, "-c", block.text + ASKED], capture_output=True, text=True, timeout=60
    )
    assert result.stderr == ""
    assert 'app_orders_total{kind="book"} 1.0\n' in result.stdout


NAMES = {
    "app_memory_usage_bytes",
    "app_requests_total",
    "app_requests_processing_time_seconds_bucket",
}
TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
AGGREGATION = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"


@pytest.mark.parametrize(
    ("variable", "value", "arrives"),
    [
        (TEMPORALITY, "cumulative", NAMES),
        (TEMPORALITY, "delta", set()),
        (TEMPORALITY, "lowmemory", set()),
        (
            AGGREGATION,
            "base2_exponential_bucket_histogram",
            {"app_memory_usage_bytes", "app_requests_total"},
        ),
    ],
)
def test_what_a_variable_does_to_the_dashboards(
    tmp_path: Path, variable: str, value: str, arrives: set[str]
) -> None:
    for name in SETTINGS:
        assert (
            f"`{value}`"
            in next(row for row in rows(name, f"`{variable}`") if variable in row[0])[1]
        )
    with pushed_prometheus(tmp_path) as url:
        environment = {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{url}/api/v1/otlp/v1/metrics",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            variable: value,
        }
        with service(tmp_path, environment=environment) as app:
            until = time.monotonic() + 5
            while time.monotonic() < until:
                app.get("/health")
                time.sleep(0.02)
            # Of the last two seconds: what came before the first request does not count.
            found = {name for name in NAMES if query(url, f"count(present_over_time({name}[2s]))")}
            assert found == arrives
            assert ("Failed to export" in app.process.log) is (not arrives)


@pytest.mark.parametrize("name", ["docs/dashboards.en.md", "docs/dashboards.ko.md"])
def test_the_names_that_differ_are_those_of_the_tests(name: str) -> None:
    shown = {
        tuple(cell.strip("`") for cell in row[1:])
        for row in next(each for each in tables(name) if "`a_ratio`" in each[2])[2:]
    }
    assert shown <= {each[-2:] for each in DIFFERENCES.values()}


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_figure_that_is_shown_twice_is_the_same(language: str) -> None:
    def first(name: str, *path: str) -> list[str]:
        """The figure at the beginning of a cell in each of these rows."""
        document = f"docs/{name}.{language}.md"
        found = {row[0]: row for table in tables(document) for row in table}
        return [found[each][1].split()[0] for each in path]

    measured = [
        row[1].split()[0]
        for row in next(
            each for each in tables(f"docs/performance.{language}.md") if "300" in each[0][2]
        )[2:6]
    ]
    costs = next(each for each in tables(f"docs/comparison.{language}.md") if "µs" in each[3][1])[3]
    assert [cell.split()[0] for cell in costs[1:5]] == measured
    standard = '`request_metrics="http.server"`'
    (of_options,) = first("performance", standard)
    assert costs[5].split()[0] == of_options
    (row,) = [
        row
        for table in tables(f"docs/options.{language}.md")
        for row in table
        if row[-1].endswith(" µs")
    ]
    assert row[2] == f"{of_options} µs"
