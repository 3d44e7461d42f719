"""Saturation behind real servers: one worker and several, scraped and pushed."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Service, query, script, service, wait_for
from tests.support.prometheus import pushed_prometheus
from tests.support.series import label_names, total, values

APP = """
import time
from fastapi import FastAPI
import telemetry

app = FastAPI()
telemetry.instrument(app)

@app.get("/block")
async def block() -> None:
    time.sleep(0.3)

@app.get("/slow")
def slow() -> None:
    time.sleep(2)
"""
DELAY = "app_event_loop_delay_seconds"
GAUGES = ("app_thread_pool_in_use", "app_thread_pool_size", "app_thread_pool_waiting")


def served(folder: Path) -> tuple[dict[str, str], Path]:
    (folder / "served.py").write_text(APP)
    return {"PYTHONPATH": f"{ROOT}:{folder}", "TMPDIR": str(folder)}, folder


def blocks(app: Service) -> float:
    series = app.series()
    return total(series, f"{DELAY}_bucket", le="0.5") - total(series, f"{DELAY}_bucket", le="0.25")


def test_a_blocked_loop_of_uvicorn_is_in_its_bucket_in_each_of_20_tries(tmp_path: Path) -> None:
    environment, cwd = served(tmp_path)
    command = (sys.executable, "-m", "uvicorn", "--no-access-log", "served:app")
    with service(tmp_path, command=command, environment=environment, cwd=cwd) as app:
        wait_for(lambda: total(app.series(), f"{DELAY}_count") > 0, "the heartbeat")
        for number in range(20):
            before = blocks(app)
            app.get("/block")
            assert blocks(app) == before + 1, f"try {number}"
        assert app.process.stop() in (0, -15)
        assert "Traceback" not in app.process.log


@pytest.mark.parametrize(
    "command",
    [
        ("uvicorn", "--no-access-log", "--workers", "2", "served:app"),
        (
            *("gunicorn", "-w", "2", "-k", "uvicorn_worker.UvicornWorker", "--preload"),
            *("-b", "127.0.0.1:{port}", "served:app"),
        ),
        ("hypercorn", "-k", "trio", "-w", "2", "-b", "127.0.0.1:{port}", "served:app"),
    ],
    ids=["uvicorn", "gunicorn --preload", "hypercorn -k trio"],
)
def test_each_of_several_workers_by_itself(tmp_path: Path, command: tuple[str, ...]) -> None:
    environment, cwd = served(tmp_path)
    full = (script(command[0]), *command[1:])
    with (
        service(tmp_path, command=full, environment=environment, cwd=cwd) as app,
        ThreadPoolExecutor(120) as clients,
    ):
        size = "app_thread_pool_size"
        wait_for(
            lambda: (
                len(values(app.series(), size)) == 2 and len(label_names(app.series(), size)) == 1
            ),
            "both workers",
        )
        waiting = [clients.submit(app.get, "/slow") for _ in range(100)]

        def full_pool() -> bool:
            series = app.series()
            return max(values(series, "app_thread_pool_waiting").values(), default=0) > 0

        wait_for(full_pool, "calls wait for a thread in one worker at least")
        for each in waiting:
            each.result()
        series = app.series()
        for name in (*GAUGES, "process_unix_file_descriptor_count", "app_file_descriptor_limit"):
            assert label_names(series, name) == {("process_pid",)}, name
            assert len(values(series, name)) == 2
        assert set(values(series, size).values()) == {40}
        assert set(values(series, "process_cpu_time_seconds_total")) == {("user",), ("system",)}
        assert len(values(series, "cpython_gc_collections_total")) == 3
        if "trio" in command:
            assert not total(series, f"{DELAY}_count")
        else:
            before = blocks(app)
            for _ in range(4):
                app.get("/block")
            wait_for(lambda: blocks(app) >= before + 4, "the blocks of both workers")


def test_pushed_it_is_the_same(tmp_path: Path) -> None:
    environment, cwd = served(tmp_path)
    with pushed_prometheus(tmp_path) as url:
        environment |= {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{url}/api/v1/otlp/v1/metrics",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }
        command = (script("uvicorn"), "--no-access-log", "--workers", "2", "served:app")
        with service(tmp_path, command=command, environment=environment, cwd=cwd) as app:
            for _ in range(3):
                app.get("/block")
                time.sleep(0.1)
            wait_for(
                # More of them where the machine itself is busy.
                lambda: query(
                    url,
                    f'sum({DELAY}_bucket{{le="0.5"}}) - sum({DELAY}_bucket{{le="0.25"}}) >= 3',
                ),
                "three blocks",
            )
            for name in (*GAUGES, "process_unix_file_descriptor_count"):
                wait_for(
                    lambda name=name: query(url, f"count by (process_pid) ({name})"),  # type: ignore[misc]
                    name,
                )
                assert len(query(url, f"count by (process_pid) ({name})")) == 2
            assert query(url, "sum(process_cpu_time_seconds_total)")[()] > 0
            assert len(query(url, "cpython_gc_collections_total")) == 3
