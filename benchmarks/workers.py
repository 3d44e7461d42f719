"""What several workers cost: a scrape, and a worker that has nothing to do."""

import asyncio
import gzip
import statistics
import tempfile
import time
import urllib.request
from threading import Thread

import psutil
from fastapi import FastAPI
from prometheus_client.openmetrics.exposition import generate_latest

from benchmarks.http import server
from benchmarks.progress import bar
from benchmarks.scrape import ROUTES, ask_all, measured
from benchmarks.table import Table, spread

_IDLE_HISTOGRAMS = 6_000


def served() -> FastAPI:
    """For uvicorn: an instrumented application whose routes have all been asked for."""
    import telemetry
    from benchmarks.peers import application

    app = application(ROUTES)
    telemetry.instrument(app)
    # uvicorn calls this within its event loop.
    asking = Thread(target=lambda: asyncio.run(ask_all(app)))
    asking.start()
    asking.join()
    return app


def idle() -> FastAPI:
    """For uvicorn: an application with many series and nothing to do."""
    from opentelemetry import metrics

    import telemetry
    from benchmarks.peers import application

    app = application()
    telemetry.instrument(app)
    for number in range(_IDLE_HISTOGRAMS // 1_500):
        histogram = metrics.get_meter("idle").create_histogram(f"idle_{number}")
        for label in range(1_500):
            histogram.record(1, {"number": str(label)})
    return app


def _get(url: str) -> bytes:
    request = urllib.request.Request(
        url,
        headers={
            "accept": "application/openmetrics-text;version=1.0.0",
            "accept-encoding": "gzip",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        body: bytes = gzip.decompress(answer.read())
    return body


def _stock(rounds: int) -> list[float]:
    """Milliseconds that the stock reader takes for the same page, in one process."""
    app, registry = measured()
    asyncio.run(ask_all(app))
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        gzip.compress(generate_latest(registry))  # type: ignore[no-untyped-call]
        times.append((time.perf_counter() - began) * 1000)
    return times


def _share_of_a_core(seconds: float) -> float:
    """The processor time of an idle worker with many series, of two, in per cent."""
    with (
        tempfile.TemporaryDirectory() as folder,
        server("--factory", "benchmarks.workers:idle", "--workers", "2", TMPDIR=folder) as url,
    ):
        time.sleep(5)
        assert _get(f"{url}/metrics")
        workers = [
            each
            for each in psutil.Process().children(recursive=True)
            if "spawn_main" in " ".join(each.cmdline())
        ]
        before = [sum(each.cpu_times()[:2]) for each in workers]
        time.sleep(seconds)
        after = [sum(each.cpu_times()[:2]) for each in workers]
    return max(b - a for a, b in zip(before, after, strict=True)) / seconds * 100


def run(short: bool) -> Table:
    """The time of a scrape at 1, 2, 4 and 8 workers, all of which know all routes."""
    rounds = 5 if short else 20
    stock = _stock(rounds)
    table = Table(
        f"A scrape under several workers, {ROUTES} routes",
        ["workers", "ms", "lines"],
        "Over HTTP, OpenMetrics with gzip, whichever worker answers. The stock reader with "
        f"prometheus_client takes {spread(stock)} ms for the page of one process, in process.",
    )
    medians = []
    for count in bar((1, 2) if short else (1, 2, 4, 8), "workers"):
        with (
            tempfile.TemporaryDirectory() as folder,
            server(
                "--factory", "benchmarks.workers:served", "--workers", str(count), TMPDIR=folder
            ) as url,
        ):
            time.sleep(3 + count)
            times, lines = [], 0
            for _ in range(rounds):
                # The cooldown after a page is not to be measured.
                time.sleep(0.5)
                began = time.perf_counter()
                lines = _get(f"{url}/metrics").count(b"\n")
                times.append((time.perf_counter() - began) * 1000)
            medians.append(statistics.median(times))
            table.rows.append([str(count), spread(times), f"{lines:,}"])
    share = _share_of_a_core(5 if short else 20)
    table.note += (
        f" With {table.rows[-1][0]} workers it is {medians[-1] / statistics.median(stock):.2f} "
        f"of that. An idle worker with {_IDLE_HISTOGRAMS:,} histograms uses {share:.1f} % of a "
        "core."
    )
    return table
