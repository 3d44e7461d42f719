"""The tutorial's dashboard: its twelve panels, in its order and under its titles."""

from collections.abc import Iterator
from typing import Any

from grafana.dashboards.panels import (
    Json,
    Panel,
    Text,
    by_status,
    curves,
    dashboard,
    figure,
    fixed,
    heading,
    line,
    link,
    panel,
    query,
    thresholds,
)

SIZE = (12, 8)
UID = Text("fastapi-metrics", "fastapi-metrics-en")
PATHS = {
    "/": "blue",
    "/random_sleep": "orange",
    "/health": "green",
    "/increase_count": "purple",
    "unmatched": "yellow",
}
"""The colours of the tutorial app's own paths; any other path gets one by its name."""

FIRST = Text(
    "아직 값이 없습니다. 앱에 요청을 보내고 30초쯤 기다리세요.",
    "Nothing yet. Send the app a request and wait for 30 seconds.",
)
"""What a panel of counters says in the first minute."""

_ONE_MINUTE = Text(
    " 1분 구간에 값이 두 개 이상 필요하므로 수집 또는 푸시 주기는 30초 이하여야 합니다.",
    " Needs two samples per minute: scrape or push at least every 30 seconds.",
)


def _by_path() -> list[Json]:
    return [line(f"^{path}$".replace("/", r"\/"), PATHS[path]) for path in PATHS]


def _minute(ko: str, en: str) -> Text:
    return Text(ko + _ONE_MINUTE.ko, en + _ONE_MINUTE.en)


def _over_time(title: Text, description: Text, target: Json, **more: Any) -> Panel:
    # Filled areas of many paths would hide each other.
    style = {"fillOpacity": 0 if "legend" in more else 10, "showPoints": "auto"}
    if "calculations" not in more:
        more.setdefault("legend", "list")
    return curves(title, description, target, size=SIZE, style=style, noValue=FIRST, **more)


def _mean(window: str) -> str:
    name = "app_requests_processing_time_seconds"
    return (
        f"histogram_avg(sum by (path) (rate({name}[{window}]))) >= 0"
        f" or sum by (path) (rate({name}_sum[{window}]))"
        f" / (sum by (path) (rate({name}_count[{window}])) > 0)"
    )


def _memory(title: Text, description: Text, kind: str, word: Text) -> Panel:
    legend = Text(*(f"{kind.upper()} {each} {{{{instance}}}} {{{{process_pid}}}}" for each in word))
    return _over_time(
        title,
        description,
        query(f'app_memory_usage_bytes{{type="{kind}"}}', legend),
        unit="bytes",
        soft_max=64 * 2**20,
        calculations=["mean", "max"],
    )


