"""The dashboard to run a service with: whether something is wrong, where, and since when."""

from collections.abc import Iterator
from typing import Any

from grafana.dashboards.panels import (
    DATASOURCE,
    NO_DATA,
    STATUS_COLOURS,
    Json,
    Panel,
    Text,
    by_status,
    curves,
    dashboard,
    figure,
    fixed,
    heading,
    link,
    override,
    panel,
    query,
    query_now,
    thresholds,
    variable,
)

UID = Text("fastapi-service", "fastapi-service-en")

# The limits of the alerts in prometheus/rules/fastapi.yml.
ERROR_RATIO = 0.05
SECONDS = 1.0
EVENT_LOOP_DELAY = 0.25

# Grafana's window for rates: at least four scrapes, by the interval that the data source has.
WINDOW = "$__rate_interval"
RANGE = "$__range"
CHOSEN = 'job=~"$job", instance=~"$instance"'
LABELS = f'{CHOSEN}, path=~"$path"'
REQUESTS = f"app_requests_total{{{LABELS}}}"
DURATION = "app_requests_processing_time_seconds"
BUCKETS = f"{DURATION}_bucket{{{LABELS}}}"
IN_PROGRESS = f"app_requests_in_progress{{{CHOSEN}}}"
MEMORY = f'app_memory_usage_bytes{{{CHOSEN}, type="rss"}}'
ALERTS = 'ALERTS{alertname=~"FastAPI.*", job=~"$job|"'


def responses(status: str = "") -> str:
    """The responses, or those whose status code matches."""
    return f"app_responses_total{{{LABELS}" + (f', status_code=~"{status}"}}' if status else "}")


def increase(series: str, window: str) -> str:
    """How much counters have increased in a window, the first value of a new one included.

    PromQL's own increase() of a counter that is new with the value 1 is 0, which would hide a
    first error. So a counter that was not there before the window counts with its value, if it
    has fewer samples than the memory of its app, which is there from the start: not when
    Prometheus has just begun to scrape an app that was running already.
    """
    return (
        f"({series} unless {series} offset {window}"
        f" unless count_over_time({series}[{window}]) >= on (job, instance) group_left"
        f" max by (job, instance) (count_over_time({MEMORY}[{window}]))"
        f" or increase({series}[{window}]))"
    )


def ratio(status: str, window: str, by: str = "") -> str:
    """The share of the responses with this status; nothing if there are no responses."""
    some = f"sum{by} ({increase(responses(status), window)})"
    all_ = f"sum{by} ({increase(responses(), window)})"
    return f"({some} or 0 * {all_}) / ({all_} > 0)"


def quantile(value: float, by: str = "le", window: str = f"[{WINDOW}]") -> str:
    """A quantile of the durations."""
    return f"histogram_quantile({value}, sum by ({by}) (rate({BUCKETS}{window})))"


def mean(window: str, by: str = "") -> str:
    """The mean of the durations."""
    total, count = (increase(f"{DURATION}_{each}{{{LABELS}}}", window) for each in ("sum", "count"))
    return f"sum{by} ({total}) / (sum{by} ({count}) > 0)"


def top(expression: str, ranked_by: str) -> str:
    """The ten paths with the greatest values over the whole time range."""
    return f"{expression} and topk(10, {ranked_by})"


STATE = (
    f"100 * avg(up{{{CHOSEN}}}"
    f" or on (job) (count by (job) (present_over_time({MEMORY}[2m])) > bool 0)"
    f" or on (job) 0 * count by (job) (present_over_time({MEMORY}[{RANGE}]))"
    ") or vector(-1)"
)
"""How many percent of the instances are up, by what Prometheus scrapes; a job that pushes is up
if it has pushed within two minutes. -1 if there is none."""

REQUEST_RATE = (
    f"sum(rate({REQUESTS}[{WINDOW}])) or (vector(0) unless count({REQUESTS})) or vector(NaN)"
)
"""0 if there are no requests, but nothing if the window is too short for the interval."""

