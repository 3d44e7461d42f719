"""What exemplars add to a request, by how many requests have a span."""

import json
import os
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer

from benchmarks.progress import bar
from benchmarks.push import Sink
from benchmarks.table import Table, spread

# Under FastAPI's spans, if there are any, on both sides: what differs is this project alone.
_MEASURE = """
import asyncio, json, uvloop
from benchmarks.peers import application
from benchmarks.request import microseconds
import telemetry

async def main():
    app = application()
    bare = app.build_middleware_stack()
    telemetry.instrument(app)
    measured = app.build_middleware_stack()
    times = {{stack: [] for stack in (bare, measured)}}
    for turn in range({turns} + 3):
        # Either first in turn, and nothing of the first turns: machines drift, caches fill.
        for stack in (bare, measured) if turn % 2 else (measured, bare):
            app.middleware_stack = stack
            spent = await microseconds(app, 64)
            if turn >= 3:
                times[stack].append(spent)
    print(json.dumps([times[bare], [b - a for a, b in zip(times[bare], times[measured])]]))

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""
_SAMPLED = {"no spans": None, "spans, 1 % sampled": "0.01", "spans, 100 % sampled": "1"}


def _run(turns: int, chosen: str, ratio: str | None, port: int) -> tuple[list[float], list[float]]:
    output = subprocess.run(
        [sys.executable, "-c", _MEASURE.format(turns=turns)],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "OTEL_METRICS_EXPORTER": "prometheus",
            "OTEL_METRICS_EXEMPLAR_FILTER": chosen,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_TRACES_EXPORTER": "none" if ratio is None else "otlp",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": ratio or "1",
        },
    ).stdout
    bare, added = json.loads(output)
    return bare, added


def run(short: bool) -> Table:
    """Without spans, and with 1 % and 100 % of the requests sampled: exemplars off and on."""
    sink = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    table = Table(
        "Exemplars: added by this project to one request, in process",
        ["", "always_off, µs", "trace_based, µs", "the request without it, µs"],
        "The columns are values of OTEL_METRICS_EXEMPLAR_FILTER. FastAPI's spans, exported by "
        "OTLP, are part of the request on both sides.",
    )
    try:
        for name, ratio in bar(list(_SAMPLED.items()), "exemplars"):
            turns = 5 if short else 100
            rounds = [
                _run(turns, chosen, ratio, sink.server_port)
                for _ in range(1 if short else 2)
                for chosen in ("always_off", "trace_based")
            ]
            off, on = (
                [each for _, added in rounds[start::2] for each in added] for start in (0, 1)
            )
            requests = [each for bare, _ in rounds for each in bare]
            table.rows.append([name, spread(off), spread(on), spread(requests)])
    finally:
        sink.shutdown()
    return table
