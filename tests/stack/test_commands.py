"""A reader follows README and tutorial from top to bottom, in both languages.

Each block is done in its order, in a copy of the repository and in an environment that was
empty, with a real Prometheus beside it. Where the document shows an output, it is compared.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.documents import Reader, blocks, empty_environment, pattern
from tests.support.processes import free_port
from tests.support.prometheus import prometheus

DOCUMENTS = ("README.md", "README.ko.md", "docs/tutorial.en.md", "docs/tutorial.ko.md")
DOCKER = "needs a Docker engine"
PUSH = "docker compose -f docker-compose.yaml -f docker-compose.push.yaml up"
SCALE = "docker compose -f docker-compose.yaml -f docker-compose.scale.yaml up --scale app=3"
TRACES = "docker compose -f docker-compose.yaml -f docker-compose.traces.yaml up"
HOST = "docker compose -f docker-compose.yaml -f docker-compose.host.yaml"
BY_URL = (
    "pip install 'fastapi-otel-metrics @ git+https://github.com/OWNER/fastapi-otel-metrics@v0.1.0'"
)
NOT_RUN = {
    "README": {
        "docker compose up": DOCKER,
        "docker compose exec app python -m app.load --duration 60": DOCKER,
        PUSH: DOCKER,
        TRACES: DOCKER,
        "OTEL_TRACES_EXPORTER=otlp OTEL_LOGS_EXPORTER=otlp uvicorn main:app": "needs a receiver",
        SCALE: DOCKER,
        BY_URL: ".ci/run does, from a repository of its own",
        "pip install .": "needs PowerShell",
        "pip install '.[test]' && pytest": ".ci/run does, as it would run itself",
    },
    "docs/tutorial": {
        f"{HOST} up": DOCKER,
        "# classic.py": "for comparison",
        PUSH: DOCKER,
    },
}

Environment = tuple[Path, Callable[[str, Path], None]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return empty_environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def reader(tmp_path: Path, environment: Environment) -> Iterator[Reader]:
    path, install = environment
    port = free_port()
    with prometheus(tmp_path, port) as url:
        reader = Reader(tmp_path, install, path, port, url)
        try:
            yield reader
        finally:
            reader.stop()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_written_works(reader: Reader, name: str) -> None:
    for block in blocks(name):
        if block.reason is None:
            reader.follow(block)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_not_run_is_known(name: str) -> None:
    not_run = {
        block.text.splitlines()[0]: block.reason
        for block in blocks(name)
        if block.reason is not None
    }
    assert not_run == NOT_RUN[name.split(".")[0]]


def test_an_output_is_compared_in_full() -> None:
    shown = "a 1\n...\nb ... 3\n"
    assert pattern(shown).fullmatch("a 1\nb 2 3\n")
    assert pattern(shown).fullmatch("a 1\nx\ny\nb 2 3\n")
    for other in ("a 2\nb 2 3\n", "a 1\nb 2 4\n", "a 1\nb 2 3\nc\n", "z\na 1\nb 2 3\n"):
        assert not pattern(shown).fullmatch(other)