_GUESS = Text(
    " 백분위수는 버킷 경계로 추정한 값이므로 5ms 미만과 10초 초과는 구분하지 못합니다.",
    " Quantiles are estimated from the histogram's bounds: below 5 ms and above 10 s they are only "
    "a guess.",
)


def _guess(ko: str, en: str) -> Text:
    return Text(ko + _GUESS.ko, en + _GUESS.en)


def _says(value: str, text: Text | str, colour: str) -> Json:
    return {"type": "value", "options": {value: {"text": text, "color": colour, "index": 0}}}


def _tiles() -> Iterator[Panel]:
    def tile(title: Text, description: Text, expression: str, **more: Any) -> Panel:
        return figure(title, description, query(expression), **{"size": (4, 4), **more})

    limits = {"filled": True, "color": {"mode": "thresholds"}}
    plain = {"color": fixed("blue"), "min": 0, "mappings": [NO_DATA]}
    yield tile(
        Text("상태", "State"),
        Text(
            "Prometheus가 수집할 수 있는 인스턴스의 비율. 푸시 방식에서는 최근 2분 안에 푸시한 "
            "잡의 비율입니다.",
            "Instances that Prometheus can scrape, in percent. If metrics are pushed: jobs that "
            "have pushed within two minutes.",
        ),
        STATE,
        unit=Text("suffix:% 정상", "suffix:% up"),
        decimals=0,
        **limits,
        thresholds=thresholds("red", (0.01, "yellow"), (100, "transparent")),
        mappings=[
            _says("-1", Text("앱 없음", "NO APP"), "red"),
            _says("0", Text("중단", "DOWN"), "red"),
            _says("100", Text("정상", "UP"), "transparent"),
        ],
    )
    yield tile(
        Text("알림", "Alerts"),
        Text(
            "현재 발생 중인 FastAPI 알림의 수(info 제외). 종류는 아래 '알림 이력'에 나옵니다.",
            "FastAPI alerts that are firing now, without those of severity info. The panel Alert "
            "history shows which.",
        ),
        f'count({ALERTS}, alertstate="firing", severity!="info"}}) or vector(0)',
        unit="none",
        decimals=0,
        **limits,
        thresholds=thresholds("transparent", (1, "red")),
    )
    yield tile(
        Text("초당 요청 수", "Requests per second"),
        Text(
            "선택한 경로에서 초당 완료된 요청 수. '-'이면 데이터 소스의 수집 주기 설정이 실제 수집 "
            "또는 푸시 주기보다 짧은 것입니다.",
            "Requests of the chosen paths completed per second. '-' means that the data "
            "source's interval is shorter than the one at which metrics are scraped or pushed.",
        ),
        REQUEST_RATE,
        unit="reqps",
        **plain,
    )
    yield tile(
        Text("오류 비율 (5xx)", "Error ratio (5xx)"),
        Text(
            "전체 응답에서 5xx 응답이 차지하는 비율. 5%를 넘는 상태가 5분 이어지면 FastAPIErrors, "
            "20%를 넘는 상태가 1분 이어지면 FastAPIErrorBurst 알림이 발생합니다.",
            "Share of the responses with a status of 5xx. FastAPIErrors fires above 5 % for five "
            "minutes, FastAPIErrorBurst above 20 % for one.",
        ),
        f"{ratio('5..', WINDOW)} or vector(NaN)",
        unit="percentunit",
        decimals=1,
        min=0,
        **limits,
        thresholds=thresholds("transparent", (ERROR_RATIO / 5, "yellow"), (ERROR_RATIO, "red")),
        mappings=[NO_DATA],
    )
    yield tile(
        Text("처리 시간 p95", "Duration p95"),
        _guess(
            "요청의 95%가 이 시간 안에 끝납니다.",
            "95 % of the requests complete within this time.",
        ),
        f"{quantile(0.95)} or vector(NaN)",
        unit="s",
        min=0,
        **limits,
        thresholds=thresholds("transparent", (SECONDS / 2, "yellow"), (SECONDS, "red")),
        mappings=[NO_DATA],
    )
    yield tile(
        Text("처리 중인 요청", "In progress"),
        Text(
            "시작되었으나 아직 끝나지 않은 요청 수. 계속 늘면 처리가 유입을 따라가지 못한다는 "
            "뜻입니다.",
            "Requests that have started and not completed. If they only grow, more arrive than "
            "the app can handle.",
        ),
        f"sum({IN_PROGRESS}) or vector(0)",
        unit="none",
        decimals=0,
        **plain,
    )


