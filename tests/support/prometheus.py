"""A real Prometheus with the repository's own configuration, only faster and elsewhere."""

import json
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.support.processes import ROOT, free_port, get, program, running

INTERVAL = 0.5
"""Seconds between two scrapes, and between two evaluations of the rules."""


@contextmanager
def prometheus(folder: Path, app_port: int, *, wait: str | None = None) -> Iterator[str]:
    """The address of a Prometheus that scrapes itself and the application at a port.

    `wait` takes the place of all times that an alert must hold before it fires.
    """
    executable = program("prometheus")
    port = free_port()
    config = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    config["global"]["scrape_interval"] = f"{INTERVAL * 1000:.0f}ms"
    config["global"]["evaluation_interval"] = f"{INTERVAL * 1000:.0f}ms"
    itself, app = (job["static_configs"][0] for job in config["scrape_configs"])
    itself["targets"] = [f"127.0.0.1:{port}"]
    # What the tutorial's outputs show stays the same.
    app["labels"] = {"instance": app["targets"][0]}
    app["targets"] = [f"127.0.0.1:{app_port}"]
    (folder / "rules").mkdir()
    for path in (ROOT / "prometheus/rules").glob("*.yml"):
        rules = yaml.safe_load(path.read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                if wait is not None and "for" in rule:
                    rule["for"] = wait
        (folder / "rules" / path.name).write_text(yaml.safe_dump(rules))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    command = [
        executable,
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url = f"http://127.0.0.1:{port}"
    with running(command, folder / "prometheus.log", f"{url}/-/ready"):
        yield url


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
