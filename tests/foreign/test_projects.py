"""Another project's tests with its applications measured: all pass, each request is counted."""

import os
import re
from pathlib import Path

from tests.foreign.environment import environment, run, sdist
from tests.support.processes import ROOT

NAME, VERSION = "fastapi-users", "15.0.5"
NEEDS = ("pytest", "pytest-asyncio", "pytest-mock", "asgi-lifespan", "httpx", "httpx2")
TESTS = [f"tests/test_router_{each}.py" for each in ("auth", "oauth", "register", "users", "reset")]


def test_fastapi_users(tmp_path: Path) -> None:
    python = environment(tmp_path / "venv", f"{NAME}[oauth]=={VERSION}", *NEEDS)
    project = sdist(python, tmp_path, NAME, VERSION)
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    alone = run(command, project).stdout
    plugin = {**os.environ, "PYTHONPATH": str(ROOT / "tests/foreign")}
    measured = run([*command, "-p", "counted"], project, plugin).stdout
    passed = re.findall(r"^(\d+) passed in", alone, re.MULTILINE)
    assert re.findall(r"^(\d+) passed in", measured, re.MULTILINE) == passed
    ((sent, shown),) = re.findall(r"^sent (\d+), shown (\d+)$", measured, re.MULTILINE)
    assert sent == shown
    assert int(sent) > 200
