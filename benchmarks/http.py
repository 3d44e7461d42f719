"""Throughput and latency over HTTP: one uvicorn worker, wrk with 32 connections."""

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peers import BARE, PATH, PEERS, THIS
from benchmarks.progress import bar
from benchmarks.table import Table, spread


@contextmanager
def server(*arguments: str, **environment: str) -> Iterator[str]:
    """The address of a uvicorn of its own, as soon as it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "error"),
            *("--port", str(port)),
            *arguments,
        ],
        env={**os.environ, **environment},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/openapi.json", timeout=1).read()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wrk(url: str, seconds: int) -> tuple[float, float]:
    """Requests a second and the 99th percentile of their latency in milliseconds."""
    command = ["wrk", "-t", "1", "-c", "32", "-d", f"{seconds}s", "--latency", url + PATH]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    if rate is None or late is None or "Non-2xx" in output:
        raise RuntimeError(output)
    return float(rate[1]), float(late[1]) * {"us": 0.001, "ms": 1, "s": 1000}[late[2]]


def run(short: bool) -> Table:
    """Each application's throughput, in turn, several times."""
    if shutil.which("wrk") is None:
        raise RuntimeError("wrk is not on the PATH; install it (Debian: apt install wrk)")
    rates: dict[str, list[float]] = {name: [] for name in (BARE, *PEERS)}
    lates: dict[str, list[float]] = {name: [] for name in rates}
    rounds = [name for _ in range(2 if short else 7) for name in rates]
    for name in bar(rounds, "HTTP"):
        factory = ("--factory", "benchmarks.peers:served")
        with server(*factory, BENCHMARK_PEER=name) as url:
            _wrk(url, 1)
            rate, late = _wrk(url, 1 if short else 5)
        rates[name].append(rate)
        lates[name].append(late)
    best, least = statistics.median(rates[BARE]), statistics.median(lates[BARE])
    table = Table(
        "Over HTTP, one worker, 32 connections",
        ["", "requests a second", "of the bare app's", "99th percentile, ms", "of the bare app's"],
        f"{THIS.capitalize()}: {_share(rates[THIS], best):.0%} of the throughput, "
        f"{_share(lates[THIS], least):.2f} times the 99th percentile.",
    )
    for name in rates:
        table.rows.append(
            [
                name,
                spread(rates[name], 0),
                f"{_share(rates[name], best):.0%}",
                spread(lates[name], 2),
                f"× {_share(lates[name], least):.2f}",
            ]
        )
    return table


def _share(values: list[float], whole: float) -> float:
    return statistics.median(values) / whole
