"""Each query of each dashboard, asked of a real Prometheus after real traffic."""

import json
import re
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.deployment.test_rules import rules
from tests.support.dashboard import ALL, SERVICE, offered, queries
from tests.support.processes import ROOT, get, query, script, service, wait_for
from tests.support.prometheus import prometheus

APP = """
import asyncio
import gc
from functools import partial
from pathlib import Path
from fastapi import Response, WebSocket
from fastapi.responses import StreamingResponse
from sqlalchemy import create_engine
import telemetry
# For the dashboard of FastAPI's own metrics as well.
telemetry.instrument = partial(telemetry.instrument, request_metrics="both")
from app.main import app

engine = create_engine(f"sqlite:///{Path(__file__).parent / 'x.db'}")
telemetry.observe_pool(engine, name="main")

@app.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()

@app.on_event("startup")
async def collect() -> None:
    kept = [[number] for number in range(300_000)]
    gc.collect()

@app.get("/fails")
async def fails() -> None:
    raise RuntimeError

async def events():
    yield b"data: begins at once"
    await asyncio.sleep(2)
    yield b"data: and ends late"

@app.get("/events")
async def stream() -> StreamingResponse:
    return StreamingResponse(events(), media_type="text/event-stream")

@app.get("/moved")
async def moved() -> Response:
    return Response(status_code=304)
"""
TRAFFIC = {
    "/": 30,
    "/health": 20,
    "/fails": 10,
    "/random_sleep": 5,
    "/increase_count": 5,
    "/moved": 3,
    "/events": 2,
    "/nope": 2,
}
PROMETHEUS = {"up", "scrape_duration_seconds", "scrape_samples_scraped", "ALERTS"}
"""What Prometheus itself adds to what it scrapes."""
RARE = {
    "app_memory_limit_bytes",
    "telemetry_points_dropped_total",
    "telemetry_scrapes_failed_total",
}
"""Only in a container that has a limit, and where something was lost."""

RECORDED = set(rules("record"))

Values = dict[tuple[str, ...], float]


@dataclass
class Asked:
    """Prometheus, the names on /metrics, and the values and metrics of each query."""

    url: str
    names: set[str]
    values: dict[str, Values]
    metrics: dict[str, set[str]]

    def shown(self, title: str) -> Values:
        return self.values[queries(SERVICE)[title]]


def metrics_of(tree: Any) -> set[str]:
    """The names of the metrics in a query, as Prometheus has parsed it."""
    if isinstance(tree, list):
        return {name for each in tree for name in metrics_of(each)}
    if not isinstance(tree, dict):
        return set()
    own = {tree["name"]} if tree.get("type") in ("vectorSelector", "matrixSelector") else set()
    return own | {name for each in tree.values() for name in metrics_of(each)}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("dashboards")
    (folder / "served.py").write_text(APP)
    command = (script("uvicorn"), "--no-access-log", "served:app")
    environment = {"PYTHONPATH": f"{ROOT}:{folder}"}
    expressions = {expression for name in ALL for expression in queries(name).values()}
    with (
        service(folder, command=command, environment=environment, cwd=folder) as app,
        prometheus(folder, app.port, wait="0s") as url,
    ):

        def send(traffic: dict[str, int]) -> None:
            for path, count in traffic.items():
                for _ in range(count):
                    # The client would not wait for the end of a stream.
                    (app.get if path == "/events" else app.status)(path)

        with connect(f"ws://127.0.0.1:{app.port}/socket"):
            pass
        send(dict.fromkeys(TRAFFIC, 1))
        seen = "sum(app_requests_total)"
        wait_for(lambda: query(url, seen) == {(): len(TRAFFIC)}, "the first are seen")
        send(TRAFFIC)
        total = len(TRAFFIC) + sum(TRAFFIC.values())
        wait_for(lambda: query(url, seen) == {(): total}, "all are seen")
        alert = 'ALERTS{alertname="FastAPIErrors", alertstate="firing"}'
        wait_for(lambda: query(url, alert), "the alert fires")
        # These look at moments that are 5 and 15 seconds apart.
        for title in ("인스턴스별 처리 중인 요청", "마지막 메트릭 이후 시간"):
            wait_for(partial(query, url, queries(SERVICE)[title]), f"{title}: a moment")
        metrics = {
            expression: metrics_of(
                json.loads(
                    get(f"{url}/api/v1/parse_query?{urllib.parse.urlencode({'query': expression})}")
                )
            )
            for expression in expressions
        }
        # At one moment, as no scrape comes between two of them.
        now = time.time()
        values = {expression: query(url, expression, now) for expression in expressions}
        names = {name for name, _ in app.series()}
        # A native histogram has the name of the whole family.
        names |= {name.removesuffix("_bucket") for name in names}
        yield Asked(url, names, values, metrics)


