"""python -m app.watch, beside the real application."""

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from app.watch import Route, Scrape, _address
from tests.support.processes import ROOT, Service, free_port, run_module, service

run = partial(run_module, "app.watch")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path, "--no-access-log", "--workers", "2") as running:
        yield running


def test_it_shows_what_the_app_does(app: Service) -> None:
    load = [sys.executable, "-m", "app.load", "--url", app.url, "--duration", "5", "-c", "4"]
    with subprocess.Popen(load, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        result = run(app.url, "--seconds", "4")
    assert result.returncode == 0, result.stderr
    summary = re.findall(
        r"UP  ([\d.,]+) requests/s  0.0 % errors  .*  2 workers$", result.stdout, re.M
    )
    assert len(summary) == 4
    assert float(summary[-1].replace(",", "")) > 5
    route = (
        r"GET /random_sleep: [\d.]+ requests/s, 0.0 % errors, mean ([\d.,]+) ms, 95 % ([\d.,]+) ms"
    )
    mean, high = (float(each.replace(",", "")) for each in re.findall(route, result.stdout)[-1])
    assert 100 < mean < high


def test_an_app_that_stops_is_down_and_the_exit_status_says_so(app: Service) -> None:
    command = [sys.executable, "-m", "app.watch", app.url, "--seconds", "3"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        assert " UP " in watch.stdout.readline()
        app.process.kill()
        rest = watch.stdout.read()
    assert f"DOWN  Nothing answers at {app.url}/metrics (Connection refused)." in rest
    assert watch.returncode == 1


def test_nothing_answers() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = run(url, "--seconds", "1")
    assert result.returncode == 1
    line = (
        f"Nothing answers at {url}/metrics (Connection refused). Start the app with: python -m app"
    )
    assert result.stderr.splitlines() == [line]


@pytest.mark.parametrize(
    ("environment", "path", "line"),
    [
        (
            {"TELEMETRY_METRICS_TOKEN": "secret"},
            "",
            "needs a token (401): set TELEMETRY_METRICS_TOKEN",
        ),
        ({"OTEL_METRICS_EXPORTER": "none"}, "", "is not found (404): does the app call telemetry."),
        ({}, "/docs", "does not answer with metrics ("),
    ],
)
def test_why_there_is_nothing_to_see(
    tmp_path: Path, environment: dict[str, str], path: str, line: str
) -> None:
    with service(tmp_path, environment=environment) as app:
        result = run(app.url + path, "--seconds", "1")
    assert result.returncode == 1
    assert line in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_token_of_the_environment_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRY_METRICS_TOKEN", "secret")
    with service(tmp_path) as app:
        assert run(app.url, "--seconds", "1").returncode == 0


def test_an_address_as_people_write_it() -> None:
    expected = "http://localhost:8000/metrics"
    for written in ("localhost:8000", "http://localhost:8000", "http://localhost:8000/", expected):
        assert _address(written) == expected


def test_quantiles_are_those_of_histogram_quantile() -> None:
    route = Route(requests=4, buckets={0.1: 0, 0.5: 2, 1.0: 4, math.inf: 4})
    assert route.percentile(0.5) == 0.5
    assert route.percentile(0.75) == 0.75
    assert Route(requests=1, buckets={0.5: 0, math.inf: 1}).percentile(0.95) == 0.5
    assert math.isnan(Route().percentile(0.95))


def test_the_standards_names_are_read_too_and_not_twice() -> None:
    family = "http_server_request_duration_seconds"
    route_labels = 'http_request_method="GET",http_route="/a"'
    standard = "".join(
        f'{family}_count{{{route_labels},http_response_status_code="{status}"}} {count}\n'
        for status, count in (("200", 3.0), ("500", 1.0))
    )
    route = Scrape.parse(standard, 0.0).routes["GET", "/a"]
    assert (route.requests, route.errors) == (4, 1)
    own = 'app_requests_processing_time_seconds_count{method="GET",path="/a"} 4.0\n'
    assert Scrape.parse(standard + own, 0.0).routes["GET", "/a"].requests == 4
