"""python -m app.load, against the real application."""

import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from app.load import Result
from tests.support.processes import ROOT, Service, free_port, run_module, script, service
from tests.support.series import values

APP = """
from fastapi import FastAPI

app = FastAPI()

@app.get("/fails")
async def fails() -> None:
    raise RuntimeError
"""


run = partial(run_module, "app.load")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path, "--no-access-log") as running:
        yield running


def test_so_many_requests_over_the_endpoints(app: Service) -> None:
    result = run("--url", app.url, "--requests", "40", "--concurrency", "4")
    assert result.returncode == 0, result.stderr
    first, second, *_ = result.stdout.splitlines()
    assert re.fullmatch(r"40 requests in \d+\.\d s, \d+\.\d a second", first)
    assert second == "  200: 40"
    within = [float(value) for value in re.findall(r"%: (\d+\.\d) ms", result.stdout)]
    assert within == sorted(within)
    # The longest is one of the calls of /random_sleep.
    assert 100 < within[-1] < 1000
    shown = values(app.series(), "app_requests_total")
    paths = ("/", "/random_sleep", "/health", "/increase_count")
    assert shown == {("GET", path): 10 for path in paths}


def test_several_at_a_time(app: Service) -> None:
    arguments = ("--url", app.url, "-n", "20", "--path", "/random_sleep")
    result = run(*arguments, "-c", "20")
    (took,) = re.findall(r"requests in (\d+\.\d) s", result.stdout)
    # One after the other they would sleep for two seconds at least.
    assert float(took) < 2


def test_for_so_long_and_statuses_are_told_apart(app: Service) -> None:
    began = time.monotonic()
    result = run("--url", app.url, "--duration", "1", "--path", "/health", "--path", "/nope")
    assert 1 < time.monotonic() - began < 10
    assert result.returncode == 0
    assert re.search(r"^  200: \d+\n  404: \d+$", result.stdout, re.MULTILINE)


def test_server_errors_are_a_failure(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(APP)
    with service(tmp_path, command=(script("uvicorn"), "served:app"), cwd=tmp_path) as failing:
        result = run("--url", failing.url, "-n", "5", "--path", "/fails")
    assert result.returncode == 1
    assert "  500: 5" in result.stdout


def test_nobody_there_is_said_with_the_cure() -> None:
    result = run("--url", f"http://127.0.0.1:{free_port()}", "-n", "3")
    assert result.returncode == 1
    assert "no answer: 3" in result.stdout
    assert "python -m app" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--url", "localhost:8000"), "http://localhost:8000"),
        (("--requests", "0"), "--requests"),
        (("--duration", "x"), "--duration"),
        (("--concurrency", "0"), "--concurrency"),
        (("--path", "health"), "--path"),
    ],
)
def test_what_cannot_be_is_said(arguments: tuple[str, ...], named: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert named in result.stderr
    assert "Traceback" not in result.stderr


def test_an_interruption_still_says_how_it_went(app: Service) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app.load", "--url", app.url, "-d", "30"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # Where the tests run in the background, programs are started with it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.search(r"^\d+ requests in ", output)
    assert "Traceback" not in errors


def test_percentiles() -> None:
    result = Result(Counter({"200": 100}), [number / 100 for number in range(100, 0, -1)], 1.0)
    assert [result.percentile(share) for share in (1, 50, 99, 100)] == [0.01, 0.5, 0.99, 1.0]
    assert Result(Counter({"200": 1}), [2.0], 2.0).percentile(50) == 2.0
