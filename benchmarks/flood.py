"""What a flood of scrapes does to the application's other requests."""

import subprocess
import time

from benchmarks.http import server, wrk
from benchmarks.peers import PATH, THIS
from benchmarks.progress import bar
from benchmarks.table import Table, spread

_SCRAPERS = 200


def run(short: bool) -> Table:
    """The latency of requests without and with 200 connections that scrape all the time."""
    seconds = 1 if short else 3
    quiet, flooded, ratios = [], [], []
    for _ in bar(range(1 if short else 10), "flood"):
        with server("--factory", "benchmarks.peers:served", BENCHMARK_PEER=THIS) as url:
            wrk(url + PATH, seconds, connections=4)
            _, before = wrk(url + PATH, seconds, connections=4)
            scrapers = subprocess.Popen(
                ["wrk", "-t1", f"-c{_SCRAPERS}", f"-d{seconds + 2}s", f"{url}/metrics"],
                stdout=subprocess.DEVNULL,
            )
            try:
                # The connections are there, and their first scrapes answered.
                time.sleep(1)
                _, after = wrk(url + PATH, seconds, connections=4)
            finally:
                scrapers.wait(60)
        quiet.append(before)
        flooded.append(after)
        ratios.append(after / before)
    table = Table(
        f"A flood of scrapes: {_SCRAPERS} connections, each scraping again once answered",
        ["", "99th percentile of other requests, ms"],
        f"{spread(ratios, 2)} times as long with it.",
    )
    table.rows.append(["without", spread(quiet, 2)])
    table.rows.append(["with", spread(flooded, 2)])
    return table
