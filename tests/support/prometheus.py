"""A real Prometheus with the repository's own configuration, only faster and elsewhere."""

import json
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes import ROOT, free_port, get, program, running

Exemplars = dict[tuple[tuple[str, str], ...], list[dict[str, Any]]]

INTERVAL = 0.5
"""Seconds between two scrapes, and between two evaluations of the rules."""


@contextmanager
def prometheus(
    folder: Path,
    app_port: int,
    *,
    wait: str | None = None,
    zero_ingestion: bool = True,
    config: str = "prometheus/prometheus.yml",
    scraping: Mapping[str, Any] | None = None,
    features: Sequence[str] = (),
) -> Iterator[str]:
    """The address of a Prometheus that scrapes itself and the application at a port.

    `wait` takes the place of all times that an alert must hold before it fires. Without
    `zero_ingestion`, series do not count from when the application says that they began.
    `scraping` are further settings of how it scrapes, and `features` what it has switched on.
    """
    executable = program("prometheus")
    port = free_port()
    content = yaml.safe_load((ROOT / config).read_text())
    content["global"]["scrape_interval"] = f"{INTERVAL * 1000:.0f}ms"
    content["global"]["evaluation_interval"] = f"{INTERVAL * 1000:.0f}ms"
    content["global"] |= scraping or {}
    itself, app = (job["static_configs"][0] for job in content["scrape_configs"])
    itself["targets"] = [f"127.0.0.1:{port}"]
    # What the tutorial's outputs show stays the same.
    app["labels"] = {"instance": app["targets"][0]}
    app["targets"] = [f"127.0.0.1:{app_port}"]
    for each in ("rules", "native"):
        (folder / each).mkdir()
    for path in (ROOT / "prometheus").glob("*/*.yml"):
        rules = yaml.safe_load(path.read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                if wait is not None and "for" in rule:
                    rule["for"] = wait
        (folder / path.parent.name / path.name).write_text(yaml.safe_dump(rules))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(content))
    command = [
        executable,
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        *(each for each in flags("docker-compose.yaml") if zero_ingestion or "zero" not in each),
        *(f"--enable-feature={each}" for each in features),
    ]
    url = f"http://127.0.0.1:{port}"
    with running(command, folder / "prometheus.log", f"{url}/-/ready"):
        yield url


@contextmanager
def pushed_prometheus(folder: Path, port: int | None = None) -> Iterator[str]:
    """The address of a Prometheus that is pushed to, started as docker-compose.push.yaml does.

    Parameters:
        folder: Where its data is, also of the one before with the same port.
        port: Where it listens; by default a free port.
    """
    executable = program("prometheus")
    options = subprocess.run([executable, "--help"], capture_output=True, text=True).stdout
    if "otlp-receiver" not in options:
        pytest.skip("a prometheus with OTLP is not on the PATH: .ci/programs builds it with Go")
    port = port or free_port()
    config = yaml.safe_load((ROOT / "prometheus/prometheus.push.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
    config["rule_files"] = [str(ROOT / "prometheus" / each) for each in config["rule_files"]]
    path = folder / "prometheus.push.yml"
    path.write_text(yaml.safe_dump(config))
    command = [
        executable,
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'pushed'}",
        # For what comes through a collector.
        "--web.enable-remote-write-receiver",
        f"--web.listen-address=127.0.0.1:{port}",
        *flags("docker-compose.push.yaml"),
    ]
    url = f"http://127.0.0.1:{port}"
    with running(command, folder / "prometheus.push.log", f"{url}/-/ready"):
        yield url


def flags(compose: str) -> list[str]:
    """What a Compose file switches on in Prometheus."""
    content = yaml.safe_load((ROOT / compose).read_text())
    command: list[str] = content["services"]["prometheus"]["command"]
    return [each for each in command if each.startswith(("--web.enable", "--enable"))]


def raw(url: str, selector: str) -> dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]:
    """The samples of each series in the last hour, as times and values, by its labels."""
    parameters = urllib.parse.urlencode({"query": f"{selector}[1h]"})
    answer = json.loads(get(f"{url}/api/v1/query?{parameters}"))
    assert answer["status"] == "success", answer
    return {
        tuple(sorted(each["metric"].items())): [
            (time, float(value)) for time, value in each["values"]
        ]
        for each in answer["data"]["result"]
    }


def exemplars(url: str, selector: str) -> Exemplars:
    """The exemplars of each series in the last hour, by its labels."""
    now = time.time()
    parameters = urllib.parse.urlencode({"query": selector, "start": now - 3600, "end": now + 60})
    answer = json.loads(get(f"{url}/api/v1/query_exemplars?{parameters}"))
    assert answer["status"] == "success", answer
    return {
        tuple(sorted(each["seriesLabels"].items())): each["exemplars"] for each in answer["data"]
    }


def samples(url: str, expression: str) -> list[str]:
    """What an instant query gives, a line each, as Prometheus's own page shows it."""
    answer = json.loads(get(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"))
    assert answer["status"] == "success", answer
    lines = []
    for each in answer["data"]["result"]:
        labels = [f'{name}="{value}"' for name, value in sorted(each["metric"].items())]
        name = each["metric"].get("__name__", "")
        shown = ", ".join(label for label in labels if not label.startswith("__name__"))
        lines.append(f"{name}{{{shown}}} {each['value'][1]}")
    return sorted(lines)
