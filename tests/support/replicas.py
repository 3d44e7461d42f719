"""Replicas of the application on hosts of their own, as docker-compose.scale.yaml runs them:
the real load balancer in front of them, and the real Prometheus, with the repository's files.

All times of prometheus.scale.yml and of the rules are a quarter of what they are there, and alerts
wait for 15 seconds. More would be too much: Prometheus itself takes up to ten seconds to follow a
discovery.
"""

import http.client
import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.network import Host, Network, network
from tests.support.processes import ROOT, Process, answers, get, program, query, wait_for
from tests.support.prometheus import flags

FASTER = 4
SCRAPE = yaml.safe_load((ROOT / "prometheus/prometheus.scale.yml").read_text())
INTERVAL = float(SCRAPE["global"]["scrape_interval"].removesuffix("s")) / FASTER
"""Seconds between two scrapes, two pushes, and two evaluations of the rules."""
PATHS = ("/", "/health", "/increase_count", "/random_sleep")
ZERO = "--enable-feature=created-timestamp-zero-ingestion"
_DURATION = re.compile(r"\b(\d+)([smhd])\b")


def _faster(text: str) -> str:
    """The same with every duration shorter."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return _DURATION.sub(lambda each: f"{int(each[1]) * seconds[each[2]] * 1000 // FASTER}ms", text)


class Replica:
    """The application with two workers on a host, and with a folder of its own."""

    def __init__(self, host: Host, folder: Path, config: Path) -> None:
        self.host = host
        self.instance = f"{host.address}:8000"
        self._folder = folder / host.namespace
        self._folder.mkdir()
        self._config = config
        self.process = self.start()

    def start(self) -> Process:
        environment = {
            "TMPDIR": str(self._folder),
            "OTEL_CONFIG_FILE": str(self._config),
            "OTEL_SERVICE_NAME": "pushed",
        }
        command = self.host.command(
            *(sys.executable, "-m", "app", "--workers", "2", "--no-access-log")
        )
        log = self._folder / "app.log"
        self.process = Process(command, log, environment=environment)
        return self.process

    def wait_until_up(self) -> None:
        self.process.wait_until_up(f"http://{self.instance}/openapi.json")


class Store:
    """A Prometheus that scrapes the replicas as the job fastapi, and that they push to as the
    job pushed."""

    def __init__(self, url: str) -> None:
        self.url = url

    def number(self, expression: str, at: float | None = None) -> float:
        """The value of an expression that has one; 0 where it has none."""
        return query(self.url, expression, at).get((), 0.0)

    def requests(self, job: str) -> float:
        return self.number(f'sum(app_requests_total{{job="{job}"}})')

    def alerts(self) -> set[tuple[str, str]]:
        """The alerts that fire, and the instances that they name."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("instance", ""))
            for alert in json.loads(get(f"{self.url}/api/v1/alerts"))["data"]["alerts"]
            if alert["state"] == "firing"
        }


class Load:
    """A steady number of requests a second to the load balancer, until the end of the block.

    No request is sent a second time.
    """

    RATE = 60
    CONNECTIONS = 6

    def __init__(self, host: Host) -> None:
        self._address = host.address
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(self.CONNECTIONS)
        ]
        self.answers: Counter[str] = Counter()

    @property
    def sent(self) -> int:
        return self.answers.total()

    @property
    def failed(self) -> Counter[str]:
        """What was answered with anything but 200, and how often."""
        return Counter({each: n for each, n in self.answers.items() if each != "200"})

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection(self._address, 8000, timeout=5)
        period = self.CONNECTIONS / self.RATE
        due = time.monotonic() + period * number / self.CONNECTIONS
        deadline = due + 120
        turn = number
        while not self._over.wait(max(0, due - time.monotonic())) and due < deadline:
            # Not more in a second after a slow answer.
            due = max(due + period, time.monotonic())
            turn += 1
            try:
                connection.request("GET", PATHS[turn % len(PATHS)])
                response = connection.getresponse()
                response.read()
                answer = str(response.status)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                answer = repr(error)
            with self._lock:
                self.answers[answer] += 1
        connection.close()

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


