"""A checker that scrapes each worker without a pause while things go wrong."""

import http.client
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.processes import Service, wait_for
from tests.support.series import Series, parse, total
from tests.support.workers import all_up

APP = """
import os, time
from fastapi import FastAPI
import telemetry

app = FastAPI()
telemetry.instrument(app)

@app.get("/health")
async def health() -> int:
    return os.getpid()

@app.get("/fault")
async def fault() -> None:
    pass

@app.get("/clock")
async def clock() -> None:
    for name, back in (("time", 3600), ("time_ns", 3600 * 10**9)):
        now = getattr(time, name)
        setattr(time, name, lambda now=now, back=back: now() - back)

@app.get("/disk/{seconds}")
async def disk(seconds: float) -> None:
    replace = os.replace
    def slow(*names: str) -> None:
        time.sleep(seconds)
        replace(*names)
    os.replace = slow
"""


def counters(series: Series) -> Series:
    ends = ("_total", "_bucket", "_count", "_sum")
    # A gauge, by the name that the semantic conventions have for it.
    gauge = "process_unix_file_descriptor_count"
    return {each: series[each] for each in series if each[0].endswith(ends) and each[0] != gauge}


class Connection:
    """A connection that is kept, and so leads to one worker."""

    def __init__(self, app: Service) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=15)
        self.pid = int(self.get("/health")[1])

    def get(self, path: str) -> tuple[int, str]:
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode()

    def close(self) -> None:
        self._connection.close()


class Checker:
    """Scrapes each worker all along, sends requests, and notes what went back.

    A scrape must show no less than any scrape, of whichever worker, had shown when it began.

    Attributes:
        answered: How many requests were answered.
        cut_off: How many were not, which were counted or not.
        decreases: What has been less than before, with both values.
        scrapes: How many were answered with the metrics, and how many with 503.
    """

    def __init__(self, app: Service, count: int) -> None:
        self.app = app
        self.count = count
        self.answered = 0
        self.cut_off = 0
        self.decreases: list[object] = []
        self.scrapes = {200: 0, 503: 0}
        self.load = threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._floor: Series = {}
        self._scraped: set[int] = set()
        self._threads = [threading.Thread(target=self._send)]
        self._threads += [threading.Thread(target=self._scrape) for _ in range(count)]

    def __enter__(self) -> "Checker":
        self.load.set()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.load.set()
        for thread in self._threads:
            thread.join()

    def quiet(self) -> None:
        """No more requests, and all that was answered is published."""
        self.load.clear()
        time.sleep(1.5)

    def is_exact(self) -> None:
        """Each worker shows all that was answered."""
        self.quiet()
        for _ in range(3 * self.count):
            shown = self.shown()
            assert self.answered <= shown <= self.answered + self.cut_off, self.answered
        self.load.set()

    def shown(self) -> float:
        return total(self.app.series(), "app_requests_total", path="/fault")

    def _send(self) -> None:
        while not self._over.is_set():
            self.load.wait()
            with suppress(OSError, http.client.HTTPException):
                connection = Connection(self.app)
                for _ in range(20):
                    self.cut_off += 1
                    assert connection.get("/fault")[0] == 200
                    self.answered += 1
                    self.cut_off -= 1
                    time.sleep(0.005)
                connection.close()

    def _scrape(self) -> None:
        while not self._over.is_set():
            with suppress(OSError, http.client.HTTPException):
                connection = Connection(self.app)
                with self._lock:
                    if connection.pid in self._scraped:
                        connection.close()
                        continue
                    self._scraped.add(connection.pid)
                try:
                    while not self._over.is_set():
                        self._check(connection)
                finally:
                    self._scraped.discard(connection.pid)
                    connection.close()

    def _check(self, connection: Connection) -> None:
        with self._lock:
            floor = dict(self._floor)
        status, page = connection.get("/metrics")
        self.scrapes[status] += 1
        if status != 200:
            time.sleep(0.1)
            return
        shown = counters(parse(page))
        with self._lock:
            for each, value in floor.items():
                if shown.get(each, 0) < value:
                    self.decreases.append((connection.pid, each, value, shown.get(each)))
            for each, value in shown.items():
                self._floor[each] = max(value, self._floor.get(each, 0))


class Faults:
    """What goes wrong, each with its end; the numbers of each worker stay right.

    Parameters:
        checker: Watches meanwhile.
        folder: The workers' folder for temporary files.
    """

    def __init__(self, checker: Checker, folder: Path) -> None:
        self._checker = checker
        self._app = checker.app
        self._folder = folder
        self.kinds: dict[str, Callable[[], None]] = {
            "kill": lambda: self._end(signal.SIGKILL),
            "terminate": lambda: self._end(signal.SIGTERM),
            "stop": self._stop,
            "stop in the lock": self._stop_in_lock,
            "folder deleted": self._delete,
            "rubbish": self._spoil,
            "disk full": self._fill,
            "slow disk": lambda: self._ask_all("/disk/0.3"),
            "clock": lambda: self._ask_all("/clock"),
        }

    def _group(self) -> Path:
        (found,) = self._folder.glob("fastapi-otel-metrics-*/*")
        return found

    def _one(self) -> int:
        return random.choice(sorted(all_up(self._app, self._checker.count)))

    def _end(self, how: signal.Signals) -> None:
        pid = self._one()
        if how is signal.SIGKILL:
            # A worker that is killed loses what it has measured since it last published.
            self._checker.quiet()
        os.kill(pid, how)
        wait_for(lambda: pid not in all_up(self._app, self._checker.count), "it is replaced")
        self._checker.load.set()

    def _stop(self) -> None:
        pid = self._one()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(2)
        os.kill(pid, signal.SIGCONT)

    def _stop_in_lock(self) -> None:
        command = ["flock", "--exclusive", str(self._group() / "lock"), "sleep", "3"]
        with subprocess.Popen(command):
            time.sleep(0.5)
            self._end(signal.SIGKILL)

    def _delete(self) -> None:
        group = self._group()
        shutil.rmtree(group.rename(self._folder / f"deleted-{time.time_ns()}"))
        time.sleep(2)

    def _spoil(self) -> None:
        for path in self._group().glob("*.json"):
            with suppress(FileNotFoundError):
                path.write_bytes(random.randbytes(500))
        time.sleep(2)

    def _fill(self) -> None:
        with full(self._folder):
            time.sleep(1)
            pid = self._one()
            self._checker.quiet()
            # Nothing is published meanwhile, and so this one loses nothing that was not.
            os.kill(pid, signal.SIGSTOP)
            time.sleep(1)
            os.kill(pid, signal.SIGCONT)
            self._checker.load.set()
            time.sleep(1)

    def _ask_all(self, path: str) -> None:
        asked: set[int] = set()

        def all_asked() -> bool:
            connection = Connection(self._app)
            if connection.pid not in asked:
                connection.get(path)
                asked.add(connection.pid)
            connection.close()
            return len(asked) == self._checker.count

        wait_for(all_asked, "all workers are asked")
        time.sleep(2)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """The file system of a folder has no space left meanwhile."""
    path = folder / "fill"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of a megabyte in the place of a folder; the test is skipped without root."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        # So that no other disk is filled.
        pytest.skip("mounting a small disk needs root, as network namespaces do")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