def _panels() -> Iterator[Panel]:
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}

    yield heading(Text("요청 및 응답 개요", "Requests and responses"))
    yield _over_time(
        Text("경로별 분당 요청 수", "Requests per minute by path"),
        _minute("최근 1분 동안 처리가 끝난 요청 수.", "Requests completed in the last minute."),
        query("sum by (path) (increase(app_requests_total[1m]))", "{{path}}"),
        unit="locale",
        decimals=0,
        soft_max=10,
        legend="right",
        overrides=_by_path(),
    )
    yield _over_time(
        Text("상태 코드별 분당 응답 수", "Responses per minute by status code"),
        _minute("최근 1분 동안 보낸 응답 수.", "Responses sent in the last minute."),
        query("sum by (status_code) (increase(app_responses_total[1m]))", "{{status_code}}"),
        unit="locale",
        decimals=0,
        soft_max=10,
        overrides=by_status(),
    )
    yield figure(
        Text("총 요청 수", "Total requests"),
        Text("앱이 시작된 뒤 처리한 전체 요청 수.", "All requests since the app started."),
        query("sum(app_requests_total)", now=True),
        unit="locale",
        size=SIZE,
        noValue=FIRST,
        text_size=72,
        decimals=0,
        color=fixed("blue"),
    )
    yield panel(
        "piechart",
        Text("경로별 요청 비율", "Requests by path"),
        Text("전체 요청에서 각 경로가 차지하는 비율.", "Each path's share of all requests."),
        [query("sum by (path) (app_requests_total)", "{{path}}", now=True)],
        size=SIZE,
        options={
            "pieType": "pie",
            "displayLabels": ["percent"],
            "legend": {
                "displayMode": "table",
                "placement": "right",
                "showLegend": True,
                "values": ["value", "percent"],
            },
            "tooltip": {"mode": "single", "sort": "none"},
            "sort": "desc",
            "reduceOptions": reduce,
        },
        overrides=_by_path(),
        unit="locale",
        decimals=0,
        noValue=FIRST,
        color={"mode": "palette-classic-by-name"},
    )

    yield heading(Text("성능 지표", "Performance"))
    yield _over_time(
        Text("경로별 평균 요청 처리 시간", "Mean processing time by path"),
        _minute("최근 1분 동안의 평균 처리 시간.", "Mean processing time in the last minute."),
        query(_mean("1m"), "{{path}}"),
        unit="s",
        soft_max=0.1,
        legend="right",
        overrides=_by_path(),
    )
    yield panel(
        "bargauge",
        Text("경로별 평균 응답 시간 (최근 5분)", "Mean response time by path (last 5 minutes)"),
        Text(
            "최근 5분 동안의 평균 처리 시간. 0.25초부터 노란색, 0.5초부터 빨간색입니다.",
            "Mean processing time in the last five minutes: yellow from 0.25 s, red from 0.5 s.",
        ),
        [query(f"sort_desc({_mean('5m')})", "{{path}}", now=True)],
        size=SIZE,
        options={
            "displayMode": "basic",
            "orientation": "horizontal",
            "valueMode": "color",
            "showUnfilled": True,
            "reduceOptions": reduce,
        },
        unit="s",
        min=0,
        noValue=FIRST,
        color={"mode": "thresholds"},
        thresholds=thresholds("blue", (0.25, "yellow"), (0.5, "red")),
    )

    yield heading(Text("트래픽 분석", "Traffic"))
    yield _over_time(
        Text("초당 요청 수 (5분 평균)", "Requests per second (5 minute average)"),
        Text("최근 5분 평균으로 본 초당 요청 수.", "Requests per second over five minutes."),
        query("sum(rate(app_requests_total[5m]))", "req/s"),
        unit="reqps",
        soft_max=1,
        color=fixed("blue"),
    )
    yield _over_time(
        Text("경로별 시간당 요청 증가량", "Increase of requests per hour by path"),
        Text("최근 1시간 동안 늘어난 요청 수.", "Requests completed in the last hour."),
        query("sum by (path) (increase(app_requests_total[1h]))", "{{path}}"),
        unit="locale",
        decimals=0,
        soft_max=10,
        legend="right",
        overrides=_by_path(),
    )

    yield heading(Text("메모리 사용량", "Memory"))
    yield _memory(
        Text("실제 메모리 사용량 (RSS)", "Memory in use (RSS)"),
        Text(
            "프로세스가 실제로 차지하는 물리 메모리. 워커가 여럿이면 PID별로 한 줄씩 나옵니다.",
            "Physical memory that the process uses. Several workers have a line each, by PID.",
        ),
        "rss",
        Text("메모리", "memory"),
    )
    yield _memory(
        Text("가상 메모리 사용량 (VMS)", "Virtual memory (VMS)"),
        Text(
            "프로세스가 예약한 가상 주소 공간. 실제 사용량보다 훨씬 큰 것이 보통입니다.",
            "Address space that the process has reserved, usually far more than it uses.",
        ),
        "vms",
        Text("메모리", "memory"),
    )

    yield heading(Text("Increase Count 통계", "Increase Count"))
    yield figure(
        Text("Increase Count 총 호출 수", "Increase Count, total calls"),
        Text(
            "앱이 시작된 뒤 /increase_count가 호출된 횟수.",
            "Calls of /increase_count since the app started.",
        ),
        query("sum(app_increase_count_total)", now=True),
        unit="locale",
        size=SIZE,
        noValue=FIRST,
        text_size=72,
        decimals=0,
        color=fixed("blue"),
    )
    yield _over_time(
        Text("Increase Count 초당 호출 수", "Increase Count, calls per second"),
        _minute(
            "최근 1분 동안의 초당 /increase_count 호출 수.",
            "Calls of /increase_count per second in the last minute.",
        ),
        query("sum(rate(app_increase_count_total[1m]))", "calls/s"),
        unit="reqps",
        soft_max=0.1,
        calculations=["mean", "max"],
        color=fixed("blue"),
    )


def tutorial() -> Json:
    """The dashboard that the tutorial builds."""
    return dashboard(
        UID,
        Text("FastAPI 메트릭 대시보드", "FastAPI metrics dashboard"),
        Text(
            "튜토리얼 앱의 요청, 응답, 처리 시간, 메모리",
            "Requests, responses, durations and memory of the tutorial's app",
        ),
        _panels(),
        refresh="5s",
        links=[
            link(
                Text("서비스 대시보드", "Service dashboard"),
                Text("fastapi-service", "fastapi-service-en"),
            ),
            link(Text("English", "한국어"), Text("fastapi-metrics-en", "fastapi-metrics")),
        ],
    )
