"""The first screen: whether something is wrong, and on which path."""

from collections.abc import Iterator
from typing import Any

from deploy.rules import PAGES
from grafana.dashboards.panels import (
    NO_DATA,
    STATUS_COLOURS,
    UNFILLED,
    Json,
    Panel,
    Text,
    by_status,
    curves,
    figure,
    fixed,
    line,
    override,
    panel,
    query,
    says,
    thresholds,
)
from grafana.dashboards.queries import (
    ALERTS,
    CHOSEN,
    MEMORY,
    NONE,
    RANGE,
    RATE,
    Queries,
    shortened,
)

LAST_BOUND = 10
"""Of the histograms of seconds: a quantile beyond it is only known to be above."""
GUESS = Text(
    " 백분위수는 버킷 경계로 추정한 값이므로 5ms 미만과 10초 초과는 구분하지 못합니다"
    "(네이티브 히스토그램 제외).",
    " Quantiles are estimated from the bounds of the buckets: below 5 ms and above 10 s they are "
    "only a guess, unless the histograms are native.",
)
STATE = (
    f"100 * avg(up{{{CHOSEN}}}"
    f" or on (job) (count by (job) (present_over_time({MEMORY}[2m])) > bool 0)"
    f" or on (job) 0 * count by (job) (present_over_time({MEMORY}[{RANGE}]))"
    ") or vector(-1)"
)
"""How many percent of the instances are up, by what Prometheus scrapes; a job that pushes is up
if it has pushed within two minutes. -1 if there is none."""


def guess(ko: str, en: str) -> Text:
    """A description of quantiles."""
    return Text(ko + GUESS.ko, en + GUESS.en)


def within(ask: Queries) -> Text:
    """What a 95th percentile of the latency means."""
    if ask.has_first_byte:
        return Text(
            "응답의 95%가 이 시간 안에 시작됩니다(첫 바이트까지).",
            "95 % of the responses begin within this time (to the first byte).",
        )
    return Text(
        "요청의 95%가 이 시간 안에 끝납니다.", "95 % of the requests complete within this time."
    )


def _known(expression: str) -> str:
    """The value; not a number where nothing is known, so that no old one is shown."""
    return f"{expression} or vector(NaN)"


def limits(ask: Queries) -> tuple[float, float, float]:
    """Which error ratio breaks the objective, which one pages, and the seconds of the objective."""
    budget = ask.objectives.availability.targets[0].budget
    return budget, min(1, budget * PAGES[0][0]), ask.objectives.latency.targets[0].seconds


def _beyond() -> list[Json]:
    return [UNFILLED, says(str(LAST_BOUND), f"> {LAST_BOUND} s", "red")]


def tiles(ask: Queries) -> Iterator[Panel]:
    """Five figures; on a phone, they and the first paths are the first screen."""
    budget, page, seconds = limits(ask)
    filled: Any = {"filled": True, "color": {"mode": "thresholds"}}
    yield figure(
        Text("상태", "State"),
        Text(
            "Prometheus가 수집할 수 있는 인스턴스의 비율. 푸시 방식에서는 최근 2분 안에 푸시한 "
            "잡의 비율입니다.",
            "Instances that Prometheus can scrape, in percent. If metrics are pushed: jobs that "
            "have pushed within two minutes.",
        ),
        query(STATE),
        size=(4, 3),
        unit=Text("suffix:% 정상", "suffix:% up"),
        decimals=0,
        **filled,
        thresholds=thresholds("red", (0.01, "yellow"), (100, "transparent")),
        mappings=[
            says("-1", Text("앱 없음", "NO APP"), "red"),
            says("0", Text("중단", "DOWN"), "red"),
            says("100", Text("정상", "UP"), "transparent"),
        ],
    )
    of = f'{ALERTS}, alertstate="firing", severity'
    # Those that page first.
    firing = f'max by (alertname, job, path) (2 * {of}="critical"}} or {of}="warning"}})'
    yield figure(
        Text("알림", "Alerts"),
        Text(
            "현재 발생 중인 FastAPI 알림(info 제외), 많으면 세 개까지. 전체는 아래 '알림 이력'에 "
            "나옵니다.",
            "FastAPI alerts that are firing now, without those of severity info; three of them if "
            "there are more. The panel Alert history shows all.",
        ),
        query(shortened(f"topk(3, {firing})", 16), "{{alertname}} {{job}} {{shown}}", now=True),
        query(f"{NONE} unless count({firing})", Text("없음", "none"), now=True),
        size=(8, 3),
        text="name",
        unit="none",
        decimals=0,
        text_size=14,
        orientation="horizontal",
        **filled,
        thresholds=thresholds("transparent", (1, "red")),
    )
    yield figure(
        Text("오류 비율 (5xx)", "Error ratio (5xx)"),
        Text(
            f"전체 응답에서 5xx 응답이 차지하는 비율. {budget:.2%}를 넘으면 목표를 벗어나고, "
            f"{page:.2%}를 넘는 상태가 이어지면 FastAPIErrors가 호출(critical)합니다.",
            f"Share of the responses with a status of 5xx. Above {budget:.2%} the objective is "
            f"broken; FastAPIErrors pages if it stays above {page:.2%}.",
        ),
        query(_known(ask.ratio("5..", RATE))),
        size=(4, 3),
        unit="percentunit",
        decimals=2,
        min=0,
        **filled,
        thresholds=thresholds("transparent", (budget, "yellow"), (page, "red")),
        mappings=[UNFILLED],
    )
    yield figure(
        Text("지연 시간 p95", "Latency p95"),
        guess(*within(ask)),
        query(_known(ask.quantile(0.95, RATE))),
        size=(4, 3),
        unit="s",
        min=0,
        **filled,
        thresholds=thresholds("transparent", (seconds / 2, "yellow"), (seconds, "red")),
        mappings=_beyond(),
    )
    rate = ask.requests(RATE, function="rate")
    counters = ask.names.select(ask.names.requests, CHOSEN, ask.paths)
    yield figure(
        Text("초당 요청 수", "Requests per second"),
        Text(
            "선택한 경로에서 초당 완료된 요청 수. '-'이면 앱이 없거나, 데이터 소스의 수집 주기 "
            "설정이 실제 수집 또는 푸시 주기보다 짧은 것입니다.",
            "Requests of the chosen paths completed per second. '-' means that there is no app, or "
            "that the data source's interval is shorter than the one at which metrics are scraped "
            "or pushed.",
        ),
        # Zero if there has been no request, but nothing if the window is too short.
        query(_known(f"{rate} or ({NONE} unless count({counters}))")),
        size=(4, 3),
        unit="reqps",
        color=fixed("blue"),
        min=0,
        mappings=[NO_DATA],
    )


