"""A scrape of 10,000 and 44,000 lines: how long it takes, and how long anything else waits."""

import asyncio
import gzip
import http.client
import statistics
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from threading import Thread

import prometheus_client
from fastapi import FastAPI
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import View
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from starlette.types import Message

from benchmarks.http import server, wrk
from benchmarks.peers import PATH
from benchmarks.progress import bar
from benchmarks.request import receive, scope, send
from benchmarks.table import Table, spread

ROUTES = 530
MANY_ROUTES = 2_315
_CHANGED = (0.1, 1.0)
OPENMETRICS = (b"accept", b"application/openmetrics-text;version=1.0.0")
_GZIP = (b"accept-encoding", b"gzip")
_FORMATS: dict[str, tuple[list[tuple[bytes, bytes]], Callable[[CollectorRegistry], bytes]]] = {
    "text": ([], prometheus_client.generate_latest),
    "OpenMetrics": ([OPENMETRICS], generate_openmetrics),
    "OpenMetrics, gzip": (
        [OPENMETRICS, _GZIP],
        lambda it: gzip.compress(generate_openmetrics(it)),  # type: ignore[no-untyped-call]
    ),
}


def measured(routes: int = ROUTES) -> tuple[FastAPI, CollectorRegistry]:
    """An application with one provider that this project's reader and the stock one show."""
    import telemetry
    from benchmarks.peers import application

    registry = CollectorRegistry()
    stock = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
    views = [View(instrument_name="*", aggregation_cardinality_limit=2 * MANY_ROUTES)]
    provider = MeterProvider([stock], views=views, shutdown_on_exit=False)
    app = application(routes)
    telemetry.instrument(app, meter_provider=provider)
    return app, registry


async def ask_all(app: FastAPI, routes: Iterable[int] = range(ROUTES)) -> None:
    """One request to each of the routes."""
    for number in routes:
        await app({**scope(), "path": f"/other{number}/x"}, receive, send)


async def scrape(app: FastAPI, headers: list[tuple[bytes, bytes]]) -> tuple[float, bytes]:
    """The seconds that a scrape takes, and what it gets."""
    body = b""

    async def keep(message: Message) -> None:
        nonlocal body
        body += message.get("body", b"")

    began = time.perf_counter()
    await app({**scope(), "path": "/metrics", "headers": headers}, receive, keep)
    return time.perf_counter() - began, body


@dataclass
class _Times:
    """Seconds, a number each round."""

    ours: dict[tuple[str, float], list[float]] = field(default_factory=dict)
    stock: dict[tuple[str, float], list[float]] = field(default_factory=dict)
    idle: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    quiet_gaps: list[float] = field(default_factory=list)
    quiet_p99: list[float] = field(default_factory=list)
    scraped_p99: list[float] = field(default_factory=list)
    compression: dict[str, list[float]] = field(default_factory=dict)
    lines: int = 0


def _compress(page: bytes, library: str) -> float:
    """The seconds that a library takes to compress a page, which `telemetry` does by either."""
    began = time.perf_counter()
    compressor = import_module(library).compressobj(level=1, wbits=31)
    compressor.compress(page)
    compressor.flush()
    return time.perf_counter() - began


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


async def _measure_pages(routes: int, rounds: int) -> _Times:
    """Pages after a tenth of the routes, and after all of them, have been asked."""
    app, registry = measured(routes)
    await ask_all(app, range(routes))
    times = _Times()
    for name, (headers, generate) in _FORMATS.items():
        for share in _CHANGED:
            await scrape(app, headers)
            for number in range(rounds):
                step = round(1 / share)
                await ask_all(app, range(number % step, routes, step))
                # What requests have left to the next collection is part of this project's page.
                # Who scrapes now and then does not wait.
                await asyncio.sleep(0.3)
                seconds, body = await scrape(app, headers)
                times.ours.setdefault((name, share), []).append(seconds)
                if name == "text":
                    times.lines = body.count(b"\n")
                    for library in ("zlib", "isal.isal_zlib"):
                        took = times.compression.setdefault(library, [])
                        took.append(_compress(body, library))
                began = time.perf_counter()
                generate(registry)
                times.stock.setdefault((name, share), []).append(time.perf_counter() - began)
    return times


