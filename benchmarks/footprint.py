"""Memory and start-up, each in a process of its own."""

import json
import subprocess
import sys

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
_STARTUP = """
import json, sys, time
began = time.perf_counter()
from fastapi import FastAPI
app = FastAPI()
bare = time.perf_counter()
import telemetry
imported = time.perf_counter()
telemetry.instrument(app)
done = time.perf_counter()
heavy = [name for name in ("grpc", "google.protobuf", "requests", "yaml") if name in sys.modules]
print(json.dumps([(bare - began) * 1e3, (imported - bare) * 1e3, (done - imported) * 1e3, heavy]))
"""


def _run(code: str) -> list[float]:
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    result: list[float] = json.loads(output)
    return result


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


def startup(short: bool) -> Table:
    """What importing and instrumenting take on top of a bare FastAPI."""
    runs = [_run(_STARTUP) for _ in bar(range(3 if short else 15), "start-up")]
    heavy = sorted({str(name) for run in runs for name in run[3]})  # type: ignore[attr-defined]
    table = Table(
        "Start-up",
        ["", "ms"],
        f"Loaded of gRPC, protobuf, requests and YAML: {', '.join(heavy) or 'none'}.",
    )
    for index, name in enumerate(("import fastapi", "import telemetry", "telemetry.instrument")):
        table.rows.append([name, spread([run[index] for run in runs])])
    return table
