"""An application that fails, and the alert that says so in a real Prometheus."""

import json
import re
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT, get, query, script, service, wait_for
from tests.support.prometheus import prometheus

APP = """
from fastapi import FastAPI
import telemetry

app = FastAPI()
telemetry.instrument(app)

@app.get("/works")
async def works() -> None:
    return None

@app.get("/fails")
async def fails() -> None:
    raise RuntimeError("secret")
"""


def firing(url: str) -> dict[str, dict[str, Any]]:
    """The alerts that Prometheus would send, by their names."""
    alerts = json.loads(get(f"{url}/api/v1/alerts"))["data"]["alerts"]
    return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}


def test_errors_fire_and_a_dead_app_does(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(APP)
    command = (script("uvicorn"), "--no-access-log", "served:app")
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    with (
        service(tmp_path, command=command, environment=environment, cwd=tmp_path) as app,
        prometheus(tmp_path, app.port, wait="1s") as url,
    ):
        for _ in range(100):
            app.status("/works")
        app.status("/fails")
        wait_for(lambda: query(url, "sum(app_requests_total)") == {(): 101}, "all are seen")
        for _ in range(90):
            app.status("/works")
        for _ in range(10):
            app.status("/fails")
        wait_for(lambda: "FastAPIErrors" in firing(url), "the alert fires")
        alerts = firing(url)
        assert "FastAPIDown" not in alerts
        assert "FastAPINoTraffic" not in alerts
        summary = alerts["FastAPIErrors"]["annotations"]["summary"]
        shown = re.fullmatch(r"fastapi: the error budget burns ([\d.]+) times too fast", summary)
        assert shown is not None
        # Before the windows are full the share is what was seen in them: some 5 %, of 0.1 %.
        assert 30 < float(shown[1]) < 120
        burn = query(url, 'job_path:app_objective:burn1h{path="/fails", objective="availability"}')
        assert burn == {("fastapi", "availability", "/fails"): pytest.approx(1000)}
        for name in ("FastAPIErrors", "FastAPIPathErrors"):
            told = alerts[name]["annotations"]["description"]
            assert "exceptions of the last hour: RuntimeError (/fails), as the panel" in told
        dashboard = alerts["FastAPIPathErrors"]["annotations"]["dashboard"]
        found = re.fullmatch(r".*/d/fastapi-service-en\?from=(\d+)&to=(\d+)(&.*)", dashboard)
        assert found is not None
        assert int(found[2]) - int(found[1]) == 3_600_000
        assert abs(int(found[2]) / 1000 - time.time()) < 60
        assert found[3] == "&var-job=fastapi&var-path=%2Ffails"
        app.process.kill()
        wait_for(lambda: "FastAPIDown" in firing(url), "the dead app is noticed")
        down = firing(url)["FastAPIDown"]["annotations"]["summary"]
        assert down == (
            "fastapi: host.docker.internal:8000 does not answer, and no other instance does"
        )


FULL = """
import time
from pathlib import Path
from fastapi import FastAPI
from sqlalchemy import create_engine, text
import telemetry

app = FastAPI()
telemetry.instrument(app)
engine = create_engine(f"sqlite:///{Path(__file__).parent / 'x.db'}", pool_size=2, max_overflow=0)
telemetry.observe_pool(engine, name="main")

@app.get("/blocks")
async def blocks() -> None:
    time.sleep(0.3)

@app.get("/sleeps")
def sleeps() -> None:
    time.sleep(20)

@app.get("/queries")
def queries() -> None:
    with engine.connect() as connection:
        connection.execute(text("select 1"))
        time.sleep(4)
"""
SATURATION = {
    "/blocks": ("FastAPIEventLoopBlocked", 4),
    # Forty have a thread, the others wait for one.
    "/sleeps": ("FastAPIThreadPoolFull", 45),
    "/queries": ("FastAPIConnectionPoolFull", 10),
}


def abandon(url: str) -> None:
    """A request whose server may be killed meanwhile."""
    with suppress(OSError, HTTPException):
        get(url, timeout=60)


@pytest.mark.parametrize("path", SATURATION)
def test_what_is_full_or_blocked_fires_its_own_alert_alone(tmp_path: Path, path: str) -> None:
    name, callers = SATURATION[path]
    (tmp_path / "served.py").write_text(FULL)
    command = (script("uvicorn"), "--no-access-log", "served:app")
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    with (
        service(tmp_path, command=command, environment=environment, cwd=tmp_path) as app,
        prometheus(tmp_path, app.port, wait="1s") as url,
    ):
        wait_for(
            lambda: query(url, "count_over_time(app_event_loop_delay_seconds_count[1m]) > 3"),
            "some scrapes before it begins",
        )
        assert not SATURATION_NAMES & firing(url).keys()
        requests = [
            threading.Thread(target=abandon, args=(app.url + path,)) for _ in range(callers)
        ]
        for each in requests:
            each.start()
        wait_for(lambda: name in firing(url), f"{name} fires")
        assert SATURATION_NAMES & firing(url).keys() == {name}
        app.process.kill()
        for each in requests:
            each.join()


SATURATION_NAMES = {name for name, _ in SATURATION.values()}
