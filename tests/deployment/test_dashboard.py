"""The dashboard, held to what the tutorial has."""

from pathlib import Path
from typing import Any

import yaml

from tests.support.dashboard import dashboard, queries
from tests.support.processes import ROOT
from tests.support.promtool import check, series

OVERVIEW, SPEED, TRAFFIC = "요청 및 응답 개요", "성능 지표", "트래픽 분석"
MEMORY, EXERCISE = "메모리 사용량", "Increase Count 통계"
# Row, title, type, unit, legend of the series, values in the legend. The one title that is not the
# original's said "ratio" of calls per second.
PANELS = [
    (OVERVIEW, "경로별 분당 요청 수", "timeseries", "locale", "{{path}}", ["max"]),
    (OVERVIEW, "상태 코드별 분당 응답 수", "timeseries", "locale", "{{status_code}}", []),
    (OVERVIEW, "총 요청 수", "stat", "locale", "", None),
    (OVERVIEW, "경로별 요청 비율", "piechart", "locale", "{{path}}", None),
    (SPEED, "경로별 평균 요청 처리 시간", "timeseries", "s", "{{path}}", ["max"]),
    (SPEED, "경로별 평균 응답 시간 (최근 5분)", "bargauge", "s", "{{path}}", None),
    (TRAFFIC, "초당 요청 수 (5분 평균)", "timeseries", "reqps", "req/s", []),
    (TRAFFIC, "경로별 시간당 요청 증가량", "timeseries", "locale", "{{path}}", ["max"]),
    (MEMORY, "실제 메모리 사용량 (RSS)", "timeseries", "bytes", "RSS", ["mean", "max"]),
    (MEMORY, "가상 메모리 사용량 (VMS)", "timeseries", "bytes", "VMS", ["mean", "max"]),
    (EXERCISE, "Increase Count 총 호출 수", "stat", "locale", "", None),
    (EXERCISE, "Increase Count 초당 호출 수", "timeseries", "reqps", "calls/s", ["mean", "max"]),
]
PROVISIONING = ROOT / "grafana/provisioning"


def test_what_it_is_called_and_how_often_it_looks() -> None:
    content = dashboard()
    assert content["uid"] == "fastapi-metrics"
    assert content["title"] == "FastAPI 메트릭 대시보드"
    assert content["refresh"] == "5s"
    assert content["time"] == {"from": "now-15m", "to": "now"}


def test_the_panels_in_their_rows() -> None:
    shown, row = [], None
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            continue
        (target,) = panel["targets"]
        calculations = panel["options"].get("legend", {}).get("calcs")
        unit = panel["fieldConfig"]["defaults"]["unit"]
        # Over push, too, each worker of each service has a legend of its own.
        legend = target["legendFormat"].replace(" 메모리 {{instance}} {{process_pid}}", "")
        shown.append((row, panel["title"], panel["type"], unit, legend, calculations))
    assert shown == PANELS


def test_two_panels_a_row_each_12_wide_and_8_high() -> None:
    position = 0
    line: list[dict[str, Any]] = []
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        if panel["type"] == "row":
            assert line == []
            assert place == {"x": 0, "y": position, "w": 24, "h": 1}
            position += 1
            continue
        assert place == {"x": 12 * len(line), "y": position, "w": 12, "h": 8}
        line.append(panel)
        if len(line) == 2:
            line = []
            position += 8
    assert line == []


def test_a_path_has_one_colour_in_all_panels() -> None:
    colours = [
        list(panel["fieldConfig"]["overrides"])
        for panel in dashboard()["panels"]
        if panel["type"] in ("timeseries", "piechart")
        and panel["targets"][0]["legendFormat"] == "{{path}}"
    ]
    assert len(colours) == 4
    assert all(each == colours[0] for each in colours)
    patterns = {override["matcher"]["options"].replace("\\", "") for override in colours[0]}
    own = {"/", "/random_sleep", "/health", "/increase_count", "unmatched"}
    assert patterns == {f"/^{path}$/" for path in own}


