"""A pair of Prometheus that scrape the same and write to one store, by prometheus.remote.yml."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.support.processes import ROOT, Process, answers, free_port, program, wait_for
from tests.support.prometheus import INTERVAL


class Member(NamedTuple):
    """One of the pair."""

    url: str
    process: Process


def _start(folder: Path, replica: str, store: str, app_port: int, rules: Path) -> Member:
    port = free_port()
    config = yaml.safe_load((ROOT / "prometheus/prometheus.remote.yml").read_text())
    every = f"{INTERVAL * 1000:.0f}ms"
    config["global"] |= {"scrape_interval": every, "evaluation_interval": every}
    config["rule_files"] = [str(rules)]
    (write,) = config["remote_write"]
    write["url"] = f"{store}/api/v1/write"
    # Samples leave as soon as they are there.
    write["queue_config"] = {"batch_send_deadline": "200ms"}
    # The targets of both have the same names, as the same host's would have.
    itself, app = (job["static_configs"][0] for job in config["scrape_configs"])
    itself.update(targets=[f"127.0.0.1:{port}"], labels={"instance": "localhost:9090"})
    app.update(targets=[f"127.0.0.1:{app_port}"], labels={"instance": app["targets"][0]})
    path = folder / f"{replica}.yml"
    path.write_text(yaml.safe_dump(config))
    command = [
        program("prometheus"),
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / replica}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url = f"http://127.0.0.1:{port}"
    process = Process(command, folder / f"{replica}.log", environment={"HOSTNAME": replica})
    wait_for(lambda: answers(f"{url}/-/ready"), f"{replica} is ready: {process.log}")
    return Member(url, process)


@contextmanager
def pair(folder: Path, store: str, app_port: int, rules: Path) -> Iterator[Sequence[Member]]:
    """Two Prometheus until the end of the block, with these rules."""
    with ExitStack() as stack:
        members = []
        for replica in ("first", "second"):
            members.append(_start(folder, replica, store, app_port, rules))
            stack.callback(members[-1].process.kill)
        yield members
