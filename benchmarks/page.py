"""What the page of a real replica holds, and how long a scrape of it takes."""

import asyncio
import gc
import gzip
import os
import re
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from threading import Thread

from fastapi import FastAPI

from benchmarks.http import server
from benchmarks.peers import PATH, application
from benchmarks.progress import bar
from benchmarks.request import receive, scope, send
from benchmarks.table import Table, spread

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def served() -> FastAPI:
    """For uvicorn: an instrumented application of ``BENCHMARK_ROUTES`` routes, all asked for."""
    import telemetry

    routes = int(os.environ["BENCHMARK_ROUTES"])
    app = application(routes - 1)
    telemetry.instrument(app)

    async def ask() -> None:
        for path in (PATH, *(f"/other{number}/x" for number in range(routes - 1))):
            await app({**scope(), "path": path}, receive, send)

    # uvicorn calls this within its event loop.
    asking = Thread(target=lambda: asyncio.run(ask()))
    asking.start()
    asking.join()
    # The histogram of its pauses appears with the first of them.
    gc.collect()
    return app


def get(url: str, accept: str = OPENMETRICS) -> bytes:
    """The page as Prometheus asks for it: in OpenMetrics if not in another form, compressed."""
    headers = {"accept": accept, "accept-encoding": "gzip"}
    request = urllib.request.Request(f"{url}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        body: bytes = answer.read()
    return body


def ask(url: str, routes: Iterable[int]) -> None:
    """One request to each of the routes, by whichever worker takes it."""
    for number in routes:
        with urllib.request.urlopen(f"{url}/other{number}/x", timeout=30) as answer:
            answer.read()


@contextmanager
def replica(routes: int, workers: int, **variables: str) -> Iterator[str]:
    """The address of a real replica, as soon as each worker's part is on its page."""
    with (
        tempfile.TemporaryDirectory() as folder,
        server(
            *("--factory", "benchmarks.page:served", "--workers", str(workers)),
            BENCHMARK_ROUTES=str(routes),
            TMPDIR=folder,
            **variables,
        ) as url,
    ):

        def whole() -> bool:
            text = gzip.decompress(get(url)).decode()
            asked = re.findall(
                r'^app_requests_total\{.*path="/(?:other|items).* ([\d.]+)$', text, re.M
            )
            # The event loop's delay is recorded once a second.
            late = ("app_gc_pause_seconds_count", "app_event_loop_delay_seconds_count")
            complete = all(name in text for name in late)
            return complete and [float(each) for each in asked] == [workers] * routes

        wait(whole, 60, "the page does not show all workers and routes")
        yield url


def wait(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Return once it is true, and raise what is otherwise if it is not within so many seconds."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"{otherwise} within {seconds:.0f} s")
        time.sleep(0.2)


def run(short: bool) -> Table:
    """Series, bytes and time of a real replica's page, by its routes and workers."""
    counts = ((10, 2), (40, 2), (10, 3)) if short else (*product((10, 40, 200), (2, 4)),)
    every = counts if short else (*product((10, 40, 200), (1,)), *counts)
    table = Table(
        "The page of one replica",
        [
            "routes, workers",
            "series",
            "_created lines",
            "bytes",
            "bytes, gzip",
            "ms of a scrape, a tenth changed",
        ],
        "",
    )
    series: dict[tuple[int, int], int] = {}
    for routes, workers in bar(every, "page"):
        with replica(routes, workers) as url:
            times = []
            for number in range(2 if short else 15):
                ask(url, range(number % 10, routes - 1, 10))
                # All workers have shared what they have measured.
                time.sleep(0.6)
                began = time.perf_counter()
                body = get(url)
                times.append((time.perf_counter() - began) * 1000)
        text = gzip.decompress(body)
        names = [re.split(rb"[{ ]", each)[0] for each in text.splitlines() if each[:1] != b"#"]
        created = sum(name.endswith(b"_created") for name in names)
        series[routes, workers] = len(names) - created
        numbers = (f"{each:,}" for each in (len(names) - created, created, len(text), len(body)))
        table.rows.append([f"{routes}, {workers}", *numbers, spread(times)])
    route = (series[40, 2] - series[10, 2]) / 30
    more = max(workers for _, workers in counts)
    worker = (series[10, more] - series[10, 2]) / (more - 2)
    constant = series[10, 2] - route * 10 - worker * 2
    for routes, workers in counts:
        if series[routes, workers] != route * routes + worker * workers + constant:
            raise RuntimeError(
                f"the series of {routes} routes and {workers} workers are on no line"
            )
    table.note = (
        f"Series of several workers: {route:g} for each route + {worker:g} for each worker + "
        f"{constant:g}. Before each scrape a tenth of the routes were asked. Prometheus stores the "
        "_created lines, too, unless it runs with created-timestamp-zero-ingestion."
    )
    return table
