"""Processes that workers fork, and processes of a service that serve nothing."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.stack.test_push_workers import becomes, value
from tests.support.processes import ROOT, Service, wait_for
from tests.support.prometheus import pushed_prometheus
from tests.support.series import total, values
from tests.support.workers import GUNICORN, UVICORN, workers

APP = """
import multiprocessing, os, threading, time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from fastapi import FastAPI
from opentelemetry import metrics
import telemetry

app = FastAPI()
telemetry.instrument(app)
meter = metrics.get_meter("shop")
jobs = meter.create_counter("jobs")
# What a process has counted when it forks is not the child's.
jobs.add(1000)

@cache
def pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, multiprocessing.get_context("fork"))

def square(n: int) -> int:
    time.sleep(0.1)
    return n * n

def count(n: int) -> int:
    jobs.add(n)
    return os.getpid()

@app.get("/x")
async def x() -> int:
    return os.getpid()

@app.get("/square/{n}")
def squared(n: int) -> int:
    return pool().submit(square, n).result()

@app.get("/count/{n}")
def counted(n: int) -> int:
    return pool().submit(count, n).result()

@app.get("/fork")
async def fork() -> int:
    if (child := os.fork()) == 0:
        threading.Event().wait(20)
        os._exit(0)
    return child

@app.get("/end")
def end() -> None:
    pool().shutdown()
"""
PLAIN = ("uvicorn", "--no-access-log")


def push_to(url: str) -> dict[str, str]:
    return {
        "OTEL_METRICS_EXPORTER": "prometheus,otlp",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{url}/api/v1/otlp/v1/metrics",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "OTEL_SERVICE_NAME": "shop",
    }


def shown(app: Service) -> float:
    return total(app.series(), "jobs_total")


def is_shown(app: Service, count: float) -> bool:
    return shown(app) == count


@pytest.fixture
def _app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.workers.APP", APP)


@pytest.mark.usefixtures("_app")
def test_what_a_process_forks_pushes_nothing_that_it_has_inherited(tmp_path: Path) -> None:
    with (
        pushed_prometheus(tmp_path) as url,
        workers(tmp_path, command=PLAIN, **push_to(url)) as app,
    ):
        for _ in range(10):
            app.get("/x")
        for _ in range(5):
            app.get("/square/3")
        child = int(app.get("/fork"))
        becomes(url, 'sum(app_requests_total{path!="/openapi.json"})', 16)
        for _ in range(20):
            assert value(url, 'sum(app_requests_total{path!="/openapi.json"})') == 16
            assert value(url, "sum(jobs_total)") == 1000
            assert value(url, "sum(app_requests_in_progress)") == 0
            assert value(url, 'count(app_memory_usage_bytes{type="rss"})') == 1
        # There is no group that it could join.
        app.get("/count/7")
        log = "What process"
        wait_for(lambda: log in app.process.log, "what is not shown is said")
        assert shown(app) == 1000
        assert app.process.log.count(log) == 1
        os.kill(app.process.popen.pid, signal.SIGTERM)
        app.process.popen.wait(20)
        becomes(url, "count(app_requests_total) or vector(0)", 0, patience=5)
        os.kill(child, signal.SIGKILL)


@pytest.mark.usefixtures("_app")
@pytest.mark.parametrize("command", [UVICORN, GUNICORN, (*GUNICORN, "--preload")])
def test_what_a_worker_forks_is_a_worker_as_soon_as_it_counts_something(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    with workers(tmp_path, command=command) as app:
        wait_for(lambda: shown(app) == 4000, "all workers are shown")
        app.get("/square/3")
        assert values(app.series(), "telemetry_workers") in ({(): 4}, {})
        answered = int(app.get("/count/7"))
        wait_for(lambda: shown(app) == 4007, "what it has counted is shown")
        os.kill(answered, signal.SIGKILL)
        app.get("/x")
        assert shown(app) == 4007


@pytest.mark.usefixtures("_app")
def test_all_processes_of_a_named_group_count(tmp_path: Path) -> None:
    named = {"TELEMETRY_WORKER_GROUP": "shop"}
    with workers(tmp_path, command=PLAIN, **named) as app:
        assert shown(app) == 1000
        app.get("/square/3")
        app.get("/count/7")
        wait_for(lambda: shown(app) == 1007, "a pool's child is shown")
        app.get("/end")
        assert shown(app) == 1007
        job = (
            "import time, served; served.jobs.add(30); print('counted', flush=True); time.sleep({})"
        )
        environment = {
            **os.environ,
            **named,
            "TMPDIR": str(tmp_path / "tmp"),
            "PYTHONPATH": f"{ROOT}:{tmp_path}",
        }
        for seconds, before in ((5, 1007), (0, 2037)):
            command = [sys.executable, "-c", job.format(seconds)]
            with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"counted\n"
                wait_for(partial(is_shown, app, before + 1030), "the job is shown")
                if seconds:
                    assert process.poll() is None
            assert process.returncode == 0
            # It is among the ended, to the last.
            assert shown(app) == before + 1030
