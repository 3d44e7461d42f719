"""A store for many machines: filled by a pair of Prometheus, or by a collector.

VictoriaMetrics computes in another way than Prometheus: it does not extend an increase to the
ends of its window, and divides that of a younger series by its age. So the windows here are short
ones, which all series fill, and what remains is an interval at each end.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import isnan

import pytest
import yaml

from tests.support.collector import collector
from tests.support.dashboard import HTTP, SERVICE, TUTORIAL, queries
from tests.support.processes import ROOT, free_port, query, service, wait_for
from tests.support.prometheus import INTERVAL, raw
from tests.support.receivers import EVALUATION, victoria_metrics, vmalert
from tests.support.remote import Member, pair
from tests.support.traffic import ONCE, TRAFFIC, known, send

WINDOW = 25
"""Seconds, in the place of each window of some minutes."""
STEP, LONGEST = 300, 120
"""Seconds between two steps of a subquery, and until all is known."""
INSTANCE = "host.docker.internal:8000"
PAIR, OTLP, SCRAPE = "pair", "otlp", "scrape"
"""What fills a store: Prometheus, or a collector that is pushed to or scrapes."""
QUERIES = {**queries(TUTORIAL), **queries(SERVICE, "1m", "5m")}


def _short(expression: str) -> str:
    return re.sub(r"\[(\d+m|1h)\]", f"[{WINDOW}s]", expression)


@dataclass
class Stored:
    """The pair, the stores by what fills them, and a moment at which all know all traffic."""

    members: Sequence[Member]
    stores: Mapping[str, str]
    port: int
    rules: Sequence[Mapping[str, str]]
    at: float
    sent: int


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    folder = tmp_path_factory.mktemp("remote")
    rules = folder / "rules.yml"
    # All groups in one file.
    files = sorted((ROOT / "prometheus/rules").glob("*.yml"))
    groups = "".join(file.read_text().partition("groups:\n")[2] for file in files)
    rules.write_text("groups:\n" + _short(groups))
    deduplicate = f"-dedup.minScrapeInterval={INTERVAL * 1000:.0f}ms"
    port = free_port()
    with ExitStack() as stack:
        enter = stack.enter_context
        stores = {PAIR: enter(victoria_metrics(folder, options=[deduplicate]))}
        endpoint = ""
        for way in (SCRAPE, OTLP):
            (folder / way).mkdir()
            stores[way] = enter(victoria_metrics(folder))
            endpoint = enter(collector(folder / way, way, stores[way], port))
        push = {
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": f"{INTERVAL * 1000:.0f}",
            "OTEL_SERVICE_NAME": "fastapi",
            "OTEL_RESOURCE_ATTRIBUTES": f"service.instance.id={INSTANCE}",
        }
        app = enter(
            service(folder, "--no-access-log", "--workers", "2", environment=push, port=port)
        )
        # Each evaluates rules at its own time. At a step of five minutes, which the error budgets
        # add up, some might already know what others do not.
        if (step := STEP - time.time() % STEP) < LONGEST:
            time.sleep(step)
        members = enter(pair(folder, stores[PAIR], port, rules))
        urls = [*(member.url for member in members), *stores.values()]
        known(urls)
        for way in (SCRAPE, OTLP):
            enter(vmalert(folder / way, rules, stores[way]))
        sent = send(app, ONCE, urls)
        time.sleep(WINDOW + 2)
        sent = send(app, TRAFFIC, urls, sent)
        # A rule that is made of another one knows what that one said an evaluation before.
        time.sleep(2 * EVALUATION + 1)
        at = time.time()
        # Until what there was then is found everywhere, and the rules have been evaluated for it.
        time.sleep(EVALUATION + 7)
        groups = yaml.safe_load(rules.read_text())["groups"]
        every = [rule for group in groups for rule in group["rules"]]
        yield Stored(members, stores, port, every, at, sent)


def test_nothing_counts_twice(stored: Stored) -> None:
    store = stored.stores[PAIR]
    assert query(store, "sum(app_requests_total)", stored.at) == {(): stored.sent}
    one = raw(stored.members[0].url, "app_requests_total")
    kept = raw(store, "app_requests_total")
    assert len(kept) == len(one)
    assert {"cluster": "fastapi"}.items() <= dict(next(iter(kept))).items()
    assert "replica" not in dict(next(iter(kept)))
    # Of the samples of both, those of one remain.
    counts = (sum(map(len, series.values())) for series in (kept, one))
    assert next(counts) == pytest.approx(next(counts), rel=0.15)


@pytest.mark.parametrize("way", [PAIR, OTLP, SCRAPE])
@pytest.mark.parametrize("title", QUERIES)
def test_a_panel_shows_the_same(stored: Stored, title: str, way: str) -> None:
    expression = _short(QUERIES[title])
    if way == OTLP and title == "수집 성공 여부":
        assert set(query(stored.stores[way], expression, stored.at).values()) == {2}, "pushed"
    elif way == OTLP and title in ("수집 시간", "수집한 샘플 수"):
        assert query(stored.stores[way], expression, stored.at) == {}
    elif not title.startswith("알림"):
        # When an alert is pending, each of those that evaluate the rules says at its own time.
        same(stored, expression, way, equals="5개" in title)


def test_it_takes_the_queries_of_the_standards_names(stored: Stored) -> None:
    """None of these metrics are there; an answer of 422 to what it cannot parse is an error."""
    for expression in queries(HTTP).values():
        query(stored.stores[PAIR], expression)


@pytest.mark.parametrize("way", [PAIR, OTLP, SCRAPE])
def test_each_rule_says_the_same(stored: Stored, way: str) -> None:
    assert len(stored.rules) > 10
    for rule in stored.rules:
        same(stored, rule.get("record") or rule["expr"], way)


def same(stored: Stored, expression: str, way: str, *, equals: bool = False) -> None:
    """Hold a store's answer to Prometheus's; of `equals`, others may be among the greatest."""

    def shown(url: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(
                INSTANCE if label == f"127.0.0.1:{stored.port}" else label.removesuffix(".0")
                for label in labels
                if label != "fastapi"
            ): value
            for labels, value in query(url, expression, stored.at).items()
            # Prometheus's NaN, which nothing shows, is nothing in VictoriaMetrics.
            if not isnan(value)
        }

    expected, found = shown(stored.members[0].url), shown(stored.stores[way])
    if equals:
        assert not expected or found.keys() & expected, expression
        expected = {labels: expected[labels] for labels in found.keys() & expected}
    assert found.keys() >= expected.keys(), expression
    assert equals or found.keys() == expected.keys(), expression
    # Of a gauge that changes all the time, each has seen other moments.
    moment = 4.0 if "in_progress" in expression else 0.5
    for labels, value in expected.items():
        assert found[labels] == pytest.approx(value, rel=0.15, abs=moment), (expression, labels)


def test_one_of_the_pair_may_end(stored: Stored) -> None:
    stored.members[1].process.kill()
    ended = time.time()
    seen = 'timestamp(app_requests_total{path="/"})'
    store = stored.stores[PAIR]
    wait_for(
        lambda: max(query(store, seen).values()) > ended + 2 * INTERVAL,
        "samples of the other one arrive",
    )
    assert query(store, "sum(app_requests_total)") == {(): stored.sent}
