"""An application behind several worker processes of real servers."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

from tests.support.processes import ROOT, Service, script, service, wait_for
from tests.support.series import Series, total, values

APP = """
import os
import numpy
from fastapi import FastAPI
from opentelemetry import metrics
import telemetry

app = FastAPI()
telemetry.instrument(app)
meter = metrics.get_meter("foreign")
weights = meter.create_histogram("weight", unit="kg", explicit_bucket_boundaries_advisory=[5.0])
queue = meter.create_up_down_counter("queue.length")
# Values that are numbers without being int or float, in one worker an int and in another a float.
meter.create_observable_gauge("ready", callbacks=[lambda _: [metrics.Observation(True)]])
level = meter.create_gauge("level")
level.set(numpy.float32(0.5) if os.getpid() % 2 else numpy.int64(1))

@app.get("/health")
async def health() -> int:
    return os.getpid()

@app.get("/weigh/{weight}")
async def weigh(weight: int) -> int:
    weights.record(weight)
    queue.add(weight)
    return os.getpid()
"""
UVICORN = ("uvicorn", "--no-access-log", "--workers", "4")
GUNICORN = ("gunicorn", "-w", "4", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}")
GRANIAN = ("--interface", "asgi", "--workers", "4", "--host", "127.0.0.1", "--port", "{port}")
COMMANDS: dict[str, Sequence[str]] = {
    "uvicorn": UVICORN,
    "gunicorn": GUNICORN,
    "gunicorn --preload": (*GUNICORN, "--preload"),
    "hypercorn": ("hypercorn", "-w", "4", "-b", "127.0.0.1:{port}"),
    "hypercorn -k trio": ("hypercorn", "-k", "trio", "-w", "4", "-b", "127.0.0.1:{port}"),
    "granian": ("granian", *GRANIAN),
    "opentelemetry-instrument uvicorn": ("opentelemetry-instrument", *UVICORN),
    "opentelemetry-instrument gunicorn": ("opentelemetry-instrument", *GUNICORN),
}


@contextmanager
def workers(
    folder: Path,
    *options: str,
    command: Sequence[str] = UVICORN,
    code: str | None = None,
    **environment: str,
) -> Iterator[Service]:
    """The application above, or another one, with all that its workers share in `folder`."""
    (folder / "served.py").write_text(code or APP)
    (folder / "tmp").mkdir(exist_ok=True)
    program, *rest = command
    if program == "opentelemetry-instrument":
        rest[0] = script(rest[0])
    # The processes that a supervisor waits for, and those that come with it.
    full = (script(program), *rest, *options, "served:app")
    variables = {
        "PYTHONPATH": f"{ROOT}:{folder}",
        "TMPDIR": str(folder / "tmp"),
        **environment,
    }
    with service(folder, command=full, environment=variables, cwd=folder) as running:
        yield running


def all_up(app: Service, count: int = 4) -> set[int]:
    """The process ids of the workers, as soon as there are so many."""
    name = "app_memory_usage_bytes"

    def pids() -> set[int]:
        shown = values(app.series(), name)
        return {int(pid) for pid, kind, *_ in shown if kind == "rss"} if len(shown) > 2 else set()

    wait_for(lambda: len(pids()) == count, f"{count} workers are up")
    return pids()


def requests(app: Service | Series, path: str = "/health") -> float:
    series = app.series() if isinstance(app, Service) else app
    return total(series, "app_requests_total", path=path)


class Load:
    """Requests, one after the other, until the end of the block, and how many were answered."""

    def __init__(self, app: Service) -> None:
        self.answered = 0
        self._app = app
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        deadline = time.monotonic() + 60
        while not self._over.is_set() and time.monotonic() < deadline:
            with suppress(OSError, HTTPException):
                self._app.get("/health")
                self.answered += 1

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def spread(app: Service) -> int:
    """How many requests it took until three workers had answered one."""
    pids: set[str] = set()
    answered = 0

    def answer() -> bool:
        nonlocal answered
        pids.add(app.get("/health"))
        answered += 1
        return len(pids) >= 3

    wait_for(answer, "three workers have answered")
    return answered