def _overview() -> Iterator[Panel]:
    size = (8, 7)
    yield curves(
        Text("상태 코드 그룹별 응답", "Responses by status class"),
        Text(
            "초당 응답 수. 5xx를 맨 아래에 쌓아 적은 수라도 보입니다.",
            "Responses per second. 5xx are at the bottom of the stack, where a few are visible.",
        ),
        *(
            query(f"sum(rate({responses(f'{digit}..')}[{WINDOW}]))", f"{digit}xx")
            for digit in STATUS_COLOURS
        ),
        unit="reqps",
        size=size,
        soft_max=1,
        overrides=by_status("{}xx"),
        style={"fillOpacity": 55, "lineWidth": 1, "stacking": {"mode": "normal", "group": "A"}},
    )
    yield curves(
        Text("오류 비율", "Error ratio"),
        Text(
            "선택한 경로 전체의 응답에서 5xx와 4xx가 차지하는 비율. 점선은 FastAPIErrors의 기준인 "
            "5%입니다.",
            "Share of 5xx and 4xx in the responses of all chosen paths. The dashed line is the "
            "limit of FastAPIErrors, 5 %.",
        ),
        query(ratio("5..", WINDOW), "5xx"),
        query(ratio("4..", WINDOW), "4xx"),
        unit="percentunit",
        size=size,
        soft_max=ERROR_RATIO * 1.2,
        limit=ERROR_RATIO,
        overrides=[
            *by_status("{}xx"),
            override("^5xx", custom__fillOpacity=15),
            override("^4xx", custom__lineStyle={"fill": "dash", "dash": [6, 4]}),
        ],
    )
    yield curves(
        Text("처리 시간", "Duration"),
        _guess(
            "선택한 경로 전체의 백분위수와 평균. 점선은 FastAPISlow의 기준인 1초입니다.",
            "Quantiles and mean of all chosen paths. The dashed line is the limit of "
            "FastAPISlow, 1 s.",
        ),
        query(quantile(0.99), "p99", exemplar=True),
        query(quantile(0.95), "p95"),
        query(quantile(0.5), "p50"),
        query(mean(WINDOW), Text("평균", "mean")),
        unit="s",
        size=size,
        soft_max=SECONDS * 1.1,
        limit=SECONDS,
        overrides=[
            override("^p99", color=fixed("super-light-purple"), custom__lineWidth=1),
            override("^p95", color=fixed("purple")),
            override("^p50", color=fixed("blue")),
            override(
                "^(평균|mean)",
                color=fixed("text"),
                custom__lineStyle={"fill": "dash", "dash": [6, 4]},
            ),
        ],
    )


