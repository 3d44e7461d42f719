"""What pushing adds to a request, and takes of a worker."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.progress import bar
from benchmarks.table import Table, spread

_MEASURE = """
import asyncio, json, statistics, time, uvloop
from benchmarks.peers import application
from benchmarks.request import microseconds
from benchmarks.scrape import ROUTES, ask_all
import telemetry

async def main():
    app = application(ROUTES)
    bare = app.build_middleware_stack()
    telemetry.instrument(app)
    measured = app.build_middleware_stack()
    await ask_all(app)
    added = []
    for _ in range({rounds}):
        times = []
        for stack in (bare, measured):
            app.middleware_stack = stack
            times.append(await microseconds(app, 64))
        added.append(times[1] - times[0])
    from opentelemetry import metrics
    pushes = []
    for _ in range(5):
        began = time.thread_time()
        metrics.get_meter_provider().force_flush()
        pushes.append((time.thread_time() - began) * 1e3)
    print(json.dumps([statistics.median(added), statistics.median(pushes)]))

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


class Sink(BaseHTTPRequestHandler):
    """An OTLP receiver that drops what it gets."""

    def do_POST(self) -> None:
        """Take a push."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""


def _run(exporters: str, port: int, rounds: int) -> list[float]:
    output = subprocess.run(
        [sys.executable, "-c", _MEASURE.format(rounds=rounds)],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "OTEL_METRICS_EXPORTER": exporters,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_METRIC_EXPORT_INTERVAL": "15000",
        },
    ).stdout
    result: list[float] = json.loads(output)
    return result


def run(short: bool) -> Table:
    """Scraped, pushed and both: what comes on top of a request, and what a push takes."""
    sink = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    table = Table(
        "Pushing (OTLP over HTTP, 530 routes)",
        ["OTEL_METRICS_EXPORTER", "added to a request, µs", "a push, ms of processor time"],
        "At an interval of 15 s, a push takes a thousandth of a core for every 15 ms.",
    )
    runs: dict[str, list[list[float]]] = {"prometheus": [], "otlp": [], "prometheus,otlp": []}
    try:
        for _ in bar(range(1 if short else 7), "push"):
            for exporters, results in runs.items():
                results.append(_run(exporters, sink.server_port, 5 if short else 60))
    finally:
        sink.shutdown()
        sink.server_close()
    for exporters, results in runs.items():
        pushes = spread([each[1] for each in results]) if "otlp" in exporters else ""
        table.rows.append([exporters, spread([each[0] for each in results]), pushes])
    return table
