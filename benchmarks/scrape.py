"""A scrape of 10,000 lines: how long it takes, and how long anything else waits for it."""

import asyncio
import statistics
import time

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.types import Message

from benchmarks.progress import bar
from benchmarks.request import receive, scope, send
from benchmarks.table import Table, spread

_ROUTES = 500


def _prometheus_clients_own() -> CollectorRegistry:
    """The same series as prometheus_client's own metrics."""
    registry = CollectorRegistry()
    requests = Counter("app_requests", "requests", ["method", "path"], registry=registry)
    responses = Counter(
        "app_responses", "responses", ["method", "path", "status_code"], registry=registry
    )
    duration = Histogram(
        "app_requests_processing_time_seconds", "seconds", ["method", "path"], registry=registry
    )
    for number in range(_ROUTES):
        path = f"/other{number}/{{value}}"
        requests.labels("GET", path).inc()
        responses.labels("GET", path, "200").inc()
        duration.labels("GET", path).observe(0.001)
    return registry


async def _measure(rounds: int) -> tuple[int, list[float], list[float], list[float], list[float]]:
    import telemetry
    from benchmarks.peers import application

    app = application(_ROUTES)
    telemetry.instrument(app)
    for number in range(_ROUTES):
        await app({**scope(), "path": f"/other{number}/x"}, receive, send)
    body = b""

    async def scrape() -> float:
        nonlocal body

        async def keep(message: Message) -> None:
            nonlocal body
            body = message.get("body", b"")

        began = time.perf_counter()
        await app({**scope(), "path": "/metrics"}, receive, keep)
        return time.perf_counter() - began

    over = False
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
            await app({**scope(), "path": "/other0/x"}, receive, send)
            await asyncio.sleep(0)

    own = _prometheus_clients_own()
    times, others, loaded, worst = [], [], [], []
    for _ in range(rounds):
        # After a text comes a rest, which is not to be measured.
        await asyncio.sleep(0.5)
        times.append(await scrape())
        began = time.perf_counter()
        generate_latest(own)
        others.append(time.perf_counter() - began)
    for _ in bar(range(rounds), "scrape"):
        over, gaps = False, []
        tasks = [asyncio.create_task(tick()), asyncio.create_task(load())]
        await asyncio.sleep(0.5)
        gaps.clear()
        loaded.append(await scrape())
        over = True
        await asyncio.gather(*tasks)
        worst.append(max(gaps))
    return body.count(b"\n"), times, others, loaded, worst


def run(short: bool) -> Table:
    """The time of a scrape beside prometheus_client's own, and the longest gap in the loop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        lines, times, others, loaded, worst = runner.run(_measure(5 if short else 40))
    own = statistics.median(others)
    idle, busy = statistics.median(times) / own, statistics.median(loaded) / own
    table = Table(
        f"A scrape of {lines:,} lines",
        ["", "ms"],
        f"{idle:.2f} times what prometheus_client takes for metrics of its own, {busy:.2f} times "
        f"under load; the longest gap of all rounds was {max(worst) * 1000:.1f} ms.",
    )
    for name, seconds in (
        ("generate_latest over prometheus_client's own metrics", others),
        ("/metrics, event loop idle", times),
        ("/metrics, event loop busy with requests all the time", loaded),
        ("longest gap then, in a task that ticks each ms", worst),
    ):
        table.rows.append([name, spread([each * 1000 for each in seconds])])
    return table
