"""prometheus_client's own metrics of several workers, beside OpenTelemetry's."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.processes import ROOT, script, service, wait_for
from tests.support.series import total, values

APP = """
import os
import time
from fastapi import FastAPI
from prometheus_client import Counter, Histogram
import telemetry

orders = Counter("orders", "Orders.")
delay = Histogram("delay_seconds", "Delay.", buckets=[1])
app = FastAPI()
telemetry.instrument(app)

@app.get("/order")
async def order() -> int:
    # Blocks this worker, so that the other one answers as well.
    time.sleep(0.02)
    orders.inc()
    delay.observe(0.5)
    return os.getpid()
"""
REQUESTS = 60
LINE = "those of the worker that answers the scrape"


@pytest.mark.parametrize("multiprocess", [True, False])
def test_two_workers(tmp_path: Path, multiprocess: bool) -> None:
    (tmp_path / "served.py").write_text(APP)
    (tmp_path / "old").mkdir()
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "TMPDIR": str(tmp_path)}
    if multiprocess:
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path / "old")
    command: tuple[str, ...] = (script("gunicorn"), "-w", "2", "-k", "uvicorn_worker.UvicornWorker")
    command += ("-b", "127.0.0.1:{port}", "served:app")
    with service(tmp_path, command=command, environment=environment, cwd=tmp_path) as app:
        with ThreadPoolExecutor(8) as pool:
            answered = list(pool.map(app.get, ["/order"] * REQUESTS))
        counts = {answered.count(pid) for pid in answered}
        assert len(set(answered)) == 2
        wait_for(
            lambda: total(app.series(), "app_requests_total", path="/order") == REQUESTS,
            "both workers have shared what they measured",
        )
        shown = [app.series() for _ in range(20)]
        wait_for(lambda: multiprocess or LINE in app.process.log, "the log says whose they are")
        log = app.process.log
    old = {values(series, "orders_total")[()] for series in shown}
    assert old == {values(series, "delay_seconds_count")[()] for series in shown}
    if multiprocess:
        assert old == {REQUESTS}
        assert LINE not in log
    else:
        assert old <= counts
        # Once in each worker.
        assert log.count(LINE) <= 2
