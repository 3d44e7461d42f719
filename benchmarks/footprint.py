"""Memory and start-up, each in a process of its own."""

import json
import os
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.progress import bar
from benchmarks.table import Table, spread

_MEMORY = """
import json, psutil
from benchmarks.peers import PEERS, THIS, application
process = psutil.Process()
rss = lambda: process.memory_info().rss / 1024
app = application()
app.build_middleware_stack()
before = rss()
if {ours}:
    import telemetry
    telemetry.instrument(app)
    from opentelemetry import metrics
    counter = metrics.get_meter("x").create_counter("x")
    add = lambda n: counter.add(1, {{"number": str(n), "path": "/x"}})
else:
    from prometheus_client import Counter
    counter = Counter("x", "x", ["number", "path"])
    add = lambda n: counter.labels(number=str(n), path="/x").inc()
after = rss()
for number in range(10):
    add(-number - 1)
base = rss()
for number in range(1000):
    add(number)
print(json.dumps([after - before, rss() - base]))
"""
_PAGE = """
import asyncio, gc, json, psutil
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
import telemetry
from benchmarks.peers import application
from benchmarks.request import receive, scope, send
from benchmarks.scrape import OPENMETRICS, scrape
from telemetry.sdk.setup.readers import Readers
process, registry = psutil.Process(), CollectorRegistry()
readers = []
if not {ours}:
    # The same requests are measured, for that reader alone.
    readers.append(PrometheusMetricReader(registry=registry))
    Readers._attach_endpoint = lambda *_: None
app = application({routes})
telemetry.instrument(app, meter_provider=MeterProvider(readers, shutdown_on_exit=False))
def rss():
    gc.collect()
    return process.memory_info().rss / 1024
async def ask_all():
    for number in range({routes}):
        await app({{**scope(), "path": f"/other{{number}}/x"}}, receive, send)
async def page():
    if {ours}:
        await scrape(app, [OPENMETRICS])
    else:
        generate_latest(registry)
    # The cooldown after a page.
    await asyncio.sleep(0.5)
async def main():
    await ask_all()
    before = rss()
    await page()
    once = rss() - before
    for _ in range(2):
        await ask_all()
        await page()
    print(json.dumps([once, rss() - before]))
asyncio.run(main())
"""
# Without the garbage collector, which runs over all objects of the imports before by chance.
_STARTUP = """
import gc, json, sys, time
gc.disable()
clock = time.process_time
times = [clock()]
from fastapi import FastAPI
app = FastAPI()
times.append(clock())
import opentelemetry.sdk.metrics.export, opentelemetry.sdk.metrics.view
times.append(clock())
import telemetry
times.append(clock())
telemetry.instrument(app)
times.append(clock())
app.middleware_stack = app.build_middleware_stack()
times.append(clock())
FastAPI().build_middleware_stack()
times.append(clock())
took = [(after - before) * 1e3 for before, after in zip(times, times[1:])]
bare = took.pop()
took[-1] -= bare
heavy = [name for name in ("grpc", "google.protobuf", "requests", "yaml") if name in sys.modules]
print(json.dumps([took, heavy]))
"""


def _run(code: str) -> Any:
    # Modules are compiled once, as they are where a package is installed.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    return json.loads(output)


def memory(short: bool) -> Table:
    """What instrumenting and further series add to the resident size."""
    rounds = bar(range(2 if short else 10), "memory")
    pairs = [(_run(_MEMORY.format(ours=True)), _run(_MEMORY.format(ours=False))) for _ in rounds]
    table = Table(
        "Resident memory",
        ["", "instrumented, KiB", "1,000 further series of a counter, KiB"],
        "The first includes the import of OpenTelemetry's SDK, or of nothing: prometheus_client "
        "is imported by what builds the application already.",
    )
    for name, index in (("this project", 0), ("prometheus_client", 1)):
        runs = [pair[index] for pair in pairs]
        table.rows.append([name, spread([r[0] for r in runs], 0), spread([r[1] for r in runs], 0)])
    return table


def page(short: bool) -> Table:
    """What pages add to the resident size, beside those of the stock reader."""
    rounds = bar(range(1 if short else 5), "page-memory")
    routes = 98 if short else 980
    codes = [_PAGE.format(ours=ours, routes=routes) for ours in (True, False)]
    pairs = [[_run(code) for code in codes] for _ in rounds]
    table = Table(
        f"Resident memory of the pages of {routes} routes",
        ["", "the first page, KiB", "three pages, KiB"],
        "In OpenMetrics, beyond what the process has when each route was asked once; before each "
        "further page all are asked again.",
    )
    for name, index in (("this project", 0), ("stock reader with prometheus_client", 1)):
        runs = [pair[index] for pair in pairs]
        table.rows.append([name, spread([r[0] for r in runs], 0), spread([r[1] for r in runs], 0)])
    ratios = [statistics.median(ours[n] / stock[n] for ours, stock in pairs) for n in (0, 1)]
    table.rows.append(["ratio", *(f"{ratio:.2f}" for ratio in ratios)])
    return table


def startup(short: bool) -> Table:
    """What importing and instrumenting take on top of FastAPI and the SDK."""
    runs = [_run(_STARTUP) for _ in bar(range(3 if short else 15), "start-up")]
    heavy = sorted({name for _, names in runs for name in names})
    table = Table(
        "Start-up",
        ["", "ms of processor time"],
        "Without the garbage collector. The last row is what building the middleware takes beyond "
        "that of a bare application, when the server starts the lifespan. "
        f"Loaded of gRPC, protobuf, requests and YAML: {', '.join(heavy) or 'none'}.",
    )
    names = (
        "import fastapi",
        "import opentelemetry.sdk",
        "import telemetry",
        "telemetry.instrument",
        "start of the application",
    )
    for index, name in enumerate(names):
        table.rows.append([name, spread([times[index] for times, _ in runs])])
    both = [times[2] + times[3] for times, _ in runs]
    table.rows.append(["import telemetry and instrument", spread(both)])
    return table