def _paths() -> Panel:
    """One row for each path, those with the most errors first."""
    by = " by (path)"
    time = increase(f"{DURATION}_sum{{{LABELS}}}", RANGE)
    buckets = f"sum by (path, le) ({increase(BUCKETS, RANGE)})"
    errors, requests = (increase(each, RANGE) for each in (responses("5.."), REQUESTS))

    def filled(*steps: tuple[float, str]) -> Json:
        return {
            "thresholds": thresholds("transparent", *steps),
            "custom__cellOptions": {"type": "color-background", "mode": "basic"},
        }

    columns: list[tuple[Text | str, str, Json]] = [
        (Text("요청", "Requests"), f"sum{by} ({requests})", {"unit": "locale", "decimals": 0}),
        (
            "5xx",
            f"sum{by} ({errors}) or 0 * sum{by} ({requests})",
            {
                "unit": "locale",
                "decimals": 0,
                # Not filled: a few errors on each of many paths would fill the whole column.
                "thresholds": thresholds("text", (0.5, "orange")),
                "custom__cellOptions": {"type": "color-text"},
            },
        ),
        (
            Text("5xx 비율", "5xx ratio"),
            ratio("5..", RANGE, by),
            {
                "unit": "percentunit",
                "decimals": 2,
                **filled((ERROR_RATIO / 5, "yellow"), (ERROR_RATIO, "red")),
            },
        ),
        (
            Text("4xx 비율", "4xx ratio"),
            ratio("4..", RANGE, by),
            {"unit": "percentunit", "decimals": 2},
        ),
        (Text("평균", "Mean"), mean(RANGE, by), {"unit": "s"}),
        (
            "p95",
            f"histogram_quantile(0.95, {buckets})",
            {"unit": "s", **filled((SECONDS / 2, "yellow"), (SECONDS, "red"))},
        ),
        (
            Text("처리 시간 비중", "Share of time"),
            f"sum{by} ({time}) / scalar(sum ({time}))",
            {
                "unit": "percentunit",
                "min": 0,
                "max": 1,
                "decimals": 0,
                "color": fixed("blue"),
                "custom__cellOptions": {"type": "gauge", "mode": "basic"},
            },
        ),
    ]
    fields = [
        override(
            f"^Value #{chr(ord('A') + index)}$",
            displayName=name,
            # What the path leaves of 1,280 pixels.
            custom__width=120,
            **properties,
        )
        for index, (name, _, properties) in enumerate(columns)
    ]
    # The other choices stay as they are.
    kept = "&".join(f"${{{name}:queryparam}}" for name in ("datasource", "job", "instance"))
    chosen = f"var-path=${{__value.raw:percentencode}}&{kept}"
    only = {
        "title": Text("이 경로만 보기", "Show only this path"),
        "url": Text(*(f"/d/{uid}?${{__url_time_range}}&{chosen}" for uid in UID)),
    }
    return panel(
        "table",
        Text("경로별 현황", "Paths"),
        _guess(
            "선택한 시간 범위의 경로별 합계. 5xx가 많은 경로부터 표시합니다. 열 제목을 누르면 "
            "정렬하고, 경로를 누르면 그 경로만 봅니다.",
            "Each path over the whole time range, those with the most 5xx first. Click a column "
            "to sort, a path to see only that path.",
        ),
        [query_now(expression, name, format="table") for name, expression, _ in columns],
        size=(24, 9),
        options={
            "showHeader": True,
            "cellHeight": "sm",
            "sortBy": [{"displayName": each, "desc": True} for each in ("5xx", "p95")],
        },
        overrides=[
            override("^path$", displayName=Text("경로", "Path"), links=[only]),
            *fields,
        ],
        transformations=[
            {"id": "joinByField", "options": {"byField": "path", "mode": "outer"}},
            {"id": "filterFieldsByName", "options": {"include": {"pattern": "^(path|Value.*)$"}}},
        ],
        mappings=[NO_DATA],
        color={"mode": "thresholds"},
        thresholds=thresholds("text"),
        custom={"cellOptions": {"type": "auto"}, "align": "auto"},
    )


