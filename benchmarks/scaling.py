"""What a replica's page holds, and what a Prometheus needs that scrapes up to 1,000 of them."""

import asyncio
import gc
import gzip
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate, product
from pathlib import Path
from threading import Thread

import psutil
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.http import server
from benchmarks.peers import PATH, application
from benchmarks.progress import bar
from benchmarks.request import receive, scope, send
from benchmarks.table import Table, spread

ROUTES, WORKERS = 40, 2
"""Those of a replica that Prometheus scrapes here."""
INTERVAL = 15.0
"""Seconds between two scrapes."""
_REQUESTS = 20 * INTERVAL
"""Requests to a replica between two scrapes."""
_RULES = Path(__file__).parent.parent / "prometheus/rules/*.yml"
_OPENMETRICS = "application/openmetrics-text;version=1.0.0"


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


def _compressed(url: str) -> bytes:
    headers = {"accept": _OPENMETRICS, "accept-encoding": "gzip"}
    request = urllib.request.Request(f"{url}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        body: bytes = answer.read()
    return body


@contextmanager
def _replica(routes: int, workers: int) -> Iterator[str]:
    """The address of a real replica, as soon as each worker's part is on its page."""
    with (
        tempfile.TemporaryDirectory() as folder,
        server(
            *("--factory", "benchmarks.scaling:served", "--workers", str(workers)),
            BENCHMARK_ROUTES=str(routes),
            TMPDIR=folder,
        ) as url,
    ):

        def whole() -> bool:
            text = gzip.decompress(_compressed(url)).decode()
            asked = re.findall(
                r'^app_requests_total\{.*path="/(?:other|items).* ([\d.]+)$', text, re.M
            )
            pauses = "app_gc_pause_seconds_count" in text
            return pauses and [float(each) for each in asked] == [workers] * routes

        _wait(whole, 60, "the page does not show all workers and routes")
        yield url


def _wait(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"{otherwise} within {seconds:.0f} s")
        time.sleep(0.2)


def page(short: bool) -> Table:
    """Series, bytes and time of a real replica's page, by its routes and workers."""
    counts = ((10, 2), (40, 2), (10, 3)) if short else (*product((10, 40, 200), (2, 4)),)
    # A process of its own shows prometheus_client's process_* and python_*, too.
    every = counts if short else (*product((10, 40, 200), (1,)), *counts)
    table = Table(
        "The page of one replica",
        ["routes, workers", "series", "_created lines", "bytes", "bytes, gzip", "ms of a scrape"],
        "",
    )
    series: dict[tuple[int, int], int] = {}
    for routes, workers in bar(every, "page"):
        with _replica(routes, workers) as url:
            times = []
            for _ in range(3 if short else 15):
                # The cooldown after a page is not to be measured.
                time.sleep(0.5)
                began = time.perf_counter()
                body = _compressed(url)
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
        f"{constant:g}. Prometheus stores the _created lines, too, unless it runs with "
        "created-timestamp-zero-ingestion."
    )
    return table


class _Line:
    """A line of the page, and how its number moves."""

    def __init__(self, text: str) -> None:
        self.text, _, self.value = text.rpartition(" ")
        self.name = re.split(r"[{ ]", text)[0]
        path = re.search(r'path="([^"]*)"', text)
        self.group = path[1] if path else re.sub("_(bucket|count|sum|total)$", "", self.name)
        self.kind = next(
            (
                kind
                for kind in ("created", "bucket", "count", "sum", "total")
                if self.name.endswith(f"_{kind}")
            ),
            "gauge",
        )


class _Moving:
    """One of many replicas: the page of a real one, whose numbers move with each scrape."""

    def __init__(self, page: list[_Line | str], number: int) -> None:
        self._random = random.Random(number)
        self._page = page
        self._values = [0.0 if isinstance(each, str) else float(each.value) for each in page]
        self._id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        lines = [each for each in page if isinstance(each, _Line)]
        self._buckets = Counter(each.group for each in lines if each.kind == "bucket")
        paths = [path for path in dict.fromkeys(each.group for each in lines) if path[0] == "/"]
        # As it is with most services: few routes get most of the requests (Zipf's law).
        harmonic = sum(1 / place for place in range(1, len(paths) + 1))
        self._events = {
            path: _REQUESTS / place / harmonic for place, path in enumerate(paths, start=1)
        }
        self._events["app_event_loop_delay_seconds"] = WORKERS * 25 * INTERVAL

    def _durations(self, group: str) -> tuple[int, list[int]]:
        """How many there were since the last scrape, and in how many each bucket grows."""
        mean = self._events.get(group, 3.0)
        count = max(0, round(self._random.gauss(mean, mean**0.5)))
        weights = [0.5 ** abs(place - 2) for place in range(self._buckets[group])]
        fallen = Counter(
            self._random.choices(range(len(weights)), weights, k=count) if weights else ()
        )
        return count, list(accumulate(fallen[place] for place in range(len(weights))))

    def next(self) -> bytes:
        """The page of the next scrape."""
        new: dict[str, tuple[int, Iterator[int]]] = {}
        shown = []
        for place, line in enumerate(self._page):
            if isinstance(line, str):
                shown.append(line)
                continue
            if line.group not in new:
                count, buckets = self._durations(line.group)
                new[line.group] = count, iter(buckets)
            count, fallen = new[line.group]
            if line.kind == "bucket":
                self._values[place] += next(fallen)
            elif line.kind in ("count", "total"):
                cpu = line.name == "process_cpu_time_seconds_total"
                self._values[place] += round(self._random.random(), 2) if cpu else count
            elif line.kind == "sum":
                self._values[place] += sum(self._random.expovariate(20) for _ in range(count))
            elif line.name == "app_memory_usage_bytes":
                self._values[place] += 4096 * self._random.choice(
                    (0, 0, self._random.randrange(-64, 65))
                )
            elif line.name in ("app_requests_in_progress", "app_server_connections"):
                self._values[place] = float(self._random.randrange(4))
            value = line.value if line.kind == "created" else repr(self._values[place])
            shown.append(f"{line.text} {value}")
        text = "\n".join([*shown, ""])
        return re.sub('(?<=service_instance_id=")[^"]*', self._id, text, count=1).encode()


