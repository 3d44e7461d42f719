"""What the service dashboards and the rules say of native histograms, held to the true times."""

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from math import ceil, isnan
from urllib.parse import urlencode

import pytest

from tests.support.dashboard import HTTP, SERVICE, TUTORIAL, queries
from tests.support.processes import get, query, wait_for
from tests.support.prometheus import prometheus
from tests.support.workers import all_up, workers

APP = """
import asyncio
import gc
import time
from fastapi import FastAPI
import telemetry

measured = FastAPI()
telemetry.instrument(measured)

@measured.get("/quick")
@measured.get("/slow")
async def wait(seconds: float) -> None:
    await asyncio.sleep(seconds)

@measured.get("/blocks")
async def blocks() -> None:
    time.sleep(0.3)

@measured.get("/collects")
def collects() -> None:
    kept = [[number] for number in range(300_000)]
    gc.collect()

async def app(scope, receive, send):
    \"\"\"The application, with how long each of its responses really takes.\"\"\"
    begin = end = time.perf_counter()

    async def sent(message):
        nonlocal end
        end = time.perf_counter()
        await send(message)

    await measured(scope, receive, sent)
    if scope["type"] == "http" and scope["path"] not in telemetry.DEFAULT_EXCLUDED_PATHS:
        with open("true.txt", "a") as times:
            times.write(f"{scope['path']} {end - begin}\\n")
"""
NATIVE = {
    "scrape_protocols": ["PrometheusProto", "OpenMetricsText1.0.0", "PrometheusText0.0.4"],
    "scrape_native_histograms": True,
}
ONCE = [f"/{path}?seconds=0.1" for path in ("quick", "slow")] + ["/blocks", "/collects"]
P95, MEAN = "경로별 현황: p95", "경로별 현황: 평균"
SLOW = 'sum by (path) (job_path:app_objective_bad:increase5m{objective="latency"})'
HEATMAP = "선택한 경로의 지연 시간 분포"


@dataclass
class Shown:
    """A dashboard, the Prometheus that it asks, when, and the true times by path."""

    dashboard: str
    url: str
    at: float
    true: dict[str, list[float]]

    def values(self, title: str) -> dict[tuple[str, ...], float]:
        return query(self.url, queries(self.dashboard)[title], self.at)

    def every(self) -> list[float]:
        """The true times of all requests."""
        return [*chain.from_iterable(self.true.values())]

    def share(self, share: float, path: str = "") -> float:
        """A true quantile, of a path or of all requests."""
        times = sorted(self.true[path] if path else self.every())
        return times[ceil(share * len(times)) - 1]


@pytest.fixture(
    scope="module",
    params=[
        ("app", SERVICE, False),
        ("http.server", HTTP, False),
        # Prometheus stores both forms.
        ("app", SERVICE, True),
    ],
    ids=["app", "http.server", "classic as well"],
)
def shown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shown]:
    names, dashboard, classic = request.param
    folder = tmp_path_factory.mktemp("native")
    variables = {"TELEMETRY_NATIVE_HISTOGRAMS": "true", "TELEMETRY_REQUEST_METRICS": names}
    scraping = {**NATIVE, "always_scrape_classic_histograms": classic}
    chosen = random.Random(1)
    quick = [min(0.4, chosen.lognormvariate(-3, 0.5)) for _ in range(300)]
    with (
        workers(folder, code=APP, **variables) as app,
        prometheus(folder, app.port, scraping=scraping, wait="0s") as url,
    ):
        all_up(app)

        def true() -> dict[str, list[float]]:
            times: dict[str, list[float]] = {}
            for line in (folder / "true.txt").read_text().splitlines():
                path, seconds = line.split()
                times.setdefault(path, []).append(float(seconds))
            return times

        counter = "app_requests_total"
        if names != "app":
            counter = "http_server_request_duration_seconds_count"

        def known() -> bool:
            return query(url, f"sum({counter})") == {(): sum(map(len, true().values()))}

        for path in ONCE:
            app.get(path)
        wait_for(known, "the first are known")
        with ThreadPoolExecutor(20) as pool:
            paths = [f"/quick?seconds={seconds}" for seconds in quick]
            paths += ["/slow?seconds=1.2"] * 40
            list(pool.map(app.get, paths))
        wait_for(known, "all are known")
        slow = 'ALERTS{alertname="FastAPIPathSlow", alertstate="firing", severity="critical"}'
        wait_for(lambda: query(url, slow), "an alert fires")
        wait_for(lambda: query(url, f"{SLOW} > 36"), "all that are slow are recorded")
        assert {labels["path"] for labels in series(url, slow)} == {"/slow"}
        assert bool(query(url, '{__name__=~".+_bucket", job="fastapi"}')) == classic
        yield Shown(dashboard, url, time.time(), true())