def _by_path() -> Iterator[Panel]:
    size = (12, 9)
    yield heading(Text("경로별", "By path"))
    yield curves(
        Text("경로별 요청 (상위 10개)", "Requests by path (the 10 busiest)"),
        Text("초당 완료된 요청 수.", "Requests completed per second."),
        query(
            top(
                f"sum by (path) (rate({REQUESTS}[{WINDOW}]))",
                f"sum by (path) (increase({REQUESTS}[{RANGE}] @ end()))",
            ),
            "{{path}}",
        ),
        unit="reqps",
        size=size,
        soft_max=1,
        legend="table",
    )
    errors = f"sum by (path, status_code) ({increase(responses('5..'), WINDOW)})"
    yield curves(
        Text("경로·상태 코드별 서버 오류", "Server errors by path and status code"),
        Text(
            "직전 1분(수집 주기가 길면 그 네 배) 동안의 5xx 응답 수. 첫 오류도 나타납니다.",
            "5xx responses in the minute before, or in four intervals if that is longer. A first "
            "single error is shown, too.",
        ),
        query(f"{errors} > 0", "{{status_code}} {{path}}"),
        unit="locale",
        decimals=0,
        size=size,
        soft_max=5,
        legend="table",
        noValue=Text("서버 오류 없음", "No server errors"),
        style={
            "drawStyle": "bars",
            "lineWidth": 0,
            "fillOpacity": 80,
            "stacking": {"mode": "normal", "group": "A"},
        },
    )
    yield curves(
        Text("경로별 p95 (느린 순 10개)", "p95 by path (the 10 slowest)"),
        _guess(
            "요청의 95%가 이 시간 안에 끝납니다. 이벤트 스트림이나 대용량 다운로드는 원래 "
            "느립니다.",
            "95 % of the requests complete within this time. Event streams and long downloads "
            "are slow by design.",
        ),
        query(
            top(
                quantile(0.95, "path, le"),
                quantile(0.95, "path, le", f"[{RANGE}] @ end()"),
            ),
            "{{path}}",
        ),
        unit="s",
        size=size,
        soft_max=SECONDS * 1.1,
        limit=SECONDS,
        legend="table",
    )
    yield panel(
        "heatmap",
        Text("선택한 경로의 처리 시간 분포", "Durations of the chosen paths"),
        Text(
            "시간대별 처리 시간 분포. 색이 뚜렷할수록 요청이 많습니다. 위 표에서 경로를 누르면 그 "
            "경로의 분포만 나옵니다.",
            "How many requests took how long. The stronger the colour, the more requests. Click a "
            "path in the table to see that path alone.",
        ),
        [
            query(
                f"sum by (le) (increase({BUCKETS}[{WINDOW}]))",
                "{{le}}",
                format="heatmap",
            )
        ],
        size=size,
        options={
            "calculate": False,
            "cellGap": 1,
            # Opacity is read the same way on a dark and on a light background.
            "color": {"mode": "opacity", "fill": "blue", "scale": "exponential", "exponent": 0.5},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "yAxis": {"axisPlacement": "left", "unit": "s"},
            "tooltip": {"mode": "single", "yHistogram": True},
            "cellValues": {"unit": "locale"},
            "showValue": "never",
        },
        custom={"scaleDistribution": {"type": "linear"}},
    )


