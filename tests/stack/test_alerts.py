"""An application that fails, and the alert that says so in a real Prometheus."""

import json
import re
from pathlib import Path
from typing import Any

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
    raise RuntimeError
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
        shown = re.fullmatch(r"fastapi: ([\d.]+)% of the responses are server errors", summary)
        assert shown is not None
        assert 5 < float(shown[1]) < 15
        # Before the windows are full the share is what was seen in them.
        share = query(url, 'job_path:app_responses_errors:ratio_rate5m{path="/fails"}')
        assert share == {("fastapi", "/fails"): 1}
        app.process.kill()
        wait_for(lambda: "FastAPIDown" in firing(url), "the dead app is noticed")
        down = firing(url)["FastAPIDown"]["annotations"]["summary"]
        assert down == "fastapi: host.docker.internal:8000 does not answer Prometheus"
