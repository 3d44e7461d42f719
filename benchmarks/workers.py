"""A scrape's cost under several workers, with 100 routes."""

import statistics
import tempfile
import time
import urllib.request

from benchmarks.http import server
from benchmarks.progress import bar
from benchmarks.table import Table, spread

_ROUTES = 100


def served() -> object:
    """For uvicorn: an instrumented application of 100 routes."""
    import telemetry
    from benchmarks.peers import application

    app = application(_ROUTES)
    telemetry.instrument(app)
    return app


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
    return body


def run(short: bool) -> Table:
    """The time of a scrape at 1, 2, 4 and 8 workers, all of which know all routes."""
    table = Table(
        f"A scrape under several workers, {_ROUTES} routes",
        ["workers", "ms", "lines"],
        "Over HTTP, one scrape after the other, whichever worker answers.",
    )
    for count in bar((1, 2) if short else (1, 2, 4, 8), "workers"):
        with (
            tempfile.TemporaryDirectory() as folder,
            server(
                "--factory", "benchmarks.workers:served", "--workers", str(count), TMPDIR=folder
            ) as url,
        ):
            time.sleep(2 + count / 2)
            for _ in range(count * 4):
                for number in range(_ROUTES):
                    _get(f"{url}/other{number}/x")
            time.sleep(1)
            times, lines = [], 0
            for _ in range(5 if short else 20):
                # After a text comes a rest, which is not to be measured.
                time.sleep(0.5)
                began = time.perf_counter()
                lines = _get(f"{url}/metrics").count(b"\n")
                times.append((time.perf_counter() - began) * 1000)
            table.rows.append([str(count), spread(times), f"{lines:,}"])
    first = float(table.rows[0][1].split()[0])
    last = float(table.rows[-1][1].split()[0])
    table.note += f" {statistics.fmean([last]) / first:.1f} times as long with {table.rows[-1][0]}."
    return table
