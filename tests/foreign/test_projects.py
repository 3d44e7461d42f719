"""Other projects' tests with their applications measured: all pass, each request is counted."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.foreign.environment import environment, run, sdist
from tests.support.processes import ROOT


class Project(NamedTuple):
    """A project on the package index, and which of its tests are run."""

    name: str
    version: str
    tests: str
    options: tuple[str, ...]
    requests: int
    """How many requests its tests send at least."""


USERS = Project("fastapi-users", "15.0.5", "router_(auth|oauth|register|users|reset)", (), 200)
# Two tests look for their own route at the end of the application's, where that of the metrics is.
LAST_ROUTE = "included_starlette_mount_keeps or included_starlette_host_keeps"
# The same with asyncio waits three seconds for each as well.
WAITS = "(stream_cancellation and trio)"
# What concerns a middleware: dependencies and their ends, errors, frontends, routers and mounts,
# responses, streams, clients that leave, WebSockets. Of the rest most asks what is validated.
FASTAPI = Project(
    "fastapi",
    "0.165.0",
    "(custom|dep|exc|frontend|http|include|re|ro|sse|starlette|stream|wrapped|ws)",
    ("-p", "no:asyncio", "-k", f"not ({LAST_ROUTE} or {WAITS})"),
    800,
)
PACKAGES = (
    f"{USERS.name}[oauth]=={USERS.version}",
    f"{FASTAPI.name}[all]=={FASTAPI.version}",
    *("pytest", "pytest-asyncio", "pytest-mock", "pytest-timeout", "pytest-xdist"),
    *("asgi-lifespan", "dirty-equals", "httpx", "httpx2", "inline-snapshot", "trio"),
)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("projects") / "venv", *PACKAGES)


@pytest.mark.parametrize("project", [USERS, FASTAPI], ids=lambda project: project.name)
def test_projects(tmp_path: Path, python: Path, project: Project) -> None:
    folder = sdist(python, tmp_path, project.name, project.version)
    files = sorted((folder / "tests").glob("test_*.py"))
    tests = [str(file) for file in files if re.match(f"test_{project.tests}", file.name)]
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *project.options]
    alone = run([*command, *tests], folder).stdout
    plugin = {**os.environ, "PYTHONPATH": str(ROOT / "tests/foreign")}
    measured = run([*command, "-p", "counted", *tests], folder, plugin).stdout
    passed = re.findall(r"^(\d+ passed.*) in ", alone, re.MULTILINE)
    assert len(passed) == 1
    assert re.findall(r"^(\d+ passed.*) in ", measured, re.MULTILINE) == passed
    counts = dict(re.findall(r"^(sent|shown|in all) (.+)$", measured, re.MULTILINE))
    assert counts["sent"] == counts["shown"]
    assert int(counts["in all"]) > project.requests
    print(passed[0], counts)
