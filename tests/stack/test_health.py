"""The image's health check, beside the app in namespaces like a container's."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Process, program, wait_for
from tests.support.series import parse, total

HANGS = """

@app.get("/hang")
async def hang() -> None:
    __import__("time").sleep(3600)
"""
NAMESPACES = ("--user", "--map-root-user", "--net", "--pid")

Run = Callable[..., subprocess.CompletedProcess[str]]


@contextmanager
def container(folder: Path, *command: str, hangs: bool = False) -> Iterator[tuple[Process, Run]]:
    """A copy of the app, a program below a PID 1 that passes signals on, and what runs beside it.

    It has port 8000 to itself.
    """
    shutil.copytree(ROOT / "app", folder / "app")
    if hangs:
        with (folder / "app/main.py").open("a") as file:
            file.write(HANGS)
    init = program("tini")
    unshare = [program("unshare"), *NAMESPACES, "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("network namespaces cannot be had here")
    start = [*unshare, "bash", "-c", f'ip link set lo up && exec {init} -- "$@"', "-", *command]
    process = Process(start, folder / "log", cwd=folder)
    pid = process.popen.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")

    def inside(*arguments: str) -> subprocess.CompletedProcess[str]:
        first = wait_for(lambda: children.read_text().split(), "PID 1 is there")[0]
        enter = ["nsenter", "--target", first, "--user", "--net", "--pid", "--mount"]
        return subprocess.run(
            [*enter, "--wd=" + str(folder), *arguments], capture_output=True, text=True, timeout=60
        )

    try:
        yield process, inside
    finally:
        process.kill()


def health(inside: Run) -> subprocess.CompletedProcess[str]:
    return inside("bash", "app/healthcheck.sh")


def test_an_app_that_answers_is_healthy_neither_counted_nor_logged(tmp_path: Path) -> None:
    with container(tmp_path, sys.executable, "-m", "app") as (process, inside):
        wait_for(lambda: health(inside).returncode == 0, "the app is healthy")
        inside("curl", "-s", "http://127.0.0.1:8000/health")
        shown = inside("curl", "-s", "http://127.0.0.1:8000/metrics").stdout
        assert total(parse(shown), "app_requests_total") == 1
        assert "/health " in process.log
        assert "/openapi.json" not in process.log


def test_no_app_is_unhealthy_at_once_and_nothing_is_ended(tmp_path: Path) -> None:
    with container(tmp_path, "sleep", "60") as (process, inside):
        time.sleep(0.5)
        began = time.monotonic()
        assert health(inside).returncode == 1
        assert time.monotonic() - began < 5
        time.sleep(1)
        assert process.popen.poll() is None


def test_an_app_that_hangs_is_ended_and_its_log_says_where(tmp_path: Path) -> None:
    with container(tmp_path, sys.executable, "-m", "app", hangs=True) as (process, inside):
        wait_for(lambda: health(inside).returncode == 0, "the app is healthy")
        inside("curl", "-s", "--max-time", "1", "http://127.0.0.1:8000/hang")
        result = health(inside)
        assert result.returncode == 1
        assert "no answer" in result.stdout
        assert process.popen.wait(10) != 0
        assert "in hang" in process.log
