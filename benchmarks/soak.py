"""Mixed load for a long time, watched from outside: ``python -m benchmarks.soak``.

Two services run side by side: one of two workers that are replaced all along, and one of a
single process that is not. Each is sent requests and scraped every second. At the end the
numbers that they show must be those that were answered, and memory, file descriptors and
threads of the single process must be what they were after it had warmed up.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from tqdm import tqdm

from benchmarks.http import server

_PATHS = ("/", "/health", "/increase_count", "/nope", "/also/{}", "/docs?{}")
_COUNTED = ("/", "/health", "/increase_count", "/nope", "/also/{}")
_RECYCLE = ("--workers", "2", "--limit-max-requests", "2000")


def served() -> FastAPI:
    """For uvicorn: the tutorial's application."""
    from app.main import app

    return app


@dataclass
class Watched:
    """One service under load, and what was seen of it."""

    url: str
    answered: int = 0
    failed: int = 0
    went_back: int = 0
    scrapes: int = 0
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self, until: float) -> None:
        """Ask for one thing after the other."""
        numbers = random.Random(threading.get_ident())
        while time.monotonic() < until:
            path = numbers.choice(_PATHS)
            try:
                urllib.request.urlopen(self.url + path.format(numbers.random()), timeout=10).read()
            except urllib.error.HTTPError as error:
                error.close()
            except OSError:
                with self._lock:
                    self.failed += 1
                continue
            if path in _COUNTED:
                with self._lock:
                    self.answered += 1

    def scrape(self, until: float, process: psutil.Process | None) -> None:
        """Look every second."""
        last = 0.0
        while time.monotonic() < until:
            try:
                shown = self.shown()
            except OSError:
                shown = last
            self.scrapes += 1
            self.went_back += shown < last
            last = shown
            if process is not None:
                self.memory.append(process.memory_info().rss)
                self.descriptors.append(process.num_fds())
                self.threads.append(process.num_threads())
            time.sleep(1)

    def shown(self) -> float:
        """All requests that the service shows."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "app_requests_total"
        )


def _child_of(url: str) -> psutil.Process:
    port = int(url.rpartition(":")[2])
    for child in psutil.Process().children():
        if str(port) in child.cmdline():
            return child
    raise RuntimeError(f"no process serves {url}")


def _flat(name: str, values: list[int], allowed: float) -> list[str]:
    quarter = max(1, len(values) // 4)
    warm, last = (
        statistics.median(values[quarter : 2 * quarter]),
        statistics.median(values[-quarter:]),
    )
    print(f"  {name}: {warm:,.0f} after warming up, {last:,.0f} at the end")
    return [f"{name} grew from {warm:,.0f} to {last:,.0f}"] if last > warm + allowed else []


def main() -> int:
    """Run the soak; the exit status is 1 if something was not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="how long (%(default)s)")
    options = parser.parse_args()
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        factory = ("--factory", "benchmarks.soak:served")
        with (
            server(*factory, *_RECYCLE, TMPDIR=folder) as recycled_url,
            server(*factory, TMPDIR=folder) as single_url,
        ):
            time.sleep(3)
            recycled, single = Watched(recycled_url), Watched(single_url)
            base = {each.url: each.shown() for each in (recycled, single)}
            until = time.monotonic() + options.seconds
            threads = [
                threading.Thread(target=watched.load, args=(until,))
                for watched in (recycled, recycled, single)
            ]
            for watched, process in ((recycled, None), (single, _child_of(single_url))):
                threads.append(threading.Thread(target=watched.scrape, args=(until, process)))
            for thread in threads:
                thread.start()
            for _ in tqdm(range(options.seconds), desc="soak", unit="s", leave=False):
                time.sleep(1)
            for thread in threads:
                thread.join()
            time.sleep(2)
            for name, watched in (("recycled workers", recycled), ("one process", single)):
                counted = watched.shown() - base[watched.url]
                print(
                    f"{name}: {watched.answered:,} answered, {counted:,.0f} shown, "
                    f"{watched.failed} connections refused or reset, {watched.scrapes} scrapes"
                )
                # A connection that is reset may have been counted before it was.
                if not watched.answered <= counted <= watched.answered + watched.failed:
                    problems.append(f"{name}: {counted:,.0f} shown of {watched.answered:,}")
                if watched.went_back:
                    problems.append(f"{name}: went back {watched.went_back} times")
            problems += _flat("resident bytes", single.memory, 2 * 1024 * 1024)
            problems += _flat("file descriptors", single.descriptors, 4)
            problems += _flat("threads", single.threads, 3)
            files = sum(1 for path in Path(folder).rglob("*") if path.is_file())
            print(f"  files of the recycled workers: {files}")
            if files > 16:
                problems.append(f"{files} files are left")
    for problem in problems:
        print(f"PROBLEM {problem}", file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
