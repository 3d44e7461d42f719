"""The package without names that have moved, and without what only Unix has."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "opentelemetry.metrics._internal",
        "opentelemetry.exporter.prometheus._mapping",
        "uvicorn._subprocess",
    ],
)
def test_the_package_works_without_a_name_that_has_moved(module: str) -> None:
    """A module that is not there, for the package alone: its users inside are imported before."""
    code = (
        "import sys\n"
        "from fastapi import FastAPI\n"
        "from fastapi.testclient import TestClient\n"
        "import opentelemetry.exporter.prometheus, opentelemetry.sdk.metrics.export, uvicorn\n"
        f"sys.modules[{module!r}] = None\n"
        "import telemetry\n"
        "app = FastAPI()\n"
        "telemetry.instrument(app)\n"
        "client = TestClient(app)\n"
        "client.get('/nope')\n"
        'print(\'app_requests_total{method="GET",path="unmatched"} 1.0\' in '
        "client.get('/metrics').text)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "True", result.stderr


WINDOWS = """
import asyncio, os, sys
from fastapi import FastAPI
from fastapi.testclient import TestClient
import opentelemetry.exporter.prometheus, opentelemetry.sdk.metrics, psutil
sys.modules["fcntl"] = None
del os.getuid, os.register_at_fork
import telemetry
app = FastAPI()
telemetry.instrument(app)
client = TestClient(app)
client.get("/nope")
print('app_requests_total{method="GET",path="unmatched"} 1.0' in client.get("/metrics").text)
"""


def test_one_process_works_without_what_only_unix_has() -> None:
    result = subprocess.run([sys.executable, "-c", WINDOWS], capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr) == ("True", "")


def test_several_workers_there_say_in_one_line_that_each_shows_its_own() -> None:
    environment = {**os.environ, "TELEMETRY_WORKER_GROUP": "shop"}
    result = subprocess.run(
        [sys.executable, "-c", WINDOWS], capture_output=True, text=True, env=environment
    )
    assert result.stdout.strip() == "True", result.stderr
    (line,) = result.stderr.splitlines()
    assert "Each worker shows its own metrics only" in line
