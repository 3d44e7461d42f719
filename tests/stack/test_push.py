"""The dashboards and rules on each way: the same traffic, scraped by a Prometheus, and come to
another one by push or through a collector.

Both are the version that Compose pins, so that what differs is the way there and nothing else.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from math import isnan
from typing import NamedTuple

import pytest
import yaml

from tests.support.collector import collector
from tests.support.dashboard import SERVICE, TUTORIAL, queries
from tests.support.processes import (
    ROOT,
    Service,
    free_port,
    query,
    running,
    script,
)
from tests.support.prometheus import prometheus, pushed_prometheus
from tests.support.traffic import ONCE, TRAFFIC, known, send

INSTANCE = "host.docker.internal:8000"
"""What Prometheus calls the target that it scrapes; pushed, it is the service.instance.id."""
SERVERS = {
    "uvicorn, 1 worker": ("uvicorn", "--no-access-log", "--host", "127.0.0.1"),
    "uvicorn, 2 workers": ("uvicorn", "--no-access-log", "--host", "127.0.0.1", "--workers", "2"),
    "gunicorn, 4 workers": (
        *("gunicorn", "-w", "4", "-k", "uvicorn_worker.UvicornWorker", "--preload"),
        *("-b", "127.0.0.1:{port}"),
    ),
}
QUERIES = {**queries(TUTORIAL), **queries(SERVICE, "1m", "5m")}


DIRECT, OTLP, SCRAPE = "pushed", "otlp", "scrape"
"""To Prometheus itself, or through a collector with the configuration of this name."""
WAYS = [*((server, DIRECT) for server in SERVERS)]
WAYS += [("uvicorn, 2 workers", OTLP), ("uvicorn, 2 workers", SCRAPE)]


class Both(NamedTuple):
    """Two Prometheus, and a time at which both know all of the traffic."""

    scraped: str
    pushed: str
    way: str
    port: int
    at: float


@pytest.fixture(scope="module", params=WAYS, ids=", ".join)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("push")
    server, way = request.param
    executable, *options = SERVERS[server]
    port = free_port()
    with ExitStack() as stack:
        pushed = stack.enter_context(pushed_prometheus(folder))
        endpoint = f"{pushed}/api/v1/otlp/v1/metrics"
        if way != DIRECT:
            endpoint = stack.enter_context(collector(folder, way, pushed, port))
        environment = {
            "OTEL_METRICS_EXPORTER": "prometheus" if way == SCRAPE else "prometheus,otlp",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_SERVICE_NAME": "fastapi",
            "OTEL_RESOURCE_ATTRIBUTES": f"service.instance.id={INSTANCE}",
            "TMPDIR": str(folder),
        }
        if "{port}" not in " ".join(options):
            options += ["--port", "{port}"]
        command = [part.replace("{port}", str(port)) for part in options]
        url = f"http://127.0.0.1:{port}/openapi.json"
        full = [script(executable), *command, "app.main:app"]
        log = folder / "app.log"
        app = Service(stack.enter_context(running(full, log, url, environment=environment)), port)
        # Remote write does not carry when a series began.
        scraped = stack.enter_context(prometheus(folder, port, zero_ingestion=way == DIRECT))
        # Both know the app before its first request, so that new counters count alike.
        known([scraped, pushed])
        time.sleep(1)
        sent = send(app, ONCE, [scraped, pushed])
        time.sleep(2)
        send(app, TRAFFIC, [scraped, pushed], sent)
        time.sleep(15)
        yield Both(scraped, pushed, way, port, time.time() - 1)


def same(both: Both, expression: str, *, equals: bool = False) -> None:
    """Hold both ways to the same; of `equals`, others may be among the greatest."""
    expected, found = (
        {
            tuple(_bound(label, both.port) for label in labels): value
            for labels, value in query(url, expression, both.at).items()
        }
        for url in (both.scraped, both.pushed)
    )
    if equals:
        assert not expected or found.keys() & expected
        expected = {labels: expected[labels] for labels in found.keys() & expected}
    assert equals or found.keys() == expected.keys()
    # The two ways have their samples at other moments: of a gauge that changes all the time, the
    # greatest of each worker may have been seen by one of them only.
    moment = 4.0 if "in_progress" in expression else 0.5
    for labels, value in expected.items():
        # The longest of few or no events: one of the ways may have no two samples around it.
        if "quantile(1," in expression and (isnan(value) or isnan(found[labels])):
            continue
        assert found[labels] == pytest.approx(value, rel=0.1, abs=moment, nan_ok=True), labels


def _bound(label: str, port: int) -> str:
    """A label as both write it: 1.0 and 1 are one bound, and a collector's target has its port."""
    return INSTANCE if label == f"127.0.0.1:{port}" else label.removesuffix(".0")


@pytest.mark.parametrize("title", QUERIES)
def test_a_panel_shows_the_same(both: Both, title: str) -> None:
    expression = QUERIES[title]
    if both.way != SCRAPE and title == "수집 성공 여부":
        assert set(query(both.pushed, expression, both.at).values()) == {2}, "pushed"
    elif both.way != SCRAPE and title in ("수집 시간", "수집한 샘플 수"):
        assert query(both.pushed, expression, both.at) == {}
    elif title != "알림 이력":
        # When an alert is pending, each says at its own time.
        same(both, expression, equals="5개" in title)


def test_each_rule_says_the_same(both: Both) -> None:
    files = (ROOT / "prometheus/rules").glob("*.yml")
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    rules = [rule for group in groups for rule in group["rules"]]
    for rule in rules:
        # What blocks an event loop for a moment on a busy machine, one of them may have seen.
        if rule.get("alert") != "FastAPIEventLoopBlocked":
            same(both, rule["record"] if "record" in rule else rule["expr"])
    assert len(rules) > 10


def test_the_buckets_are_the_same(both: Both) -> None:
    series = "sum by (path, le) (app_requests_processing_time_seconds_bucket)"

    def buckets(url: str) -> dict[tuple[float, str], float]:
        shown = query(url, series, both.at).items()
        return {(float(le), path): value for (le, path), value in shown}

    assert len(buckets(both.scraped)) == 15 * len(TRAFFIC)
    assert buckets(both.pushed) == buckets(both.scraped)
