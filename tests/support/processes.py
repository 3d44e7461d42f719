"""Real programs for tests: found, started on free ports, waited for, and ended."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.series import Series, parse

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0


def program(name: str) -> str:
    """The path of a program; the test that needs it is skipped where it is missing."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f'{name} is not on the PATH: export PATH="$(.ci/programs):$PATH" gets it')
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """What the condition returns as soon as that is true; a lost connection is not yet."""
    deadline = time.monotonic() + patience
    while True:
        try:
            if result := condition():
                return result
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException):
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {patience} s")
        time.sleep(0.05)


def get(url: str, headers: Mapping[str, str] | None = None, timeout: float = 10) -> str:
    """The body of an answer, on a connection of its own."""
    request = urllib.request.Request(url, headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        body: bytes = answer.read()
    return body.decode()


def status(url: str, method: str = "GET") -> int:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            code: int = answer.status
            return code
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def answers(url: str) -> bool:
    try:
        get(url, timeout=2)
    except OSError:
        return False
    return True


class Process:
    """A program that runs, with all that it prints."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self.command = list(command)
        self._log = log
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                self.command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until_up(self, url: str) -> None:
        def up() -> bool:
            if self.popen.poll() is not None:
                raise AssertionError(f"{self.command[0]} ended:\n{self.log}")
            return answers(url)

        wait_for(up, f"{self.command[0]} answers at {url}")

    def stop(self, patience: float = PATIENCE) -> int:
        """End it by SIGTERM; what it started and left behind is killed. Its exit status."""
        self.popen.terminate()
        try:
            return self.popen.wait(patience)
        finally:
            self.kill()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(PATIENCE)


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    up: str,
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> Iterator[Process]:
    """A program, from when it answers at the address `up` to the end of the block."""
    process = Process(command, log, environment=environment, cwd=cwd)
    try:
        process.wait_until_up(up)
        yield process
    finally:
        process.kill()


def script(name: str) -> str:
    """A program of the environment that the tests run in."""
    return str(Path(sys.executable).with_name(name))


def run_module(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What ``python -m`` does with a module of the repository, until it ends."""
    return subprocess.run(
        [sys.executable, "-m", name, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )


class Service:
    """An application behind a real server."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> str:
        return get(self.url + path)

    def status(self, path: str, method: str = "GET") -> int:
        return status(self.url + path, method)

    def series(self) -> Series:
        """What a scrape shows, asked for again where the worker that took it was ending."""
        series: Series = wait_for(lambda: parse(self.get("/metrics")), "a scrape is answered")
        return series


@contextmanager
def service(
    folder: Path,
    *options: str,
    command: Sequence[str] = (sys.executable, "-m", "app", "--host", "127.0.0.1"),
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    port: int | None = None,
    up: str = "/openapi.json",
) -> Iterator[Service]:
    """The project's application, or the one that `command` starts, on this or on a free port.

    It answers at `up` when it has started. The port takes the place of ``{port}`` in the command,
    or is added as ``--port``.
    """
    port = port or free_port()
    full = [part.replace("{port}", str(port)) for part in command]
    if full == list(command):
        full += ["--port", str(port)]
    full += options
    log = folder / f"service-{port}.log"
    url = f"http://127.0.0.1:{port}{up}"
    with running(full, log, url, environment=environment, cwd=cwd) as process:
        yield Service(process, port)


def query(url: str, expression: str, at: float | None = None) -> dict[tuple[str, ...], float]:
    """An instant query's values by the values of their labels, in the order of their names."""
    parameters = {"query": expression} | ({} if at is None else {"time": f"{at:.3f}"})
    answer = json.loads(get(f"{url}/api/v1/query?{urllib.parse.urlencode(parameters)}"))
    assert answer["status"] == "success", answer
    return {
        tuple(
            value
            for name, value in sorted(each["metric"].items())
            if name not in ("__name__", "shown")
        ): float(each["value"][1])
        for each in answer["data"]["result"]
    }
