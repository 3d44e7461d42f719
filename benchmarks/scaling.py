"""What a real Prometheus needs that scrapes up to 1,000 replicas."""

import gzip
import json
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import psutil

from benchmarks.http import server
from benchmarks.page import get, replica, wait
from benchmarks.progress import bar
from benchmarks.replicas import INTERVAL, REQUESTS
from benchmarks.table import Table, spread

ROUTES, WORKERS = 40, 2
"""Those of a replica."""
_RULES = Path(__file__).parent.parent / "prometheus/rules/*.yml"


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
                    # Scrapes begin so long after its start.
                    "--scrape.discovery-reload-interval=1s",
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

            wait(ready, 60, "Prometheus is not ready")
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

        def up() -> bool:
            return prometheus.query("sum(up)") == count

        wait(up, 3 * interval + 30, f"not all of {count} replicas are up")
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
        # None may at the interval of the table; at one of a second, where only the size of samples
        # is asked for, others who use the machine can make a few fail.
        lost = prometheus.query(failed)
        if lost > (0 if interval == INTERVAL else 0.01 * count * scrapes):
            raise RuntimeError(
                f"{lost:.0f} of {count * scrapes} scrapes of {count} replicas failed"
            )
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
        with replica(ROUTES, WORKERS) as url:
            path.write_bytes(gzip.decompress(get(url)))
        with server("--factory", "benchmarks.replicas:served", BENCHMARK_PAGE=str(path)) as url:
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
        f"{REQUESTS} requests a second to each. The largest needs "
        f"{statistics.median(largest.memory) / largest.series / 1024:.1f} KiB of memory for each "
        f"series; its rules take {largest.rules * 1000:,.0f} ms. Disk is computed: "
        f"{full.chunks:.2f} bytes a sample, and {full.index:.0f} bytes a series for each block of "
        "two hours, as in a block of full chunks that Prometheus has written; its log needs "
        f"{full.log:.2f} bytes a sample for the last three hours. With full chunks, "
        f"{10 if short else 100} replicas need "
        f"{statistics.median(full.memory[-10:]) / 2**20:,.0f} MiB, and "
        f"{full.most / 2**20:,.0f} while a block is written."
    )
    return table
