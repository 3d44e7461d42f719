"""A token that a scrape must bring, on the application's port and on one of its own."""

import asyncio
import socket
import sys
from pathlib import Path
from urllib.error import HTTPError

import pytest
from fastapi import FastAPI

from tests.support.applications import Measured, exchange
from tests.support.processes import free_port, get, service, wait_for


def scrape(measured: Measured, authorization: str | None) -> int:
    headers = {} if authorization is None else {b"authorization": authorization.encode("latin-1")}
    return measured.client.get("/metrics", headers=headers).status_code


async def status(app: FastAPI, authorization: bytes) -> int:
    """As a server hands it over, which does not look into the header."""
    sent = await exchange(app, "/metrics", headers=[(b"authorization", authorization)])
    return int(sent[0]["status"])


def test_a_token_may_be_of_any_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_METRICS_TOKEN", "s\u00e9cret")
    app = Measured().app
    assert asyncio.run(status(app, "Bearer s\u00e9cret".encode())) == 200
    assert asyncio.run(status(app, "Bearer s\u00e8cret".encode())) == 401


def test_without_a_token_everybody_may_see_them() -> None:
    assert scrape(Measured(), None) == scrape(Measured(), "Bearer any") == 200


def test_only_who_brings_the_token_may_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    # A file that the token was read from ends with a line.
    monkeypatch.setenv("TELEMETRY_METRICS_TOKEN", "s3cret\n")
    measured = Measured()
    assert scrape(measured, "Bearer s3cret") == scrape(measured, "bearer  s3cret") == 200
    for wrong in (None, "", "Bearer", "Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret"):
        assert scrape(measured, wrong) == 401, wrong
    assert scrape(measured, "Bearer \u00e9") == 401
    for odd in (
        "Bearer \u00e9\u0100".encode(),
        b"Bearer \xff\xfe",
        b"\xff s3cret",
        b"Bearer " * 9_999,
    ):
        assert asyncio.run(status(measured.app, odd)) == 401, odd
    denied = measured.client.get("/metrics")
    assert denied.headers["www-authenticate"] == "Bearer"
    assert "app_" not in denied.text
    assert "s3cret" not in denied.text


def test_an_empty_token_lets_nobody_through(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TELEMETRY_METRICS_TOKEN", " ")
    measured = Measured()
    assert scrape(measured, "Bearer ") == scrape(measured, None) == 401
    assert "TELEMETRY_METRICS_TOKEN is empty: /metrics answers 401 to everybody" in caplog.text


def test_a_port_of_its_own_is_protected_too(tmp_path: Path) -> None:
    port = free_port()
    environment = {
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
        "TELEMETRY_METRICS_TOKEN": "s3cret",
    }
    command = (sys.executable, "-m", "app", "--host", "127.0.0.1")
    with service(tmp_path, command=command, environment=environment):
        url = f"http://localhost:{port}/metrics"
        token = {"authorization": "Bearer s3cret"}
        assert "app_memory_usage_bytes" in wait_for(lambda: get(url, token), "the port is served")
        with pytest.raises(HTTPError, match="401") as denied:
            get(url)
        denied.value.close()
        with socket.create_connection(("localhost", port)) as connection:
            connection.sendall(
                b"GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xe9\r\n\r\n"
            )
            assert connection.recv(12) == b"HTTP/1.1 401"
