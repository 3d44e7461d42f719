"""Each query of each dashboard, asked of a real Prometheus after real traffic."""

import json
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.dashboard import ALL, SERVICE, dashboard, queries
from tests.support.processes import ROOT, get, query, script, service, wait_for
from tests.support.prometheus import prometheus

APP = """
from app.main import app

@app.get("/fails")
async def fails() -> None:
    raise RuntimeError
"""
TRAFFIC = {"/": 30, "/health": 20, "/fails": 10, "/random_sleep": 5, "/increase_count": 5}
PROMETHEUS = {"up", "scrape_duration_seconds", "scrape_samples_scraped", "ALERTS"}
"""What Prometheus itself adds to what it scrapes."""

Values = dict[tuple[str, ...], float]


@dataclass
class Asked:
    """The names on /metrics, and the values and metrics of each query."""

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
                    app.status(path)

        send(dict.fromkeys(TRAFFIC, 1))
        seen = "sum(app_requests_total)"
        wait_for(lambda: query(url, seen) == {(): len(TRAFFIC)}, "the first are seen")
        send(TRAFFIC)
        total = len(TRAFFIC) + sum(TRAFFIC.values())
        wait_for(lambda: query(url, seen) == {(): total}, "all are seen")
        alert = 'ALERTS{alertname="FastAPIErrors", alertstate="firing"}'
        wait_for(lambda: query(url, alert), "the alert fires")
        metrics = {
            expression: metrics_of(
                json.loads(
                    get(f"{url}/api/v1/parse_query?{urllib.parse.urlencode({'query': expression})}")
                )
            )
            for expression in expressions
        }
        values = {expression: query(url, expression) for expression in expressions}
        yield Asked({name for name, _ in app.series()}, values, metrics)


@pytest.mark.parametrize("name", ALL)
def test_every_query_has_an_answer(asked: Asked, name: str) -> None:
    for title, expression in queries(name).items():
        assert asked.values[expression], title


@pytest.mark.parametrize("name", ALL)
def test_no_query_names_a_series_that_is_not_there(asked: Asked, name: str) -> None:
    for title, expression in queries(name).items():
        assert asked.metrics[expression], title
        assert asked.metrics[expression] <= asked.names | PROMETHEUS, title


def test_the_service_dashboard_shows_what_happened(asked: Asked) -> None:
    target = ("host.docker.internal:8000",)
    shares = asked.shown("경로별 오류 비율")
    assert shares["/fails",] == 1
    assert {share for path, share in shares.items() if path != ("/fails",)} == {0}
    (errors,) = asked.shown("오류 비율").values()
    assert errors == pytest.approx(TRAFFIC["/fails"] / sum(TRAFFIC.values()), rel=0.2)
    (rate,) = asked.shown("초당 요청 수").values()
    assert rate == pytest.approx(sum(asked.shown("경로별 초당 요청 수").values()), rel=0.01)
    assert set(asked.shown("상태 코드별 초당 응답 수")) == {("200",), ("500",)}
    assert asked.shown("처리 중인 요청") == {target: 0}
    for quantile in ("p50", "p95", "p99"):
        shown = asked.shown(f"경로별 {quantile}")
        assert 0.1 <= shown["/random_sleep",] <= 0.5
        assert shown["/health",] < 0.1
    assert asked.shown("살아 있는 워커 수") == {target: 1}
    assert asked.shown("수집 성공 여부")[("host.docker.internal:8000", "fastapi")] == 1
    assert ("FastAPIErrors", "critical") in asked.values[queries(SERVICE)["발생한 알림"]]


def test_the_variables_offer_what_there_is(asked: Asked) -> None:
    for variable in dashboard(SERVICE)["templating"]["list"][1:]:
        metric = variable["definition"].removeprefix("label_values(").split("{")[0].split(",")[0]
        assert metric in asked.names
