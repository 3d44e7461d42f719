"""Three replicas with two workers each, on hosts of their own, behind a real load balancer.

`pytest tests/stack/test_replicas.py -rP` prints what docs/scaling.en.md says of replacements.
"""

import re
import time
from collections.abc import Iterator

import pytest

from tests.support.dashboard import expand, offered, panel
from tests.support.processes import query, wait_for
from tests.support.replicas import INTERVAL, Fleet, Load, Store, fleet

SHARED = 0.5
"""Seconds within which a worker knows what the other one has counted."""


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("replicas")) as started:
        yield started


def known(store: Store, job: str) -> float:
    """All requests that the store has ever heard of, also from replicas that have ended."""
    return store.number(f'sum(max_over_time(app_requests_total{{job="{job}"}}[1h]))')


def test_the_sum_is_what_was_sent_and_an_instance_can_be_singled_out(replicas: Fleet) -> None:
    with replicas.load() as load:
        time.sleep(2 * INTERVAL)
    assert not load.failed
    for store in (replicas.counting, replicas.plain):
        for job in ("fastapi", "pushed"):
            wait_for(lambda: store.requests(job) == load.sent, f"{load.sent} of {job}")  # noqa: B023
    url = replicas.counting.url
    instances = {replica.instance for replica in replicas.replicas}
    assert set(offered(url, "instance")) >= instances
    rate = panel("초당 요청 수")["targets"][0]["expr"]
    at = time.time()

    def shown(instance: str) -> float:
        chosen = rate.replace("$instance", re.escape(instance).replace("\\", "\\\\"))
        return query(url, expand(chosen), at)[()]

    each = [shown(instance) for instance in instances]
    assert min(each) > 0
    assert sum(each) == pytest.approx(query(url, expand(rate), at)[()])


def test_a_rolling_replacement_is_invisible(replicas: Fleet) -> None:
    stores = {"with zero ingestion": replicas.counting, "without": replicas.plain}
    ways = [(name, job) for name in stores for job in ("fastapi", "pushed")]
    before = {way: known(stores[way[0]], way[1]) for way in ways}
    began = time.time()
    replaced = list(replicas.replicas)
    with replicas.load() as load:
        time.sleep(INTERVAL)
        for replica in replaced:
            replicas.remove(replica)
            replicas.add()
            replicas.wait_until_seen()
            time.sleep(2 * INTERVAL)
    assert not load.failed
    # Two intervals without a request, so that all is known that will be.
    time.sleep(2 * INTERVAL + SHARED)
    at = time.time()
    window = f"{(at - began) * 1000:.0f}ms"
    # But for the one that tells of a busy machine, as the tests' own may be.
    fired = 'ALERTS{alertstate="firing", alertname!="FastAPIEventLoopBlocked"}'
    for store in stores.values():
        assert query(store.url, f"count_over_time({fired}[{window}])") == {}

    known_of = {way: known(stores[way[0]], way[1]) - before[way] for way in ways}
    increase = {
        (name, job): stores[name].number(
            f'sum(increase(app_requests_total{{job="{job}"}}[{window}]))', at
        )
        for name, job in ways
    }
    print(f"{load.sent} requests, {len(replaced)} replicas replaced, interval {INTERVAL:.1f} s")
    for name, job in ways:
        way = "scraped" if job == "fastapi" else "pushed"
        lost = {"known": known_of[name, job], "increase()": increase[name, job]}
        shown = ", ".join(f"{what} {value - load.sent:+.0f}" for what, value in lost.items())
        print(f"{way} {name}: {shown}")

    # While one is away, the other two have all.
    share = len(replaced) * Load.RATE / 2
    tail = share * (INTERVAL + SHARED)
    head = share * 3 * INTERVAL
    # increase() extends what lies between the first and the last sample to the whole window.
    extended = load.sent * 2 * INTERVAL / (at - began)
    for name in stores:
        # Scraped, what came after the last scrape is unknown; pushed, nothing is.
        assert load.sent - tail <= known_of[name, "fastapi"] <= load.sent
        assert known_of[name, "pushed"] == load.sent
    counting, plain = stores
    assert load.sent - tail <= increase[counting, "fastapi"] <= load.sent + extended
    assert load.sent <= increase[counting, "pushed"] <= load.sent + extended
    # Without a start at zero, the first sample of a series is no increase.
    assert load.sent - tail - head <= increase[plain, "fastapi"] < increase[counting, "fastapi"]
    assert load.sent - head <= increase[plain, "pushed"] < increase[counting, "pushed"]


def test_a_replica_that_is_cut_off_is_reported_and_nothing_is_lost(replicas: Fleet) -> None:
    store = replicas.counting
    before = {job: known(store, job) for job in ("fastapi", "pushed")}
    lost = replicas.replicas[0]
    with replicas.load() as load:
        time.sleep(INTERVAL)
        lost.host.cut_off()
        alert = ("FastAPIInstanceDown", lost.instance)
        wait_for(lambda: alert in store.alerts(), "the alert fires", 60)
        assert store.alerts() == {alert}
        # Only what was on the way to it: not more than one request of each client.
        failed = load.failed.copy()
        assert failed.total() <= load.CONNECTIONS
        time.sleep(INTERVAL)
        assert load.failed == failed
        lost.host.reconnect()
        wait_for(lambda: not store.alerts(), "the alert is over")
        replicas.wait_until_seen()
    assert load.failed == failed
    answered = load.answers["200"]
    for job, count in before.items():
        complete = lambda job=job, count=count: known(store, job) - count >= answered  # noqa: E731
        wait_for(complete, f"all of {job} are known")
        assert known(store, job) - count <= load.sent


def test_a_killed_replica_costs_no_client_an_answer(replicas: Fleet) -> None:
    store = replicas.counting
    killed = replicas.replicas[0]
    with replicas.load() as load:
        time.sleep(INTERVAL)
        killed.process.kill()
        # As Compose does: a new process with the address of the old one.
        killed.start()
        killed.wait_until_up()
        time.sleep(2 * INTERVAL)
    assert not load.failed
    time.sleep(2 * INTERVAL)
    assert not store.alerts()