class Fleet:
    """Three replicas and what is around them.

    Attributes:
        balancer: Where the load balancer is.
        counting: The Prometheus that counts from when a series began, as in Compose.
        plain: The same without that feature.
    """

    def __init__(self, folder: Path, lan: Network, stack: ExitStack) -> None:
        self._folder = folder
        self._lan = lan
        self._stack = stack
        monitor = lan.host("monitor")
        lan.serve_names(monitor)
        options = flags("docker-compose.push.yaml")
        assert ZERO in options
        self.counting = self._prometheus(monitor, 9090, *options)
        self.plain = self._prometheus(monitor, 9091, *(each for each in options if each != ZERO))
        self._config = self._app_config()
        self.replicas: list[Replica] = []
        for _ in range(3):
            self.add()
        self.balancer = lan.host("balancer")
        lan.serve_names(self.balancer)
        command = self.balancer.command(
            program("haproxy"), "-db", "-f", str(ROOT / "deploy/compose/haproxy.cfg")
        )
        self._run(command, "haproxy.log")
        wait_for(lambda: answers(f"http://{self.balancer.address}:8000/openapi.json"), "a balancer")
        self.wait_until_seen()

    def load(self) -> Load:
        return Load(self.balancer)

    def add(self) -> Replica:
        """Start a replica; as Docker does, its name leads to it from then on."""
        replica = Replica(self._lan.host("replica"), self._folder, self._config)
        self._stack.callback(lambda: replica.process.kill())
        self.replicas.append(replica)
        self._lan.announce("app", replica.host)
        return replica

    def remove(self, replica: Replica) -> None:
        """Stop a replica; as Docker does, its name leads to it until it has ended."""
        assert replica.process.stop() == 0
        self.replicas.remove(replica)
        self._lan.forget("app", replica.host)

    def wait_until_seen(self) -> None:
        """Until each replica answers, and has been scraped and has pushed since."""
        for replica in self.replicas:
            replica.wait_until_up()
        count = len(self.replicas)
        pushing = 'count(count by (instance) (app_memory_usage_bytes{job="pushed"}))'
        up = 'sum by (instance) (up{job="fastapi"})'
        expected = {(replica.instance,): 1.0 for replica in self.replicas}
        for store in (self.counting, self.plain):

            def scraped(url: str = store.url) -> bool:
                return query(url, up) == expected

            def pushed(store: Store = store) -> bool:
                return store.number(pushing) == count

            wait_for(scraped, f"{store.url} scrapes all")
            wait_for(pushed, f"all push to {store.url}")

    def _run(self, command: list[str], log: str) -> None:
        process = Process(command, self._folder / log)
        self._stack.callback(process.kill)

    def _prometheus(self, host: Host, port: int, *options: str) -> Store:
        folder = self._folder / f"prometheus-{port}"
        (folder / "rules").mkdir(parents=True)
        for path in (ROOT / "prometheus/rules").glob("*.yml"):
            rules = yaml.safe_load(path.read_text())
            for group in rules["groups"]:
                for rule in group["rules"]:
                    rule["expr"] = _faster(rule["expr"])
                    if "for" in rule:
                        rule["for"] = "15s"
            (folder / "rules" / path.name).write_text(yaml.safe_dump(rules))
        config: dict[str, Any] = yaml.safe_load(
            _faster((ROOT / "prometheus/prometheus.scale.yml").read_text())
        )
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"localhost:{port}"]
        push = yaml.safe_load((ROOT / "prometheus/prometheus.push.yml").read_text())
        config["otlp"] = push["otlp"]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = host.command(
            program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=:{port}",
            *options,
        )
        self._run(command, f"prometheus-{port}.log")
        store = Store(f"http://{host.address}:{port}")
        wait_for(lambda: answers(f"{store.url}/-/ready"), f"{store.url} is ready")
        return store

    def _app_config(self) -> Path:
        """config/both.yaml, with a push to each Prometheus."""
        config = yaml.safe_load((ROOT / "config/both.yaml").read_text())
        readers = config["meter_provider"]["readers"]
        (push,) = (reader for reader in readers if "periodic" in reader)
        readers.remove(push)
        for store in (self.counting, self.plain):
            endpoint = f"{store.url}/api/v1/otlp/v1/metrics"
            readers.append(
                {
                    "periodic": {
                        "interval": int(INTERVAL * 1000),
                        "exporter": {"otlp_http": {"endpoint": endpoint}},
                    }
                }
            )
        path = self._folder / "app.yaml"
        path.write_text(yaml.safe_dump(config))
        return path


@contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    """Three replicas, balanced and observed, until the end of the block."""
    for name in ("haproxy", "dnsmasq", "prometheus"):
        program(name)
    with network(folder) as lan, ExitStack() as stack:
        yield Fleet(folder, lan, stack)