def table(ask: Queries) -> Panel:
    """One row for each path, those that break their objectives most first."""
    budget, page, seconds = limits(ask)
    by = "path"
    time = ask.seconds(RANGE, by)
    requests = ask.requests(RANGE, by)

    def filled(*steps: tuple[float, str]) -> Json:
        return {
            "thresholds": thresholds("transparent", *steps),
            "custom.cellOptions": {"type": "color-background", "mode": "basic"},
        }

    whole: Json = {"unit": "locale", "decimals": 0}
    columns: list[tuple[Text | str, str, Json]] = [
        (
            Text("목표 초과", "Over objective"),
            shortened(ask.over_objectives()),
            {**whole, **filled((1, "yellow"), (ask.objectives.availability.least, "red"))},
        ),
        (
            Text("5xx 비율", "5xx ratio"),
            ask.ratio("5..", RANGE, by),
            {"unit": "percentunit", "decimals": 2, **filled((budget, "yellow"), (page, "red"))},
        ),
        (
            "p95",
            ask.quantile(0.95, RANGE, "path", "increase"),
            {
                "unit": "s",
                "mappings": _beyond(),
                **filled((seconds / 2, "yellow"), (seconds, "red")),
            },
        ),
        (Text("요청", "Requests"), requests, whole),
        (
            "5xx",
            f"{ask.responses(RANGE, '5..', by)} or 0 * {requests}",
            # Not filled: a few errors on each of many paths would fill the whole column.
            {
                **whole,
                "thresholds": thresholds("text", (0.5, "red")),
                "custom.cellOptions": {"type": "color-text"},
            },
        ),
        (
            Text("4xx 비율", "4xx ratio"),
            ask.ratio("4..", RANGE, by),
            {"unit": "percentunit", "decimals": 2},
        ),
        (Text("평균", "Mean"), ask.mean(RANGE, by), {"unit": "s"}),
        (
            Text("처리 시간 비중", "Share of time"),
            f"({time}) / scalar(sum ({time}))",
            {
                "unit": "percentunit",
                "min": 0,
                "max": 1,
                "decimals": 0,
                "color": fixed("blue"),
                "custom.cellOptions": {"type": "gauge", "mode": "basic"},
            },
        ),
    ]
    # The other choices stay as they are.
    kept = "&".join(f"${{{name}:queryparam}}" for name in ("datasource", "job", "instance"))
    chosen = f"var-path=${{__data.fields.path:percentencode}}&{kept}"
    only = {
        "title": Text("이 경로만 보기", "Show only this path"),
        "url": Text(*(f"/d/{uid}?${{__url_time_range}}&{chosen}" for uid in ask.uid)),
    }
    names = [f"Value #{chr(ord('A') + index)}" for index in range(len(columns))]
    order = ["shown", *names, "path"]
    return panel(
        "table",
        Text("경로별 현황", "Paths"),
        guess(
            "선택한 시간 범위의 경로별 합계. 목표를 가장 많이 벗어난 경로부터 표시합니다. '목표 "
            "초과'는 오류이거나 느린 요청 가운데 목표가 허용하는 수를 넘은 것입니다. 열 제목을 "
            "누르면 정렬하고, 경로를 누르면 그 경로만 봅니다.",
            "Each path over the whole time range, those that break their objectives most first. "
            "Over objective: failed and slow requests beyond those that the objectives allow. "
            "Click a column to sort, a path to see only that path.",
        ),
        [query(expression, name, now=True, table=True) for name, expression, _ in columns],
        size=(24, 9),
        options={
            "showHeader": True,
            "cellHeight": "sm",
            "sortBy": [
                {"displayName": each, "desc": True}
                for each in (Text("목표 초과", "Over objective"), "p95")
            ],
        },
        overrides=[
            override(
                "^shown$",
                {"displayName": Text("경로", "Path"), "links": [only], "custom.width": 225},
            ),
            override("^path$", {"displayName": Text("전체 경로", "Whole path")}),
            # A phone shows the first two columns.
            *(
                override(f"^{name}$", {"displayName": title, "custom.width": 105, **properties})
                for name, (title, _, properties) in zip(names, columns, strict=True)
            ),
        ],
        transformations=[
            {"id": "joinByField", "options": {"byField": "path", "mode": "outer"}},
            {
                "id": "filterFieldsByName",
                "options": {"include": {"pattern": "^(path|shown|Value.*)$"}},
            },
            {
                "id": "organize",
                "options": {"indexByName": {name: place for place, name in enumerate(order)}},
            },
        ],
        mappings=[NO_DATA],
        color={"mode": "thresholds"},
        thresholds=thresholds("text"),
        custom={"cellOptions": {"type": "auto"}, "align": "auto"},
    )


