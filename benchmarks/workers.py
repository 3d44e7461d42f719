"""What several workers cost: a scrape, and a worker that has nothing to do."""

import asyncio
import gzip
import os
import statistics
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from threading import Thread

import psutil
from fastapi import FastAPI
from prometheus_client.openmetrics.exposition import generate_latest

from benchmarks.http import server
from benchmarks.peers import PATH
from benchmarks.progress import bar
from benchmarks.scrape import ROUTES, ask_all, measured
from benchmarks.table import Table, spread

_IDLE_HISTOGRAMS = 6_000
_BUSY_HISTOGRAMS = 3_000


def bare() -> FastAPI:
    """For uvicorn: an application that nothing measures."""
    from benchmarks.peers import application

    return application()


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
    """For uvicorn: an application with so many histograms, and nothing to do."""
    from opentelemetry import metrics

    import telemetry
    from benchmarks.peers import application

    app = application()
    telemetry.instrument(app)
    count = int(os.environ["BENCHMARK_HISTOGRAMS"])
    for number in range(0, count, 1_500):
        histogram = metrics.get_meter("idle").create_histogram(f"idle_{number}")
        for label in range(min(1_500, count - number)):
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


_IDLE = {
    "without telemetry": ("bare", 0),
    "100 series": ("idle", 10),
    f"{_IDLE_HISTOGRAMS:,} histograms": ("idle", _IDLE_HISTOGRAMS),
}


def _shares_of_a_core(seconds: float) -> dict[str, float]:
    """The processor time of a worker that has nothing to do, of two, in per cent."""
    with ExitStack() as stack:
        spent = {}
        for name, (app, histograms) in _IDLE.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            before = set(psutil.Process().children(recursive=True))
            environment = {"TMPDIR": folder, "BENCHMARK_HISTOGRAMS": str(histograms)}
            url = stack.enter_context(
                server("--factory", f"benchmarks.workers:{app}", "--workers", "2", **environment)
            )
            time.sleep(5)
            if app != "bare":
                assert _get(f"{url}/metrics")
            spent[name] = [
                each
                for each in set(psutil.Process().children(recursive=True)) - before
                if "spawn_main" in " ".join(each.cmdline())
            ]
        time.sleep(10)
        began = {each: sum(each.cpu_times()[:2]) for of in spent.values() for each in of}
        time.sleep(seconds)
        return {
            name: max(sum(each.cpu_times()[:2]) - began[each] for each in of) / seconds * 100
            for name, of in spent.items()
        }


def _late(rounds: int) -> int:
    """How many of 100 requests to a worker are not on another one's page half a second later."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {
            "TMPDIR": folder,
            "TELEMETRY_WORKER_GROUP": "benchmark",
            "BENCHMARK_HISTOGRAMS": str(_BUSY_HISTOGRAMS),
        }
        one, other = (
            stack.enter_context(server("--factory", "benchmarks.workers:idle", **environment))
            for _ in range(2)
        )
        time.sleep(5)
        seen, asked, late = _asked(other), 0, 0
        for _ in range(rounds):
            for _ in range(100):
                urllib.request.urlopen(one + PATH, timeout=10).read()
            asked += 100
            time.sleep(0.5)
            late = max(late, int(seen + asked - _asked(other)))
    return late


def _asked(url: str) -> float:
    lines = _get(f"{url}/metrics").decode().splitlines()
    name = 'app_requests_total{method="GET",path="/items/{item_id}"'
    return sum(float(line.split()[1]) for line in lines if line.startswith(name))


def run(short: bool) -> Table:
    """The time of a scrape at 1, 2, 4 and 8 workers, all of which know all routes."""
    rounds = 5 if short else 20
    stock = _stock(rounds)
    table = Table(
        f"A scrape under several workers, {ROUTES} routes",
        ["workers", "ms", "after 100 requests, ms", "lines"],
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
            times: dict[bool, list[float]] = {False: [], True: []}
            lines = 0
            for turn in range(2 * rounds):
                asked = turn % 2 == 1
                for number in range(100 if asked else 0):
                    route = (turn * 100 + number) % ROUTES
                    urllib.request.urlopen(f"{url}/other{route}/x", timeout=10).read()
                # The cooldown after a page is not to be measured.
                time.sleep(0.6)
                began = time.perf_counter()
                lines = _get(f"{url}/metrics").count(b"\n")
                times[asked].append((time.perf_counter() - began) * 1000)
            medians.append(statistics.median(times[False] + times[True]))
            table.rows.append([str(count), *map(spread, times.values()), f"{lines:,}"])
    shares = _shares_of_a_core(5 if short else 30)
    idle = ", ".join(f"{name} {share:.2f} %" for name, share in shares.items())
    table.note += (
        f" With {table.rows[-1][0]} workers it is {medians[-1] / statistics.median(stock):.2f} "
        f"of that. What a worker with nothing to do uses of a core: {idle}. With "
        f"{_BUSY_HISTOGRAMS:,} histograms, {_late(2 if short else 10)} of 100 requests are not on "
        "another worker's page half a second later."
    )
    return table
