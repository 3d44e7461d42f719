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
from contextlib import ExitStack, contextmanager

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


def wrk(url: str, seconds: int, connections: int = 32) -> tuple[float, float]:
    """Requests a second and the 99th percentile of their latency in milliseconds."""
    if shutil.which("wrk") is None:
        raise RuntimeError("wrk is not on the PATH; install it (Debian: apt install wrk)")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    if rate is None or late is None or "Non-2xx" in output:
        raise RuntimeError(output)
    return float(rate[1]), float(late[1]) * {"us": 0.001, "ms": 1, "s": 1000}[late[2]]


def run(short: bool) -> Table:
    """Each application's throughput beside the bare one's, in pairs."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in (BARE, *PEERS)}
    shares: dict[str, list[tuple[float, float]]] = {name: [] for name in PEERS}
    for number in bar(range(1 if short else 10), "HTTP"):
        # Anew each time, as one process is faster than another for as long as it lives.
        with ExitStack() as servers:
            urls = {
                name: servers.enter_context(
                    server("--factory", "benchmarks.peers:served", BENCHMARK_PEER=name)
                )
                for name in measured
            }
            for url in urls.values():
                wrk(url + PATH, 1)
            for place, name in enumerate(PEERS):
                # One right after the other, as the speed of a machine drifts.
                pair = (BARE, name) if (number + place) % 2 else (name, BARE)
                seen = {each: wrk(urls[each] + PATH, 1 if short else 2) for each in pair}
                for each in pair:
                    measured[each].append(seen[each])
                (rate, late), (best, least) = seen[name], seen[BARE]
                shares[name].append((rate / best, late / least))
    table = Table(
        "Over HTTP, one worker, 32 connections",
        ["", "requests a second", "of the bare app's", "99th percentile, ms", "of the bare app's"],
        f"{THIS.capitalize()}: {_middle(shares[THIS], 0):.0%} of the throughput, "
        f"{_middle(shares[THIS], 1):.2f} times the 99th percentile.",
    )
    for name in measured:
        rates, lates = zip(*measured[name], strict=True)
        row = [name, spread(rates, 0), "", spread(lates, 2), ""]
        if name != BARE:
            share, later = zip(*shares[name], strict=True)
            row[2] = f"{spread([100 * each for each in share], 0)} %"
            row[4] = f"× {spread(later, 2)}"
        table.rows.append(row)
    return table


def _middle(pairs: list[tuple[float, float]], which: int) -> float:
    return statistics.median(pair[which] for pair in pairs)