def _saturation() -> Iterator[Panel]:
    size = (8, 8)
    yield heading(Text("포화도", "Saturation"))
    yield curves(
        Text("인스턴스별 처리 중인 요청", "In progress by instance"),
        Text(
            "구간별 최댓값. 수집 사이에 시작되어 끝난 요청은 포함되지 않습니다.",
            "The most in each step, as seen at scrapes.",
        ),
        query(
            f"sum by (job, instance) (max_over_time({IN_PROGRESS}[{WINDOW}]))",
            "{{job}} {{instance}}",
        ),
        unit="none",
        decimals=0,
        size=size,
        soft_max=5,
        calculations=["max"],
        style={"fillOpacity": 15},
    )
    yield curves(
        Text("워커별 메모리 (RSS)", "Memory by worker (RSS)"),
        Text(
            "각 워커가 실제로 차지하는 물리 메모리. 워커가 하나면 PID가 표시되지 않습니다.",
            "Physical memory that each worker process uses. With a single worker no PID is shown.",
        ),
        query(MEMORY, "{{instance}} {{process_pid}}"),
        unit="bytes",
        size=size,
        soft_max=64 * 2**20,
        calculations=["max"],
    )
    yield curves(
        Text("워커당 CPU", "CPU per worker"),
        Text(
            "워커 하나가 평균적으로 사용한 CPU 코어 수. 워커 하나는 최대 1(코어 하나)까지 쓸 수 "
            "있습니다.",
            "CPU cores that a worker uses on average; one worker can use 1, a whole core.",
        ),
        query(
            f"sum by (job, instance) (rate(process_cpu_time_seconds_total{{{CHOSEN}}}[{WINDOW}]))"
            f" / count by (job, instance) ({MEMORY})",
            "{{instance}}",
        ),
        unit="percentunit",
        size=size,
        soft_max=1,
        calculations=["max"],
        limit=0.9,
    )
    yield curves(
        Text("이벤트 루프 지연", "Event loop delay"),
        Text(
            "이벤트 루프가 막혀 다른 요청이 모두 기다린 가장 긴 시간(버킷의 상한). 점선은 "
            "FastAPIEventLoopBlocked의 기준인 0.25초입니다. 원인은 대개 async def 안의 블로킹 "
            "호출입니다.",
            "The longest time that the event loop kept everything else waiting (the bucket's upper "
            "bound). The dashed line is the limit of FastAPIEventLoopBlocked, 0.25 s. The cause is "
            "usually a blocking call within an async def.",
        ),
        query(
            "histogram_quantile(1, sum by (le, job, instance) "
            f"(increase(app_event_loop_delay_seconds_bucket{{{CHOSEN}}}[{WINDOW}])))",
            "{{instance}}",
        ),
        unit="s",
        size=size,
        soft_max=0.3,
        calculations=["max"],
        limit=EVENT_LOOP_DELAY,
    )
    yield curves(
        Text("워커 스레드", "Worker threads"),
        Text(
            "def 엔드포인트가 실행되는 스레드 중 사용 중인 수와 빈 스레드를 기다리는 호출 수. "
            "워커별 최댓값입니다. 워커마다 기본 40개입니다.",
            "Threads in which def endpoints run that are in use, and calls that wait for one: the "
            "most of any worker. By default each worker has 40.",
        ),
        query(
            f"max by (job, instance) (max_over_time(app_thread_pool_in_use{{{CHOSEN}}}[{WINDOW}]))",
            Text("{{instance}} 사용 중", "{{instance}} in use"),
        ),
        query(
            "max by (job, instance) "
            f"(max_over_time(app_thread_pool_waiting{{{CHOSEN}}}[{WINDOW}]))",
            Text("{{instance}} 대기", "{{instance}} waiting"),
        ),
        unit="none",
        decimals=0,
        size=size,
        soft_max=40,
        calculations=["max"],
    )
    pool = "job, instance, db_client_connection_pool_name"
    named = "{{instance}} {{db_client_connection_pool_name}}"
    yield curves(
        Text("데이터베이스 커넥션 풀", "Database connection pools"),
        Text(
            "telemetry.observe_pool로 등록한 풀에서 사용 중인 커넥션의 비율과 커넥션을 기다리는 "
            "요청 수. 워커별 최댓값입니다.",
            "Connections in use of pools given to telemetry.observe_pool, as a share of the limit, "
            "and requests that wait for one: the most of any worker.",
        ),
        query(
            f"max by ({pool}) (db_client_connection_count{{{CHOSEN}, "
            'db_client_connection_state="used"} / ignoring (db_client_connection_state) '
            f"db_client_connection_max{{{CHOSEN}}})",
            Text(f"{named} 사용률", f"{named} in use"),
        ),
        query(
            f"max by ({pool}) (db_client_connection_pending_requests{{{CHOSEN}}})",
            Text(f"{named} 대기", f"{named} waiting"),
        ),
        unit="percentunit",
        size=size,
        soft_max=1,
        calculations=["max"],
        overrides=[override(Text("대기$", "waiting$"), unit="none", custom__axisPlacement="right")],
        noValue=Text("등록된 풀 없음 (설명 참고)", "No pool is observed (see the description)"),
    )
    yield curves(
        Text("가비지 컬렉터 일시 정지", "Garbage collector pauses"),
        Text(
            "가비지 컬렉터가 프로세스를 멈춘 시간 중 가장 긴 것(버킷의 상한). 1ms 이상만 "
            "측정합니다.",
            "The longest time that the garbage collector stopped a process (the bucket's upper "
            "bound). Pauses from 1 ms on are measured.",
        ),
        query(
            "histogram_quantile(1, sum by (le, job, instance) "
            f"(increase(app_gc_pause_seconds_bucket{{{CHOSEN}}}[{WINDOW}])))",
            "{{instance}}",
        ),
        unit="s",
        size=size,
        soft_max=0.05,
        calculations=["max"],
        noValue=Text("1ms 이상의 일시 정지 없음", "No pause of 1 ms or longer"),
    )
    yield curves(
        Text("열린 파일", "Open files"),
        Text(
            "열린 파일 디스크립터(소켓 포함)의 한도 대비 비율. 워커별 최댓값입니다.",
            "Open file descriptors, sockets among them, as a share of their limit: the most of any "
            "worker.",
        ),
        query(
            f"max by (job, instance) (process_unix_file_descriptor_count{{{CHOSEN}}}"
            f" / app_file_descriptor_limit{{{CHOSEN}}})",
            "{{instance}}",
        ),
        unit="percentunit",
        size=size,
        soft_max=1,
        calculations=["max"],
        limit=0.9,
    )
    yield curves(
        Text("열린 WebSocket", "Open WebSockets"),
        Text(
            "경로별로 열려 있는 WebSocket 연결 수.",
            "WebSocket connections that are open, by path.",
        ),
        query(f"sum by (path) (app_websockets_open{{{LABELS}}})", "{{path}}"),
        unit="none",
        decimals=0,
        size=size,
        legend="table",
        soft_max=5,
        calculations=["max"],
        noValue=Text("WebSocket 없음", "No WebSockets"),
    )