async def _measure_loop(rounds: int) -> _Times:
    """Pages beside an event loop that never idles, and beside one that does."""
    app, _ = measured()
    await ask_all(app)
    times = _Times()
    over = False
    latencies: list[float] = []
    gaps: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while not over:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    async def load() -> None:
        while not over:
            began = time.perf_counter()
            await app({**scope(), "path": "/other0/x"}, receive, send)
            latencies.append(time.perf_counter() - began)
            await asyncio.sleep(0)

    for number in bar(range(rounds), "scrape"):
        over = False
        await ask_all(app, range(number % 10, ROUTES, 10))
        times.idle.append((await scrape(app, [OPENMETRICS]))[0])
        tasks = [asyncio.create_task(tick()), asyncio.create_task(load())]
        await asyncio.sleep(0.2)
        latencies.clear()
        gaps.clear()
        await asyncio.sleep(0.5)
        times.quiet_p99.append(_p99(latencies))
        times.quiet_gaps.append(max(gaps))
        await ask_all(app, range(number % 10, ROUTES, 10))
        await asyncio.sleep(0.05)
        latencies.clear()
        gaps.clear()
        # A scrape a second is fifteen times as many as Prometheus makes.
        began = time.perf_counter()
        times.loaded.append((await scrape(app, [OPENMETRICS]))[0])
        times.gaps.append(max(gaps, default=0.0))
        await asyncio.sleep(max(0.0, began + 1 - time.perf_counter()))
        times.scraped_p99.append(_p99(latencies))
        over = True
        await asyncio.gather(*tasks)
    return times


def _measure_http(rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of a scrape over HTTP while nothing else is asked, and under wrk."""
    idle, loaded = [], []
    with server("--factory", "benchmarks.page:served", BENCHMARK_ROUTES=str(ROUTES)) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        connection = http.client.HTTPConnection(host, int(port))

        def scrape_once() -> float:
            began = time.perf_counter()
            connection.request("GET", "/metrics", headers={"accept": OPENMETRICS[1].decode()})
            connection.getresponse().read()
            return (time.perf_counter() - began) * 1000

        scrape_once()
        for _ in range(rounds):
            time.sleep(0.3)
            idle.append(scrape_once())
            load = Thread(target=wrk, args=(url + PATH, 2))
            load.start()
            time.sleep(1)
            loaded.append(scrape_once())
            load.join()
    return idle, loaded


def run(short: bool) -> Table:
    """The time of a scrape beside the stock reader's, and what the event loop feels of it."""
    import uvloop

    def measure(pages: Coroutine[None, None, _Times]) -> _Times:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(pages)

    sizes = [measure(_measure_pages(ROUTES, 3 if short else 20))]
    if not short:
        sizes.append(measure(_measure_pages(MANY_ROUTES, 5)))
    loop = measure(_measure_loop(3 if short else 30))
    idle, loaded = _measure_http(1 if short else 15)
    p99 = statistics.median(
        after / before for before, after in zip(loop.quiet_p99, loop.scraped_p99, strict=True)
    )
    compression = sizes[0].compression
    table = Table(
        "A scrape",
        ["lines", "", "changed", "this project, ms", "stock reader, ms", "ratio"],
        "The stock reader is with prometheus_client; changed is the share of the routes that were "
        "asked since the page before. In OpenMetrics, with a tenth of them changed and an event "
        f"loop that never idles, a scrape takes {spread(_ms(loop.loaded))} ms, with an idle one "
        f"{spread(_ms(loop.idle))}; the longest gap in the loop is then {spread(_ms(loop.gaps))} "
        f"ms ({max(loop.gaps) * 1000:.1f} at worst), and {spread(_ms(loop.quiet_gaps))} without "
        f"({max(loop.quiet_gaps) * 1000:.1f}). The 99th percentile of other requests at one scrape "
        f"a second is {p99:.2f} times what it is without. Over HTTP a scrape takes {spread(idle)} "
        f"ms, and {spread(loaded)} with 32 connections under wrk, which wait for "
        "each other. To compress a page takes "
        f"{spread(_ms(compression['isal.isal_zlib']), 2)} ms with isal, and "
        f"{spread(_ms(compression['zlib']), 2)} ms without.",
    )
    for times in sizes:
        for (name, share), ours in times.ours.items():
            stock = times.stock[name, share]
            ratio = statistics.median(ours) / statistics.median(stock)
            row = [f"{times.lines:,}", name, f"{share:.0%}", spread(_ms(ours)), spread(_ms(stock))]
            table.rows.append([*row, f"{ratio:.3f}"])
    return table


def _ms(seconds: list[float]) -> list[float]:
    return [each * 1000 for each in seconds]
