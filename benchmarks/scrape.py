"""A scrape of 10,000 lines: how long it takes, and how long anything else waits for it."""

import asyncio
import gzip
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

import prometheus_client
from fastapi import FastAPI
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from starlette.types import Message

from benchmarks.progress import bar
from benchmarks.request import receive, scope, send
from benchmarks.table import Table, spread

ROUTES = 530
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


def measured() -> tuple[FastAPI, CollectorRegistry]:
    """An application with one provider that this project's reader and the stock one show."""
    import telemetry
    from benchmarks.peers import application

    registry = CollectorRegistry()
    stock = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
    app = application(ROUTES)
    telemetry.instrument(app, meter_provider=MeterProvider([stock], shutdown_on_exit=False))
    return app, registry


async def ask_all(app: FastAPI) -> None:
    """One request to each route."""
    for number in range(ROUTES):
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

    ours: dict[str, list[float]] = field(default_factory=dict)
    stock: dict[str, list[float]] = field(default_factory=dict)
    loaded: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
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


async def _measure(rounds: int) -> _Times:
    app, registry = measured()
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

    for _ in range(rounds):
        for name, (headers, generate) in _FORMATS.items():
            # The cooldown after a page is not to be measured.
            await asyncio.sleep(0.2)
            seconds, body = await scrape(app, headers)
            times.ours.setdefault(name, []).append(seconds)
            if name == "text":
                times.lines = body.count(b"\n")
                for library in ("zlib", "isal.isal_zlib"):
                    took = times.compression.setdefault(library, [])
                    took.append(_compress(body, library))
            began = time.perf_counter()
            generate(registry)
            times.stock.setdefault(name, []).append(time.perf_counter() - began)
    for _ in bar(range(rounds), "scrape"):
        over = False
        tasks = [asyncio.create_task(tick()), asyncio.create_task(load())]
        await asyncio.sleep(0.2)
        latencies.clear()
        await asyncio.sleep(0.5)
        times.quiet_p99.append(_p99(latencies))
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


def run(short: bool) -> Table:
    """The time of a scrape beside the stock reader's, and the longest gap in the loop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        times = runner.run(_measure(5 if short else 40))
    middle = {name: statistics.median(seconds) for name, seconds in times.ours.items()}
    busy = statistics.median(times.loaded) / middle["OpenMetrics"]
    p99 = statistics.median(
        after / before for before, after in zip(times.quiet_p99, times.scraped_p99, strict=True)
    )
    table = Table(
        f"A scrape of {times.lines:,} lines",
        ["", "this project, ms", "stock reader with prometheus_client, ms", "ratio"],
        f"With the event loop busy all the time a scrape takes {spread(_ms(times.loaded))} ms, "
        f"{busy:.1f} times as long as with an idle one; the longest gap in the loop is then "
        f"{spread(_ms(times.gaps))} ms, {max(times.gaps) * 1000:.1f} ms at worst. The 99th "
        f"percentile of other requests at one scrape a second is {p99:.2f} times what it is "
        "without. To compress a page, which is part of the last row, takes "
        f"{spread(_ms(times.compression['isal.isal_zlib']), 2)} ms with isal, and "
        f"{spread(_ms(times.compression['zlib']), 2)} ms without.",
    )
    for name, seconds in times.ours.items():
        ratio = middle[name] / statistics.median(times.stock[name])
        table.rows.append(
            [name, spread(_ms(seconds)), spread(_ms(times.stock[name])), f"{ratio:.3f}"]
        )
    return table


def _ms(seconds: list[float]) -> list[float]:
    return [each * 1000 for each in seconds]
