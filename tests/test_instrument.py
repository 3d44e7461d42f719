"""The public face."""

import subprocess
import sys
from typing import NoReturn

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.metrics import MeterProvider

import telemetry
from tests.support.applications import Measured
from tests.support.versions import needs


async def root() -> str:
    return "ok"


def test_a_second_call_changes_nothing() -> None:
    measured = Measured()
    measured.app.get("/")(root)
    measured.instrument()
    measured.client.get("/")
    measured.instrument()
    assert measured.requests() == {("GET", "/"): 1}


def test_an_application_made_anew_for_each_test() -> None:
    for _ in range(3):
        measured = Measured()
        measured.app.get("/")(root)
        measured.client.get("/")
        assert measured.requests() == {("GET", "/"): 1}


def test_routes_may_come_after() -> None:
    measured = Measured()
    measured.app.get("/later/{i}")(root)
    measured.client.get("/later/1")
    assert measured.requests() == {("GET", "/later/{i}"): 1}


def test_without_a_provider_the_global_one_is_used() -> None:
    one, other = FastAPI(), FastAPI()
    telemetry.instrument(one)
    telemetry.instrument(other)
    first, second = Measured(one, instrument=False), Measured(other, instrument=False)
    before = first.requests().get(("GET", "unmatched"), 0)
    first.client.get("/nope")
    second.client.get("/nope")
    assert first.requests() == second.requests()
    assert first.requests()["GET", "unmatched"] == before + 2


def test_a_provider_that_raises_leaves_the_application_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(MeterProvider):
        def get_meter(self, *_: object, **__: object) -> NoReturn:
            raise RuntimeError("no meters today")

    app = FastAPI()
    app.get("/")(root)
    telemetry.instrument(app, meter_provider=Failing())
    client = TestClient(app)
    assert client.get("/").json() == "ok"
    assert client.get("/metrics").status_code == 404
    assert "no meters today" in caplog.text


def test_what_cannot_be_served_costs_a_log_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("telemetry.wiring.serve_metrics", fail)
    measured = Measured()
    measured.app.get("/")(root)
    assert measured.client.get("/").json() == "ok"
    assert "no room" in caplog.text


NATIVE = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
import telemetry
app = FastAPI()
telemetry.instrument(app{options})
client = TestClient(app)
client.get("/nope")
print("http_server_request_duration_seconds_count" in client.get("/metrics").text)
"""


@needs("fastapi", "0.142.0")
@pytest.mark.parametrize(
    ("options", "shown"), [("", "False"), (", request_metrics='both'", "True")]
)
def test_fastapis_own_metrics_are_recorded_where_they_are_asked_for(
    options: str, shown: str
) -> None:
    code = NATIVE.format(options=options)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == shown, result.stderr


def test_the_default_excluded_paths_can_be_kept() -> None:
    measured = Measured(instrument=False)
    measured.instrument(excluded_paths=[*telemetry.DEFAULT_EXCLUDED_PATHS, "/health"])
    for path in ("/health", "/docs", "/nope"):
        measured.client.get(path)
    assert measured.paths() == {"unmatched"}


RECORDS_NOTHING = """
import telemetry
from fastapi import FastAPI
from fastapi.testclient import TestClient
app = FastAPI(telemetry={"metrics": False})
telemetry.instrument(app, request_metrics="http.server")
TestClient(app).get("/nope")
"""


def test_it_is_told_if_nothing_records_the_standard_metrics() -> None:
    command = [sys.executable, "-c", RECORDS_NOTHING]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "Nothing records http.server.*: FastAPI does since 0.142" in result.stderr


def test_a_second_call_with_other_options_says_which_do_not_hold(
    caplog: pytest.LogCaptureFixture,
) -> None:
    measured = Measured()
    measured.instrument(buckets=[1], body_sizes=True)
    (line,) = caplog.messages
    assert line.endswith("of this call nothing holds: buckets, body_sizes")


def test_what_cannot_be_watched_costs_no_request(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no stack")

    monkeypatch.setattr("telemetry.wiring.exclude_from_contrib", fail)
    measured = Measured()
    measured.app.get("/")(root)
    assert measured.client.get("/").json() == "ok"
    assert "no stack" in caplog.text
