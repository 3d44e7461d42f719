"""What each option of `telemetry.instrument` costs a request, and opentelemetry-instrument."""

import asyncio
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop
from fastapi import FastAPI, Request
from opentelemetry.sdk.metrics import MeterProvider

import telemetry
from benchmarks.peers import application
from benchmarks.progress import bar
from benchmarks.request import microseconds
from benchmarks.table import Table, spread

_IN_TURN = 64
_CALLS = 3_000

_SET = "`labels`, one set in the endpoint"
_OPTIONS: Mapping[str, dict[str, Any]] = {
    "no option": {},
    "`buckets`": {"buckets": [0.1, 0.5, 1.0]},
    "`labels`, a constant one": {"labels": {"team": "shop"}},
    "`labels`, one from a header": {
        "labels": {"client": telemetry.RequestLabel(["*/*"], header="accept")}
    },
    _SET: {"labels": {"plan": telemetry.RequestLabel(["free", "paid"])}},
    "`in_progress_by_route`": {"in_progress_by_route": True},
    "`body_sizes`": {"body_sizes": True},
    '`request_metrics="http.server"`': {"request_metrics": "http.server"},
    '`request_metrics="both"`': {"request_metrics": "both"},
}

_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
_NAMES = "TELEMETRY_REQUEST_METRICS"
_BARE = "none"
_ZERO_CODE: Mapping[str, dict[str, str]] = {
    _BARE: {},
    "contrib's alone": {_DISABLED: "fastapi_otel_metrics"},
    "ours beside contrib's": {},
    "ours alone": {_DISABLED: "fastapi", _NAMES: "app"},
    "FastAPI's own alone": {_DISABLED: "fastapi", _NAMES: "http.server"},
}


def _application(name: str) -> FastAPI:
    if name != _SET:
        return application()
    app = FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: int, request: Request) -> dict[str, int]:
        telemetry.set_label(request, "plan", "free")
        return {"item": item_id}

    return app


async def _added(turns: int) -> dict[str, list[float]]:
    apps: dict[str, tuple[FastAPI, FastAPI]] = {}
    for name, options in _OPTIONS.items():
        bare, measured = _application(name), _application(name)
        # Until its own metrics are switched off, FastAPI records them.
        bare._telemetry["metrics"] = False
        # What shares a provider has the same buckets.
        provider = MeterProvider(shutdown_on_exit=False)
        telemetry.instrument(measured, meter_provider=provider, **options)
        apps[name] = bare, measured
    added: dict[str, list[float]] = {name: [] for name in apps}
    for turn in bar(range(turns), "options"):
        for name, (bare, measured) in apps.items():
            for each in (bare, measured):
                await microseconds(each, _IN_TURN)
            for first, second in ((bare, measured), (measured, bare)):
                one = await microseconds(first, _IN_TURN)
                other = await microseconds(second, _IN_TURN)
                if turn or turns == 1:
                    added[name].append(other - one if first is bare else one - other)
    return added


def run(short: bool) -> Table:
    """What each option adds, and what it has added without any."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        added = runner.run(_added(2 if short else 100))
    plain = statistics.median(next(iter(added.values())))
    table = Table(
        "Added to one request by the options, in process",
        ["", "µs", "of no option"],
        "Each on top of the same app without it. `metrics_dependencies` does not concern requests.",
    )
    for name, values in added.items():
        share = statistics.median(values) / plain
        table.rows.append([name, spread(values), f"× {share:.2f}"])
    return table


def zero_code(short: bool) -> Table:
    """What the instrumentations add to a request under ``opentelemetry-instrument``."""
    took: dict[str, list[float]] = {name: [] for name in _ZERO_CODE}
    for _ in bar(range(1 if short else 7), "opentelemetry-instrument"):
        for name, variables in _ZERO_CODE.items():
            instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
            command = [sys.executable, "-m", "benchmarks.options"]
            result = subprocess.run(
                command if name == _BARE else [instrument, *command],
                env={**os.environ, **variables, "OTEL_METRICS_EXPORTER": "prometheus"},
                capture_output=True,
                text=True,
                check=True,
            )
            took[name].append(float(result.stdout))
    bare = statistics.median(took.pop(_BARE))
    table = Table(
        "Added to one request under opentelemetry-instrument, in process",
        ["instrumentation of FastAPI", "µs"],
        f"On top of {bare:.1f} µs of the bare app; metrics only, no traces.",
    )
    for name, values in took.items():
        table.rows.append([name, spread([value - bare for value in values])])
    return table


async def _calls(app: FastAPI) -> float:
    await microseconds(app, 500)
    return statistics.median([await microseconds(app, _IN_TURN) for _ in range(_CALLS // _IN_TURN)])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(_calls(application(plain="opentelemetry.instrumentation" in sys.modules))))