def _operation() -> Iterator[Panel]:
    def timeline(
        title: Text, description: Text, target: Json, empty: Text, *states: Json, width: int
    ) -> Panel:
        return panel(
            "state-timeline",
            title,
            description,
            [target],
            size=(width, 7),
            options={
                "showValue": "auto",
                "rowHeight": 0.9,
                "mergeValues": True,
                "legend": {"showLegend": False},
                "tooltip": {"mode": "single"},
            },
            noValue=empty,
            unit="none",
            decimals=0,
            mappings=list(states),
            color={"mode": "thresholds"},
            thresholds=thresholds("text"),
            custom={"fillOpacity": 80, "lineWidth": 0},
        )

    yield heading(Text("알림과 워커", "Alerts and workers"))
    yield timeline(
        Text("알림 이력", "Alert history"),
        Text(
            "대기 중(pending)이거나 발생한(firing) 알림. 조치 방법은 Prometheus의 Alerts 화면에 "
            "있습니다.",
            "Alerts that were pending or firing. Prometheus's page Alerts says what to do.",
        ),
        query(
            f'max by (job, alertname) ({ALERTS}, alertstate="firing"}} * 2'
            f' or {ALERTS}, alertstate="pending"}})',
            "{{job}} {{alertname}}",
        ),
        Text("이 시간 범위에 알림 없음", "No alerts in this time range"),
        _says("1", Text("대기", "pending"), "yellow"),
        _says("2", Text("발생", "firing"), "red"),
        width=12,
    )
    yield curves(
        Text("실행 중인 워커", "Running workers"),
        Text(
            "최근 2분 안에 메트릭을 내보낸 워커 프로세스의 수.",
            "Worker processes that have exported metrics within two minutes.",
        ),
        query(
            # VictoriaMetrics knows the timestamp of a series that has ended, too.
            f"count by (job, instance) ({MEMORY} and timestamp({MEMORY}) > time() - 120)",
            "{{job}} {{instance}}",
        ),
        unit="none",
        decimals=0,
        size=(6, 7),
        soft_max=2,
        style={"lineInterpolation": "stepAfter"},
    )
    yield curves(
        Text("마지막 메트릭 이후 시간", "Age of the metrics"),
        Text(
            "마지막으로 수집되거나 푸시된 뒤 지난 시간. 주기보다 길어지면 수집이나 푸시가 실패하고 "
            "있는 것입니다.",
            "Time since the last scrape or push. Longer than their interval means that they fail.",
        ),
        query(
            f"time() - max by (job, instance) (timestamp({MEMORY}))",
            "{{job}} {{instance}}",
        ),
        unit="s",
        size=(6, 7),
        soft_max=60,
    )
    yield heading(Text("수집 (푸시 방식에는 없음)", "Scraping (empty if metrics are pushed)"))
    pushed = Text("푸시 방식에는 수집이 없습니다", "Pushed, not scraped")
    yield timeline(
        Text("수집 성공 여부", "Scrapes"),
        Text(
            "Prometheus가 앱을 수집하는 데 성공했는지 여부. 수집 방식에만 있습니다.",
            "Whether Prometheus could scrape the app. Only for scraping.",
        ),
        query(f"up{{{CHOSEN}}}", "{{job}} {{instance}}"),
        pushed,
        _says("0", Text("실패", "down"), "red"),
        _says("1", Text("성공", "up"), "semi-dark-blue"),
        width=8,
    )
    yield curves(
        Text("수집 시간", "Scrape duration"),
        Text(
            "/metrics를 한 번 수집하는 데 걸린 시간. 수집 방식에만 있습니다.",
            "How long one scrape of /metrics takes. Only for scraping.",
        ),
        query(f"scrape_duration_seconds{{{CHOSEN}}}", "{{job}} {{instance}}"),
        unit="s",
        size=(8, 7),
        soft_max=0.1,
        calculations=["max"],
        noValue=pushed,
    )
    yield curves(
        Text("수집한 샘플 수", "Samples per scrape"),
        Text(
            "한 번에 수집한 샘플의 수. 갑자기 늘면 레이블 값이 너무 많아진 것입니다. 수집 "
            "방식에만 있습니다.",
            "Samples in one scrape. A jump means that a label has too many values. Only for "
            "scraping.",
        ),
        query(f"scrape_samples_scraped{{{CHOSEN}}}", "{{job}} {{instance}}"),
        unit="locale",
        decimals=0,
        size=(8, 7),
        soft_max=100,
        calculations=["max"],
        style={"lineInterpolation": "stepAfter"},
        noValue=pushed,
    )