def series(url: str, expression: str) -> list[dict[str, str]]:
    answer = json.loads(get(f"{url}/api/v1/query?{urlencode({'query': expression})}"))
    return [each["metric"] for each in answer["data"]["result"]]


def test_each_query_of_a_histogram_has_an_answer(shown: Shown) -> None:
    asked = {
        title: expression
        for title, expression in queries(shown.dashboard).items()
        if "_seconds{" in expression and title != HEATMAP and not title.endswith(": 없음")
    }
    assert len(asked) > 10
    for title, expression in asked.items():
        values = query(shown.url, expression, shown.at).values()
        assert [isnan(each) for each in values] == [False] * max(1, len(values)), title


def test_quantiles_and_means_are_the_true_ones(shown: Shown) -> None:
    for path in ("/quick", "/slow"):
        times = shown.true[path]
        true = pytest.approx(shown.share(0.95, path), rel=0.05)
        assert shown.values("경로별 지연 시간 p95 (느린 순 5개)")[path,] == true
        assert shown.values(P95)[path,] == true
        assert shown.values(MEAN)[path,] == pytest.approx(sum(times) / len(times), rel=0.05)
    for title, share in {"p99": 0.99, "p95": 0.95, "p50": 0.5}.items():
        true = pytest.approx(shown.share(share), rel=0.05)
        assert shown.values(f"지연 시간: {title}") == {(): true}
    assert shown.values("지연 시간 p95") == {(): pytest.approx(shown.share(0.95), rel=0.05)}
    times = shown.every()
    mean = pytest.approx(sum(times) / len(times), rel=0.05)
    assert shown.values("지연 시간: 평균") == {(): mean}
    part = pytest.approx(sum(shown.true["/slow"]) / sum(times), rel=0.05)
    assert shown.values("경로별 현황: 처리 시간 비중")["/slow",] == part
    if shown.dashboard == SERVICE:
        true = pytest.approx(shown.share(0.95, "/slow"), rel=0.05)
        assert shown.values("경로별 처리 시간 p95 (긴 순 5개)")["/slow",] == true
        tutorials = queries(TUTORIAL)["경로별 평균 응답 시간 (최근 5분)"]
        mean = pytest.approx(sum(shown.true["/slow"]) / len(shown.true["/slow"]), rel=0.05)
        assert query(shown.url, tutorials, shown.at)["/slow",] == mean


def test_slow_requests_are_over_the_objective(shown: Shown) -> None:
    over = shown.values("경로별 현황: 목표 초과")
    assert over["/slow",] == pytest.approx(0.95 * 40, rel=0.1)
    assert over["/quick",] == 0
    broken = query(shown.url, SLOW, shown.at)
    assert broken["/slow",] == pytest.approx(40, rel=0.1)
    assert broken["/quick",] == 0


def test_the_heatmap_is_a_histogram_whose_counts_are_those_of_the_requests(shown: Shown) -> None:
    asked = urlencode({"query": queries(shown.dashboard)[HEATMAP], "time": shown.at})
    answer = json.loads(get(f"{shown.url}/api/v1/query?{asked}"))
    (native,) = (each for each in answer["data"]["result"] if "histogram" in each)
    counts = [
        (float(low), float(high), float(count))
        for _, low, high, count in native["histogram"][1]["buckets"]
    ]
    slow = sum(count for low, _, count in counts if low >= 1)
    every = sum(count for *_, count in counts)
    assert slow / every == pytest.approx(40 / sum(map(len, shown.true.values())), rel=0.05)
    assert max(high for _, high, _ in counts) < 1.1 * shown.share(1)


def test_what_blocked_the_loop_and_the_collectors_pauses_are_seen(shown: Shown) -> None:
    (blocked,) = shown.values("이벤트 루프 지연").values()
    # It may have blocked for longer, before it answered.
    assert 0.25 < blocked < 5
    (paused,) = shown.values("가비지 컬렉터 일시 정지").values()
    assert 0.001 < paused < 1