@pytest.mark.parametrize("name", ALL)
def test_every_query_has_an_answer(asked: Asked, name: str) -> None:
    for title, expression in queries(name).items():
        # Nothing says so where there was something.
        if not re.search(": (없음|none)$", title) and not any(each in expression for each in RARE):
            assert asked.values[expression], title


@pytest.mark.parametrize("name", ALL)
def test_no_query_names_a_series_that_is_not_there(asked: Asked, name: str) -> None:
    for title, expression in queries(name).items():
        assert asked.metrics[expression], title
        recorded = {each for each in asked.metrics[expression] if ":" in each}
        assert recorded <= RECORDED, title
        assert asked.metrics[expression] - recorded <= asked.names | PROMETHEUS | RARE, title


def test_the_service_dashboard_shows_what_happened(asked: Asked) -> None:
    target = ("host.docker.internal:8000", "fastapi")
    total = sum(TRAFFIC.values())
    assert asked.shown("상태") == {(): 100}
    for shown in (asked.shown("오류 비율 (5xx)"), asked.shown("오류 비율: 5xx")):
        assert shown == {(): pytest.approx(TRAFFIC["/fails"] / total, rel=0.2)}
    (rate,) = asked.shown("초당 요청 수").values()
    busiest = asked.shown("경로별 요청 (상위 5개)")
    assert len(busiest) == 5
    assert 0.8 * rate < sum(busiest.values()) < rate
    classes = {each: asked.shown(f"상태 코드 그룹별 응답: {each}xx")[()] for each in "5432"}
    assert sum(classes.values()) == pytest.approx(rate, rel=0.2)
    for digit, path in {"5": "/fails", "4": "/nope", "3": "/moved"}.items():
        assert classes[digit] / rate == pytest.approx((TRAFFIC[path] + 1) / total, rel=0.3)
    assert set(asked.shown("경로·상태 코드별 서버 오류 (상위 5개)")) == {("/fails", "500")}
    assert set(asked.shown("유형·경로별 예외 (상위 5개)")) == {
        ("RuntimeError", "RuntimeError", "/fails")
    }
    assert asked.shown("인스턴스별 처리 중인 요청")[target] <= 1
    for p95 in (asked.shown("경로별 지연 시간 p95 (느린 순 5개)"), asked.shown("경로별 현황: p95")):
        assert 0.1 <= p95["/random_sleep",] <= 0.5
        # It need not be among the slowest.
        assert p95.get(("/health",), 0) < 0.1
    # A stream that begins at once and ends after two seconds.
    assert asked.shown("경로별 현황: p95")["/events",] < 0.5
    assert asked.shown("경로별 현황: 목표 초과")["/events",] == 0
    assert asked.shown("경로별 처리 시간 p95 (긴 순 5개)")["/events",] > 1
    assert asked.shown("실행 중인 워커와 시작 횟수: 실행 중") == {(): 1}
    assert asked.shown("마지막 메트릭 이후 시간")[target] < 5
    assert asked.shown("수집 성공 여부") == {target: 1}
    assert asked.shown("알림 이력")["FastAPIErrors", "fastapi"] == 2
    assert asked.shown("알림")


def test_a_row_of_the_table_is_the_path_with_its_sums(asked: Asked) -> None:
    def column(name: str) -> Values:
        return asked.shown(f"경로별 현황: {name}")

    # Those before the first scrape as well.
    paths = {("unmatched" if path == "/nope" else path,): n + 1 for path, n in TRAFFIC.items()}
    # PromQL extrapolates from the few seconds that there are.
    assert column("요청") == pytest.approx(paths, abs=1, rel=0.3)
    assert column("5xx 비율") == {path: float(path == ("/fails",)) for path in paths}
    assert column("4xx 비율") == {path: float(path == ("unmatched",)) for path in paths}
    errors = column("5xx")
    assert errors.pop(("/fails",)) == pytest.approx(TRAFFIC["/fails"], rel=0.3)
    assert set(errors.values()) == {0}
    assert 0.1 < column("평균")["/random_sleep",] < 0.5
    assert column("평균")["/health",] < 0.1
    assert sum(column("처리 시간 비중").values()) == pytest.approx(1)
    assert column("처리 시간 비중")["/random_sleep",] > 0.5


def test_the_variables_offer_what_there_is(asked: Asked) -> None:
    # Not Prometheus itself, which is scraped as well.
    assert offered(asked.url, "job") == ["fastapi"]
    assert offered(asked.url, "instance") == ["host.docker.internal:8000"]
    assert "/random_sleep" in offered(asked.url, "path")
