"""From real requests through a real scrape to the value that each panel shows."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.support.dashboard import queries
from tests.support.processes import query, service, wait_for
from tests.support.prometheus import INTERVAL, prometheus

BEFORE = {"/": 1, "/health": 1, "/random_sleep": 1, "/nope": 1, "/increase_count": 1}
TRAFFIC = {"/": 40, "/health": 30, "/random_sleep": 8, "/nope": 20, "/increase_count": 12}
ALL = {path: count + BEFORE[path] for path, count in TRAFFIC.items()}
"""What came before the first scrape counts, too."""
PATHS = {"unmatched" if path == "/nope" else path: count for path, count in ALL.items()}
# The windows are longer than the test: Prometheus extends the increase that it has seen by
# at most half an interval on either side, a twentieth of what lies between.
CLOSE = 0.1


@dataclass
class Scraped:
    """What Prometheus holds after known traffic, and what the application itself said."""

    url: str
    at: float
    sleeps: list[float]
    memory: tuple[int, int]

    def panel(self, title: str) -> dict[tuple[str, ...], float]:
        return query(self.url, queries()[title], self.at)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    folder = tmp_path_factory.mktemp("prometheus")
    with service(folder, "--no-access-log") as app:
        for name, count in BEFORE.items():
            for _ in range(count):
                app.status(name)
        with prometheus(folder, app.port) as url:
            shown = "sum(app_requests_total)"
            wait_for(lambda: query(url, shown) == {(): sum(BEFORE.values())}, "the first requests")
            time.sleep(2 * INTERVAL)
            sleeps = []
            for name, count in TRAFFIC.items():
                for _ in range(count):
                    if name == "/random_sleep":
                        sleeps.append(json.loads(app.get(name))["process_time"])
                    else:
                        app.status(name)
            total = sum(BEFORE.values()) + sum(TRAFFIC.values())
            wait_for(lambda: query(url, shown) == {(): total}, "the last request")
            time.sleep(6)
            process = psutil.Process(app.process.popen.pid).memory_info()
            yield Scraped(url, time.time(), sleeps, (process.rss, process.vms))


def by_path(counts: dict[str, int]) -> dict[tuple[str, ...], float]:
    return {(path,): float(count) for path, count in counts.items()}


def test_both_jobs_are_up(scraped: Scraped) -> None:
    up = query(scraped.url, "sum by (job) (up)", scraped.at)
    assert up == {("fastapi",): 1, ("prometheus",): 1}


def test_requests_a_minute(scraped: Scraped) -> None:
    assert scraped.panel("경로별 분당 요청 수") == pytest.approx(by_path(PATHS), rel=CLOSE)


def test_responses_a_minute(scraped: Scraped) -> None:
    failed = ALL["/nope"]
    wanted = {("200",): sum(ALL.values()) - failed, ("404",): failed}
    assert scraped.panel("상태 코드별 분당 응답 수") == pytest.approx(wanted, rel=CLOSE)


def test_all_requests(scraped: Scraped) -> None:
    assert scraped.panel("총 요청 수") == {(): sum(ALL.values())}


def test_requests_by_path(scraped: Scraped) -> None:
    assert scraped.panel("경로별 요청 비율") == by_path(PATHS)


@pytest.mark.parametrize(
    "title", ["경로별 평균 요청 처리 시간", "경로별 평균 응답 시간 (최근 5분)"]
)
def test_the_mean_processing_time(scraped: Scraped, title: str) -> None:
    shown = scraped.panel(title)
    assert set(shown) == set(by_path(PATHS))
    mean = sum(scraped.sleeps) / len(scraped.sleeps)
    assert mean * (1 - CLOSE) < shown["/random_sleep",] < mean * (1 + CLOSE) + 0.05
    for path in ("/", "/health", "/increase_count", "unmatched"):
        assert 0 < shown[path,] < 0.05


def test_requests_a_second(scraped: Scraped) -> None:
    wanted = {(): sum(ALL.values()) / 300}
    assert scraped.panel("초당 요청 수 (5분 평균)") == pytest.approx(wanted, rel=CLOSE)


def test_the_increase_over_an_hour(scraped: Scraped) -> None:
    assert scraped.panel("경로별 시간당 요청 증가량") == pytest.approx(by_path(PATHS), rel=CLOSE)


def test_memory(scraped: Scraped) -> None:
    (rss,) = scraped.panel("실제 메모리 사용량 (RSS)").values()
    (vms,) = scraped.panel("가상 메모리 사용량 (VMS)").values()
    assert rss == pytest.approx(scraped.memory[0], rel=CLOSE)
    assert vms == pytest.approx(scraped.memory[1], rel=CLOSE)


def test_calls_of_increase_count(scraped: Scraped) -> None:
    calls = ALL["/increase_count"]
    assert scraped.panel("Increase Count 총 호출 수") == {(): calls}
    wanted = {(): calls / 60}
    assert scraped.panel("Increase Count 초당 호출 수") == pytest.approx(wanted, rel=CLOSE)


def test_every_panel_is_tested_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{title}"' in source for title in queries())
