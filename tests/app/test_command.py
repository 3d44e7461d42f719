"""python -m app, as it is typed."""

import socket
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes import run_module, service
from tests.support.series import total

run = partial(run_module, "app")


def test_help_names_the_options() -> None:
    result = run("--help")
    assert result.returncode == 0
    for option in ("--host", "--port", "--workers", "--reload"):
        assert option in result.stdout


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("--host", "127.0.0.1", "--port", str(port))
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert f"port {port}" in line
    assert "--port" in line


@pytest.mark.parametrize(
    "arguments", [("--port", "99999"), ("--port", "x"), ("--host", "nobody.invalid"), ("--bogus",)]
)
def test_what_cannot_be_is_said_without_a_traceback(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode != 0
    assert arguments[-1].lstrip("-") in result.stderr
    assert "Traceback" not in result.stderr


def test_what_it_does_not_know_goes_to_uvicorn(tmp_path: Path) -> None:
    with service(tmp_path, "--root-path", "/api", "--no-access-log") as app:
        assert app.status("/") == 200
        assert "GET / HTTP" not in app.process.log


def test_uvicorn_itself_works_as_well(tmp_path: Path) -> None:
    with service(tmp_path, command=(sys.executable, "-m", "uvicorn", "app.main:app")) as app:
        app.get("/")
        assert total(app.series(), "app_requests_total") >= 1


def test_reload(tmp_path: Path) -> None:
    with service(tmp_path, "--reload") as app:
        app.get("/")
        assert "reloader process" in app.process.log
        assert app.process.stop() in (0, -15)