def replicas() -> ASGIApp:
    """For uvicorn: /N/metrics is the page of replica N, made of that in ``BENCHMARK_PAGE``."""
    text = Path(os.environ["BENCHMARK_PAGE"]).read_text(encoding="utf-8")
    page = [each if each.startswith("#") else _Line(each) for each in text.splitlines()]
    known: dict[str, _Moving] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        number = scope["path"].split("/")[1]
        body = b""
        if number.isdecimal():
            if number not in known:
                known[number] = _Moving(page, int(number))
            body = gzip.compress(known[number].next(), 6)
        headers = [
            (b"content-type", f"{_OPENMETRICS}; charset=utf-8".encode()),
            (b"content-encoding", b"gzip"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


@dataclass
class _Prometheus:
    """A real Prometheus that runs, with its data in a folder."""

    url: str
    folder: Path
    process: psutil.Popen

    def own(self, name: str) -> float:
        """A metric of its own, all its series added up."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.M)
        return sum(map(float, found))

    def query(self, expression: str) -> float:
        """The one number that an instant query gives, 0 if there is none."""
        parameters = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{parameters}", timeout=60) as answer:
            result = json.load(answer)["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    def memory(self) -> int:
        """Its resident memory in bytes."""
        size: int = self.process.memory_info().rss
        return size

    def write_block(self) -> tuple[int, list[Path]]:
        """Write what it has in memory as blocks: its memory at most meanwhile, and the blocks."""
        address = f"{self.url}/api/v1/admin/tsdb/snapshot"
        asking = Thread(
            target=lambda: urllib.request.urlopen(address, data=b"", timeout=300).read()
        )
        asking.start()
        most = self.memory()
        while asking.is_alive():
            time.sleep(0.05)
            most = max(most, self.memory())
        blocks = [path.parent for path in (self.folder / "snapshots").rglob("meta.json")]
        if not blocks:
            raise RuntimeError("Prometheus has written no block")
        return most, blocks


@contextmanager
def _prometheus(address: str, count: int, interval: float) -> Iterator[_Prometheus]:
    """A Prometheus that scrapes so many replicas, as docker-compose.scale.yaml starts it."""
    executable = shutil.which("prometheus")
    if executable is None:
        raise RuntimeError("prometheus is not on the PATH; .ci/programs prints where it is")
    every = f"{interval * 1000:.0f}ms"
    targets = [
        {
            "targets": [address],
            "labels": {
                "instance": f"10.0.{number // 250}.{number % 250}:8000",
                "__metrics_path__": f"/{number}/metrics",
            },
        }
        for number in range(count)
    ]
    config = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [str(_RULES)],
        "scrape_configs": [{"job_name": "fastapi", "static_configs": targets}],
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
        with (folder / "log").open("wb") as log:
            process = psutil.Popen(
                [
                    executable,
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={listen}",
                    "--enable-feature=exemplar-storage,created-timestamp-zero-ingestion",
                    # To have a block before two hours are over.
                    "--web.enable-admin-api",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        running = _Prometheus(f"http://{listen}", folder / "data", process)
        try:

            def ready() -> bool:
                if process.poll() is not None:
                    raise RuntimeError((folder / "log").read_text(errors="replace"))
                try:
                    urllib.request.urlopen(f"{running.url}/-/ready", timeout=5).close()
                except OSError:
                    return False
                return True

            _wait(ready, 60, "Prometheus is not ready")
            yield running
        finally:
            process.terminate()
            process.wait()


@dataclass
class _Cost:
    """What so many replicas cost, while the numbers of a while were taken."""

    samples: float = 0.0
    series: float = 0.0
    cores: float = 0.0
    late: float = 0.0
    latest: float = 0.0
    rules: float = 0.0
    most: int = 0
    memory: list[int] = field(default_factory=list)
    chunks: float = 0.0
    """Bytes of the block's samples, for each sample."""
    index: float = 0.0
    """Bytes of the block's index, for each series."""
    log: float = 0.0
    """Bytes of the write-ahead log, for each sample."""


def _cost(address: str, count: int, interval: float, scrapes: int) -> _Cost:
    """Let Prometheus scrape each replica so often, and look at it meanwhile."""
    cost = _Cost()
    appended = "prometheus_tsdb_head_samples_appended_total"
    with _prometheus(address, count, interval) as prometheus:
        up = lambda: prometheus.query("sum(up)") == count  # noqa: E731
        _wait(up, 3 * interval + 30, f"not all of {count} replicas are up")
        # The first scrape makes the series, which costs more than all later ones.
        time.sleep(interval)
        began, before = time.monotonic(), prometheus.own(appended)
        processor = sum(prometheus.process.cpu_times()[:2])
        while (passed := time.monotonic() - began) < scrapes * interval:
            time.sleep(min(1.0, scrapes * interval - passed + 0.01))
            cost.memory.append(prometheus.memory())
        after = prometheus.own(appended)
        seconds = time.monotonic() - began
        cost.samples = (after - before) / seconds
        cost.cores = (sum(prometheus.process.cpu_times()[:2]) - processor) / seconds
        cost.series = prometheus.own("prometheus_tsdb_head_series")
        window = f"[{scrapes * interval * 1000:.0f}ms]"
        failed = f"sum(count_over_time(up{window}) - sum_over_time(up{window}))"
        if prometheus.query(failed) or not up():
            raise RuntimeError(f"scrapes of {count} replicas failed")
        cost.late = prometheus.query(
            f"quantile(0.5, avg_over_time(scrape_duration_seconds{window}))"
        )
        cost.latest = prometheus.query(f"max(max_over_time(scrape_duration_seconds{window}))")
        cost.rules = prometheus.own("prometheus_rule_group_last_duration_seconds")
        cost.log = _size(prometheus.folder / "wal") / prometheus.own(appended)
        cost.most, blocks = prometheus.write_block()
        stats = [json.loads((block / "meta.json").read_text())["stats"] for block in blocks]
        cost.chunks = sum(_size(block / "chunks") for block in blocks) / sum(
            each["numSamples"] for each in stats
        )
        cost.index = sum((block / "index").stat().st_size for block in blocks) / sum(
            each["numSeries"] for each in stats
        )
    return cost


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(short: bool) -> Table:
    """Samples, memory, processor time and disk of a real Prometheus, by the replicas."""
    counts, interval, scrapes = ((10,), 0.5, 4) if short else ((1, 10, 100, 1000), INTERVAL, 4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page"
        with _replica(ROUTES, WORKERS) as url:
            path.write_bytes(gzip.decompress(_compressed(url)))
        with server("--factory", "benchmarks.scaling:replicas", BENCHMARK_PAGE=str(path)) as url:
            address = url.removeprefix("http://")
            costs = {
                each: _cost(address, each, interval, scrapes) for each in bar(counts, "scaling")
            }
            # A chunk holds 120 samples, which are half an hour at 15 s.
            full = costs[10] if short else _cost(address, 100, 1.0, 130)
    table = Table(
        f"One Prometheus, replicas of {ROUTES} routes and {WORKERS} workers, every {interval:g} s",
        [
            "replicas",
            "samples a second",
            "series",
            "memory, MiB",
            "while a block is written, MiB",
            "cores",
            "ms of a scrape, median",
            "longest",
            "disk a day, GB",
        ],
        "",
    )
    for count, cost in costs.items():
        blocks = 86_400 * cost.samples * full.chunks + 12 * cost.series * full.index
        table.rows.append(
            [
                f"{count:,}",
                f"{cost.samples:,.0f}",
                f"{cost.series:,.0f}",
                spread([each / 2**20 for each in cost.memory], 0),
                f"{cost.most / 2**20:,.0f}",
                f"{cost.cores:.2f}",
                f"{cost.late * 1000:.1f}",
                f"{cost.latest * 1000:.0f}",
                f"{blocks / 1e9:.3f}",
            ]
        )
    largest = costs[max(costs)]
    table.note = (
        f"The largest needs {max(largest.memory) / largest.series / 1024:.1f} KiB of memory for each "
        f"series; its rules take {largest.rules * 1000:,.0f} ms. Disk is computed: "
        f"{full.chunks:.2f} bytes a sample and {full.index:.0f} bytes a series for each block of two "
        f"hours, as in a block of full chunks that Prometheus has written; its log needs "
        f"{full.log:.2f} bytes a sample for the last three hours. With full chunks, "
        f"{10 if short else 100} replicas need {statistics.median(full.memory[-10:]) / 2**20:,.0f} MiB, "
        f"and {full.most / 2**20:,.0f} while a block is written."
    )
    return table
