"""A high-availability pair of Prometheus, and the store that both write to."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.support.processes import query, service, wait_for
from tests.support.prometheus import INTERVAL, raw
from tests.support.receivers import victoria_metrics
from tests.support.remote import Member, pair

TRAFFIC = {"/": 40, "/health": 30, "/random_sleep": 5, "/nope": 20, "/increase_count": 12}


@dataclass
class Stored:
    """The pair, their store, and a moment at which all know all of the traffic."""

    members: Sequence[Member]
    store: str
    at: float
    sent: int


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    folder = tmp_path_factory.mktemp("remote")
    deduplicate = f"-dedup.minScrapeInterval={INTERVAL * 1000:.0f}ms"
    with (
        victoria_metrics(folder, options=[deduplicate]) as store,
        service(folder, "--no-access-log", "--workers", "2") as app,
        pair(folder, store, app.port) as members,
    ):
        urls = [*(member.url for member in members), store]
        for url in urls:
            known = lambda url=url: query(url, "count(app_memory_usage_bytes)")  # noqa: E731
            wait_for(known, f"the app is known at {url}")
        sent = 0
        for traffic in (dict.fromkeys(TRAFFIC, 1), TRAFFIC):
            for path, count in traffic.items():
                for _ in range(count):
                    app.status(path)
            sent += sum(traffic.values())
            for url in urls:
                all_of_it = lambda url=url: query(url, "sum(app_requests_total)") == {(): sent}  # noqa: B023, E731
                wait_for(all_of_it, f"{sent} requests at {url}")
            time.sleep(4)
        yield Stored(members, store, time.time() - 1, sent)


def test_nothing_counts_twice(stored: Stored) -> None:
    assert query(stored.store, "sum(app_requests_total)", stored.at) == {(): stored.sent}
    one = raw(stored.members[0].url, "app_requests_total")
    kept = raw(stored.store, "app_requests_total")
    assert len(kept) == len(one)
    assert {"cluster": "fastapi"}.items() <= dict(next(iter(kept))).items()
    assert "replica" not in dict(next(iter(kept)))
    # Of the samples of both, those of one remain.
    counts = (sum(map(len, series.values())) for series in (kept, one))
    assert next(counts) == pytest.approx(next(counts), rel=0.15)


def test_one_of_the_pair_may_end(stored: Stored) -> None:
    stored.members[1].process.kill()
    ended = time.time()
    seen = 'timestamp(app_requests_total{path="/"})'
    wait_for(
        lambda: max(query(stored.store, seen).values()) > ended + 2 * INTERVAL,
        "samples of the other one arrive",
    )
    assert query(stored.store, "sum(app_requests_total)") == {(): stored.sent}
