"""The row "By path": which paths are busy, fail, or are slow."""

from collections.abc import Iterator
from functools import partial

from grafana.dashboards.overview import guess, limits, within
from grafana.dashboards.panels import (
    ERRORS,
    Panel,
    Text,
    by_place,
    curves,
    heading,
    line,
    panel,
    query,
    worst,
)
from grafana.dashboards.queries import RATE, WHOLE, Queries, events, or_none, shortened

SIZE = (12, 9)
BARS = {
    "drawStyle": "bars",
    "lineWidth": 0,
    "fillOpacity": 80,
    "stacking": {"mode": "normal", "group": "A"},
}


def by_path(ask: Queries) -> Iterator[Panel]:
    """The five worst of each, and how the latency is spread."""
    by = "path"
    *_, seconds = limits(ask)
    yield heading(Text("경로별", "By path"))
    yield curves(
        Text("경로별 요청 (상위 5개)", "Requests by path (the 5 busiest)"),
        Text("초당 완료된 요청 수.", "Requests completed per second."),
        *worst(
            shortened(ask.requests(RATE, by, "rate")),
            shortened(ask.requests(WHOLE, by)),
            "{{shown}}",
        ),
        unit="reqps",
        size=SIZE,
        soft_max=1,
        legend="right",
        overrides=by_place(),
    )
    status = "path, status_code"
    errors = ask.responses(RATE, "5..", status, "rate")
    yield curves(
        Text(
            "경로·상태 코드별 서버 오류 (상위 5개)", "Server errors by path and status code (top 5)"
        ),
        Text(
            "구간마다 그동안의 5xx 응답 수. 오류 하나는 막대 하나에만 나옵니다.",
            "5xx responses in each step. A single error is in one bar only.",
        ),
        *or_none(
            *worst(
                shortened(f"{events(errors)} > 0"),
                shortened(ask.responses(WHOLE, "5..", status)),
                "{{status_code}} {{shown}}",
            ),
            of=f"{events(errors)} > 0",
        ),
        unit="locale",
        decimals=0,
        size=SIZE,
        soft_max=5,
        legend="right",
        # A window that is a scrape longer than the step needs at least three scrapes in it.
        interval="1m",
        overrides=[*by_place(ERRORS), line("^(없음|none)$", "text")],
        style=BARS,
    )
    exceptions = events(ask.exceptions(RATE, "rate"))
    yield curves(
        Text("유형·경로별 예외 (상위 5개)", "Exceptions by type and path (top 5)"),
        Text(
            "구간마다 앱이 처리하지 않은 예외의 수. 예외 하나는 막대 하나에만 나옵니다. 예외의 "
            "메시지는 앱의 로그에 있습니다.",
            "Exceptions in each step that the app has not handled. A single one is in one bar "
            "only. Their text is in the log of the app.",
        ),
        *or_none(
            *worst(
                shortened(f"{exceptions} > 0", 10),
                shortened(ask.exceptions(WHOLE), 10),
                "{{kind}} {{shown}}",
            ),
            of=f"{exceptions} > 0",
        ),
        unit="locale",
        decimals=0,
        size=SIZE,
        soft_max=5,
        legend="right",
        interval="1m",
        overrides=[*by_place(ERRORS), line("^(없음|none)$", "text")],
        style=BARS,
    )

    def p95(title: Text, description: Text, histogram: str, limit: float | None = None) -> Panel:
        quantile = partial(ask.quantile, 0.95, by="path", histogram=histogram)
        return curves(
            title,
            description,
            *worst(
                shortened(quantile(RATE)),
                # Quantiles come in any order: two equal ones could both be, say, the third.
                shortened(f"0 * {ask.requests(WHOLE, by)} + on (path) ({quantile(WHOLE)})"),
                "{{shown}}",
            ),
            unit="s",
            size=SIZE,
            soft_max=seconds * 1.1,
            limit=limit,
            legend="right",
            overrides=by_place(),
        )

    yield p95(
        Text("경로별 지연 시간 p95 (느린 순 5개)", "Latency p95 by path (the 5 slowest)"),
        guess(*within(ask)),
        ask.names.latency,
        seconds,
    )
    if ask.has_first_byte:
        yield p95(
            Text("경로별 처리 시간 p95 (긴 순 5개)", "Duration p95 by path (the 5 longest)"),
            guess(
                "요청의 95%가 이 시간 안에 마지막 바이트까지 끝납니다. 이벤트 스트림, 모델의 답변, "
                "대용량 다운로드는 원래 오래 걸립니다.",
                "95 % of the requests complete within this time (to the last byte). Event streams, "
                "a model's answers and large downloads are long by design.",
            ),
            ask.names.duration,
        )
    yield panel(
        "heatmap",
        Text("선택한 경로의 지연 시간 분포", "Latency of the chosen paths"),
        Text(
            "시간에 따른 지연 시간의 분포. 색이 뚜렷할수록 요청이 많습니다. 위 표에서 경로를 "
            "누르면 그 경로의 분포만 나옵니다.",
            "How the latency is distributed over time. The stronger the colour, the more requests. "
            "Click a path in the table to see that path alone.",
        ),
        [query(ask.heatmap(), "{{le}}", heatmap=True)],
        # Without the panel of the durations there is nothing beside it.
        size=SIZE if ask.has_first_byte else (24, 9),
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