def _panels() -> Iterator[Panel]:
    yield from _tiles()
    yield from _overview()
    yield _paths()
    yield from _by_path()
    yield from _saturation()
    yield from _operation()


def _event(name: Text, series: str, colour: str, text: str) -> Json:
    """A mark on all graphs where a series begins."""
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "expr": f"{series} unless {series} offset 1m",
        "step": "60s",
        "titleFormat": text,
    }


def service() -> Json:
    """The dashboard of any number of services, instances and paths."""
    return dashboard(
        UID,
        Text("FastAPI 서비스 대시보드", "FastAPI service"),
        Text(
            "운영용 화면: 이상 여부, 문제가 있는 경로, 포화도, 알림",
            "For operation: whether something is wrong, on which path, saturation, alerts",
        ),
        _panels(),
        refresh="30s",
        links=[
            link(
                Text("튜토리얼 대시보드", "Tutorial dashboard"),
                Text("fastapi-metrics", "fastapi-metrics-en"),
            ),
            link(Text("English", "한국어"), Text("fastapi-service-en", "fastapi-service")),
        ],
        variables=[
            # Also jobs that only an alert knows: those that have never been up.
            variable(
                "job",
                Text("잡 (job)", "Job"),
                '{__name__=~"app_memory_usage_bytes|ALERTS", alertname=~"FastAPI.*|"}, job',
            ),
            variable(
                "instance",
                Text("인스턴스", "Instance"),
                '{__name__=~"app_memory_usage_bytes|ALERTS", alertname=~"FastAPI.*|", '
                'job=~"$job"}, instance',
            ),
            variable(
                "path",
                Text("경로", "Path"),
                f"app_requests_total{{{CHOSEN}}}, path",
                allValue=".*",
            ),
        ],
        annotations=[
            _event(
                Text("앱 시작", "Starts"),
                f"target_info{{{CHOSEN}}}",
                "blue",
                "{{instance}} {{service_version}}",
            ),
            _event(
                Text("알림", "Alerts"),
                f'{ALERTS}, alertstate="firing"}}',
                "red",
                "{{alertname}}",
            ),
        ],
    )