def test_the_window_of_a_query_is_the_one_in_its_title() -> None:
    windows = {
        title: {window for window in ("1m", "5m", "1h") if f"[{window}]" in expression}
        for title, expression in queries().items()
    }
    assert windows == {
        "경로별 분당 요청 수": {"1m"},
        "상태 코드별 분당 응답 수": {"1m"},
        "총 요청 수": set(),
        "경로별 요청 비율": set(),
        "경로별 평균 요청 처리 시간": {"1m"},
        "경로별 평균 응답 시간 (최근 5분)": {"5m"},
        "초당 요청 수 (5분 평균)": {"5m"},
        "경로별 시간당 요청 증가량": {"1h"},
        "실제 메모리 사용량 (RSS)": set(),
        "가상 메모리 사용량 (VMS)": set(),
        "Increase Count 총 호출 수": set(),
        "Increase Count 초당 호출 수": {"1m"},
    }


def test_the_data_source_and_the_provider_of_the_dashboard() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources/datasource.yml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["uid"], source["url"], source["isDefault"]) == (
        "prometheus",
        "prometheus",
        "http://prometheus:9090",
        True,
    )
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/dashboard.yml").read_text())[
        "providers"
    ]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is True
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"


def test_the_queries_give_exact_values_over_their_windows(tmp_path: Path) -> None:
    """promtool evaluates every query over two hours of samples, one each 15 seconds.

    /a has 30 requests a minute of 0.25 s each, /b has 15 of 1.5 s each, /idle has none: its
    mean is not drawn. The counters begin at 100.
    """
    count = "app_requests_processing_time_seconds_count"
    seconds = "app_requests_processing_time_seconds_sum"
    a, b, idle = ({"method": "GET", "path": path} for path in ("/a", "/b", "/idle"))
    samples = [
        series("app_requests_total", "100+7.5x480", **a),
        series("app_requests_total", "100+3.75x480", **b),
        series("app_requests_total", "100+0x480", **idle),
        series("app_responses_total", "100+6x480", **a, status_code="200"),
        series("app_responses_total", "100+1.5x480", **a, status_code="500"),
        series("app_responses_total", "100+3.75x480", **b, status_code="200"),
        series(count, "100+7.5x480", **a),
        series(count, "100+3.75x480", **b),
        series(count, "100+0x480", **idle),
        series(seconds, "10+1.875x480", **a),
        series(seconds, "10+5.625x480", **b),
        series(seconds, "10+0x480", **idle),
        series("app_memory_usage_bytes", "1000+0x480", type="rss"),
        series("app_memory_usage_bytes", "2000+0x480", type="vms"),
        series("app_increase_count_total", "0+3.75x480"),
    ]
    means = [('{path="/a"}', 0.25), ('{path="/b"}', 1.5)]
    expected: dict[str, list[tuple[str, float]]] = {
        "경로별 분당 요청 수": [('{path="/a"}', 30), ('{path="/b"}', 15), ('{path="/idle"}', 0)],
        "상태 코드별 분당 응답 수": [('{status_code="200"}', 39), ('{status_code="500"}', 6)],
        "총 요청 수": [("{}", 3 * 100 + 240 * 11.25)],
        "경로별 요청 비율": [
            ('{path="/a"}', 100 + 240 * 7.5),
            ('{path="/b"}', 100 + 240 * 3.75),
            ('{path="/idle"}', 100),
        ],
        "경로별 평균 요청 처리 시간": means,
        "경로별 평균 응답 시간 (최근 5분)": means,
        "초당 요청 수 (5분 평균)": [("{}", 0.75)],
        "경로별 시간당 요청 증가량": [
            ('{path="/a"}', 1800),
            ('{path="/b"}', 900),
            ('{path="/idle"}', 0),
        ],
        "실제 메모리 사용량 (RSS)": [('{type="rss"}', 1000)],
        "가상 메모리 사용량 (VMS)": [('{type="vms"}', 2000)],
        "Increase Count 총 호출 수": [("{}", 900)],
        "Increase Count 초당 호출 수": [("{}", 0.25)],
    }
    assert expected.keys() == queries().keys()
    check(
        tmp_path,
        "15s",
        samples,
        [(expression, "60m", expected[title]) for title, expression in queries().items()],
    )
