"""Traces and logs as docker-compose.traces.yaml has them, through a real collector."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.collector import forwarding_collector
from tests.support.processes import ROOT, Service, script, service, wait_for
from tests.support.receivers import HttpReceiver, http_receiver

APP = """
import logging
from fastapi import FastAPI
import telemetry

app = FastAPI()
telemetry.instrument(app)

@app.get("/items/{item}")
async def read(item: int) -> int:
    logging.getLogger("shop").warning("item %d is asked for", item)
    return item
"""
UVICORN: Sequence[str] = ("uvicorn", "logged:app")
ZERO_CODE = ("opentelemetry-instrument", *UVICORN)
GUNICORN: Sequence[str] = (
    *("gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}"),
    *("--access-logfile", "-", "logged:app"),
)


def variables(collector: str) -> dict[str, str]:
    """What Compose gives the application, with the collector in the place of both stores."""
    content = yaml.safe_load((ROOT / "docker-compose.traces.yaml").read_text())
    environment: dict[str, str] = content["services"]["app"]["environment"]
    for name, value in environment.items():
        environment[name] = re.sub(r"^[$][{]\w+:-(.*)[}]$", r"\1", str(value))
    return {
        **environment,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector}/v1/traces",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{collector}/v1/logs",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_BLRP_SCHEDULE_DELAY": "200",
    }


@contextmanager
def exporting(
    folder: Path, command: Sequence[str], **environment: str
) -> Iterator[tuple[Service, HttpReceiver]]:
    (folder / "logged.py").write_text(APP)
    with http_receiver() as (address, receiver), forwarding_collector(folder, address) as otlp:
        chosen = {**variables(otlp), "PYTHONPATH": f"{ROOT}:{folder}", **environment}
        program, *rest = command
        if program == "opentelemetry-instrument":
            rest[0] = script(rest[0])
        full = (script(program), *rest)
        with service(folder, command=full, environment=chosen, cwd=folder) as app:
            yield app, receiver


def lines(receiver: HttpReceiver, of: str) -> list[LogRecord]:
    return [log for _, log in receiver.logs if of in log.body.string_value]


@pytest.mark.parametrize(
    "command",
    [UVICORN, GUNICORN, ZERO_CODE],
    ids=["uvicorn", "gunicorn", "opentelemetry-instrument uvicorn"],
)
def test_what_a_request_logs_is_found_by_its_trace(tmp_path: Path, command: Sequence[str]) -> None:
    with exporting(tmp_path, command) as (app, receiver):
        for item in (7, 8):
            app.get(f"/items/{item}")
        own = wait_for(lambda: lines(receiver, "item 7 is asked for"), "the application's line")
        access = wait_for(lambda: lines(receiver, "/items/7"), "the access log's line")

        def spans() -> list[Span]:
            return [
                span
                for _, span in receiver.spans
                if span.kind == Span.SPAN_KIND_SERVER
                and any(each.value.string_value == "/items/7" for each in span.attributes)
            ]

        (span,) = wait_for(spans, "the request's span")
        # Each once, in the request's trace; the server's line in the request's very span.
        assert [log.trace_id for log in own] == [span.trace_id]
        assert [log.trace_id for log in access] == [span.trace_id]
        in_trace = {each.span_id for _, each in receiver.spans if each.trace_id == span.trace_id}
        assert {own[0].span_id, access[0].span_id} <= in_trace
        assert {name for name, _ in receiver.logs} == {"fastapi"}
        # The console has what it had.
        assert app.process.log.count("item 7 is asked for") == 1
        assert app.process.log.count("/items/7") == 1


def test_health_checks_are_not_exported_and_silence_stays(tmp_path: Path) -> None:
    command = ("python", "-m", "app", "--host", "127.0.0.1")
    with exporting(tmp_path, command) as (app, receiver):
        app.get("/openapi.json")
        app.get("/health")
        wait_for(lambda: lines(receiver, "/health"), "the access log's line")
        assert lines(receiver, "/openapi.json") == []
    with exporting(tmp_path, ("uvicorn", "--no-access-log", "logged:app")) as (app, receiver):
        app.get("/items/7")
        wait_for(lambda: lines(receiver, "item 7"), "the application's line")
        assert lines(receiver, "/items/7") == []


@pytest.mark.parametrize(
    "command", [UVICORN, ZERO_CODE], ids=["uvicorn", "opentelemetry-instrument uvicorn"]
)
def test_logging_stays_as_it_is_where_no_logs_are_asked_for(
    tmp_path: Path, command: Sequence[str]
) -> None:
    with exporting(tmp_path, command, OTEL_LOGS_EXPORTER="none") as (app, receiver):
        app.get("/items/7")
        wait_for(lambda: receiver.spans, "spans")
        assert receiver.logs == []
        assert app.process.log.count("item 7 is asked for") == 1
