"""A reader follows README and tutorial from top to bottom, in both languages.

Each block is done in its order, in a copy of the repository and in an environment that was
empty, with a real Prometheus beside it. Where the document shows an output, it is compared.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.documents import Reader, blocks, empty_environment, pattern
from tests.support.processes import ROOT, free_port
from tests.support.prometheus import prometheus

WITHOUT_DOCKER = "prometheus/local.yml"
DOCUMENTS = {
    "README.md": "prometheus/prometheus.yml",
    "README.ko.md": "prometheus/prometheus.yml",
    "docs/tutorial.en.md": "prometheus/prometheus.yml",
    "docs/tutorial.ko.md": WITHOUT_DOCKER,
    "docs/settings.en.md": WITHOUT_DOCKER,
    "docs/settings.ko.md": WITHOUT_DOCKER,
    "docs/production.en.md": WITHOUT_DOCKER,
    "docs/production.ko.md": WITHOUT_DOCKER,
}
"""Each document, and the configuration of the Prometheus beside its reader."""
DOCKER = "needs a Docker engine"
PUSH = "docker compose -f docker-compose.yaml -f docker-compose.push.yaml up"
SCALE = "docker compose -f docker-compose.yaml -f docker-compose.scale.yaml up --scale app=3"
HOST = "docker compose -f docker-compose.yaml -f docker-compose.host.yaml"
GUNICORN = (
    "gunicorn main:app --workers 4 --worker-class uvicorn_worker.UvicornWorker --bind 0.0.0.0:8000"
)
NOT_RUN = {
    "README": {
        "docker compose up": DOCKER,
        "docker compose exec app python -m app.load --duration 60": DOCKER,
        "pip install '.[test]' && pytest": ".ci/run does, as it would run itself",
    },
    "docs/tutorial": {
        f"{HOST} up": DOCKER,
        "sudo apt install prometheus": "needs Debian",
        "brew install prometheus grafana": "needs Homebrew",
        'export GF_PATHS_PROVISIONING="$PWD/grafana/local" GF_PATHS_DATA=/tmp/grafana': (
            "needs Grafana"
        ),
        "# classic.py": "for comparison",
        "global:": "no file of this repository asks for them",
        PUSH: DOCKER,
    },
    "docs/settings": {PUSH: DOCKER},
    "docs/production": {GUNICORN: "tests/stack/test_examples.py does", SCALE: DOCKER},
}

Environment = tuple[Path, Callable[[str, Path], None]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return empty_environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def reader(tmp_path: Path, environment: Environment, name: str) -> Iterator[Reader]:
    path, install = environment
    port = free_port()
    with prometheus(tmp_path, port, config=DOCUMENTS[name]) as url:
        reader = Reader(tmp_path, install, path, port, url)
        try:
            yield reader
        finally:
            reader.stop()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_written_works(reader: Reader, name: str) -> None:
    if "pip install" not in (ROOT / name).read_text(encoding="utf-8"):
        reader.install("pip install .")
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
