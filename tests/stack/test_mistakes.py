"""Wrong settings are told in one line with the variable, the value and the cure."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from fastapi import FastAPI

import telemetry
from tests.support.processes import free_port, script, service, wait_for

APP = """
import os
from fastapi import FastAPI
import telemetry

app = FastAPI()
{before}
telemetry.instrument(app{options})
{after}
"""


def log(
    folder: Path, *, before: str = "", options: str = "", after: str = "", wait: str, **env: str
) -> list[str]:
    """What a plain uvicorn prints, as soon as there is a line that matches, or after a while."""
    (folder / "main.py").write_text(APP.format(before=before, options=options, after=after))
    with service(
        folder, command=(script("uvicorn"), "main:app"), environment=env, cwd=folder
    ) as app:
        app.get("/openapi.json")
        with suppress(AssertionError):
            wait_for(lambda: re.search(wait, app.process.log), wait, patience=20)
        return app.process.log.splitlines()


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"OTEL_METRICS_EXPORTER": ","}, ["OTEL_METRICS_EXPORTER", "=,:", "prometheus"]),
        (
            {
                "OTEL_METRICS_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318",
                "OTEL_METRIC_EXPORT_INTERVAL": "500",
            },
            ["OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "http://"],
        ),
        (
            {
                "OTEL_METRICS_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{dead}",
                "OTEL_METRIC_EXPORT_INTERVAL": "500",
            },
            ["OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:{dead}"],
        ),
        (
            {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "15s"},
            ["OTEL_METRIC_EXPORT_INTERVAL", "15s", "milliseconds"],
        ),
        (
            {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "0"},
            ["OTEL_METRIC_EXPORT_INTERVAL", "0", "milliseconds"],
        ),
        ({"OTEL_SDK_DISABLED": "1"}, ["OTEL_SDK_DISABLED", "=1:", "true"]),
        (
            {"OTEL_CONFIG_FILE": "/nope.yaml"},
            ["OTEL_CONFIG_FILE", "/nope.yaml", "not found", "config/"],
        ),
        ({"PROMETHEUS_MULTIPROC_DIR": "/nope"}, ["PROMETHEUS_MULTIPROC_DIR", "/nope", "Create it"]),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "env:prod"},
            ["OTEL_RESOURCE_ATTRIBUTES", "env:prod", "key=value|="],
        ),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_variables(tmp_path: Path, env: dict[str, str], words: list[str]) -> None:
    dead = str(free_port())
    env = {name: value.replace("{dead}", dead) for name, value in env.items()}
    env.setdefault("OTEL_SERVICE_NAME", "shop")
    words = [word.replace("{dead}", dead) for word in words]
    variable = words[0]
    lines = log(tmp_path, wait=variable, **env)
    # OpenTelemetry has lines of its own about some.
    named = [line for line in lines if variable in line and line.startswith("telemetry")]
    assert len(named) == 1, lines
    for word in words:
        assert re.search(word, named[0]), named


@pytest.mark.parametrize(
    ("code", "words"),
    [
        # The second call's options are dropped.
        (
            {"after": "telemetry.instrument(app, buckets=[1.0])"},
            ["called before", "buckets"],
        ),
    ],
    ids=["twice"],
)
def test_arguments(tmp_path: Path, code: dict[str, str], words: list[str]) -> None:
    lines = log(tmp_path, wait=words[0], **code)
    assert [line for line in lines if all(re.search(word, line) for word in words)], lines


@pytest.mark.parametrize(
    "call", ["telemetry.instrument('main:app')", "telemetry.instrument(app, meter_provider='x')"]
)
def test_wrong_types(call: str) -> None:
    app = FastAPI()
    with pytest.raises(TypeError, match=r"instrument takes|meter_provider takes") as raised:
        eval(call, {"telemetry": telemetry, "app": app})
    assert "weak reference" not in str(raised.value)