def graphs(ask: Queries) -> Iterator[Panel]:
    """Responses, errors and latency of all chosen paths over time."""
    _, page, seconds = limits(ask)
    size = (8, 7)
    yield curves(
        Text("상태 코드 그룹별 응답", "Responses by status class"),
        Text(
            "초당 응답 수. 5xx를 맨 아래에 쌓아 적은 수라도 보입니다.",
            "Responses per second. 5xx are at the bottom of the stack, where a few are visible.",
        ),
        *(
            query(ask.responses(RATE, f"{digit}..", function="rate"), f"{digit}xx")
            for digit in STATUS_COLOURS
        ),
        unit="reqps",
        size=size,
        soft_max=1,
        legend="list",
        overrides=by_status("{}xx"),
        style={"fillOpacity": 55, "lineWidth": 1, "stacking": {"mode": "normal", "group": "A"}},
    )
    yield curves(
        Text("오류 비율", "Error ratio"),
        Text(
            "선택한 경로 전체의 응답에서 5xx와 4xx가 차지하는 비율. 점선을 넘는 상태가 이어지면 "
            "FastAPIErrors가 호출(critical)합니다.",
            "Share of 5xx and 4xx in the responses of all chosen paths. FastAPIErrors pages if 5xx "
            "stay above the dashed line.",
        ),
        query(ask.ratio("5..", RATE), "5xx"),
        query(ask.ratio("4..", RATE), "4xx"),
        unit="percentunit",
        size=size,
        soft_max=page * 1.2,
        limit=page,
        legend="list",
        overrides=[
            line("^5xx", "red", fillOpacity=15),
            line("^4xx", "yellow", dashed=True),
        ],
    )
    yield curves(
        Text("지연 시간", "Latency"),
        guess(
            f"선택한 경로 전체의 백분위수와 평균. 점선은 목표인 {seconds:g}초입니다. "
            f"p95의 뜻: {within(ask).ko}",
            f"Quantiles and mean of all chosen paths. The dashed line is the objective, "
            f"{seconds:g} s. The p95: {within(ask).en}",
        ),
        query(ask.quantile(0.99, RATE), "p99", exemplar=True),
        query(ask.quantile(0.95, RATE), "p95"),
        query(ask.quantile(0.5, RATE), "p50"),
        query(ask.mean(RATE), Text("평균", "mean")),
        unit="s",
        size=size,
        soft_max=seconds * 1.1,
        limit=seconds,
        legend="list",
        overrides=[
            line("^p99", "orange", lineWidth=1),
            line("^p95", "super-light-purple"),
            line("^p50", "blue"),
            line("^(평균|mean)", "text", dashed=True),
        ],
    )
