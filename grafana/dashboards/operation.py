"""The rows "Objectives", "Alerts and workers" and "Scraping"."""

from collections.abc import Iterator
from functools import partial

from deploy.rules import PAGES
from grafana.dashboards.panels import (
    UNFILLED,
    Json,
    Panel,
    Text,
    by_place,
    curves,
    figure,
    heading,
    line,
    panel,
    query,
    says,
    thresholds,
    worst,
)
from grafana.dashboards.queries import (
    ALERTS,
    CHOSEN,
    MEMORY,
    NONE,
    RANGE,
    RATE,
    STEP,
    Queries,
    events,
    shortened,
)

INSTANCE = "by (job, instance)"
NAME = "{{job}} {{instance}}"
JOB = 'job=~"$job"'


def _timeline(title: Text, description: Text, target: Json, *states: Json, width: int) -> Panel:
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
        unit="none",
        decimals=0,
        mappings=list(states),
        color={"mode": "thresholds"},
        thresholds=thresholds("text"),
        custom={"fillOpacity": 80, "lineWidth": 0},
    )


def objectives(ask: Queries) -> Iterator[Panel]:
    """What is left of the error budgets, and how fast they burn."""
    period = ask.objectives.period
    yield heading(Text("목표와 오류 예산", "Objectives and error budgets"))
    for each in ask.objectives.both:
        word = {
            "availability": Text("가용성", "Availability"),
            "latency": Text("지연 시간", "Latency"),
        }[each.name]
        selected = f'{{objective="{each.name}", {JOB}}}'
        bad, allowed = (
            f"sum(sum_over_time(job:app_objective_{what}:increase5m{selected}[{period}:5m]))"
            for what in ("bad", "allowed")
        )
        yield figure(
            Text(f"{word.ko} 예산", f"{word.en} budget"),
            Text(
                f"최근 {period} 동안 목표가 허용하는 위반 가운데 남은 비율. 음수이면 목표를 지키지 "
                "못한 것입니다.",
                f"What is left of the requests that may break the objective in {period}. Below "
                "zero it was not met.",
            ),
            query(f"1 - {bad} / ({allowed} > 0) or vector(NaN)", now=True),
            size=(4, 7),
            filled=True,
            color={"mode": "thresholds"},
            thresholds=thresholds("red", (0, "yellow"), (0.25, "transparent")),
            unit="percentunit",
            decimals=1,
            mappings=[UNFILLED],
        )
    burn = f'max by (objective, path) (job_path:app_objective:burn1h{{{JOB}, path=~"$path"}})'
    limit = PAGES[0][0]
    yield curves(
        Text("경로별 예산 소진 속도 (1시간, 상위 5개)", "Burn rate by path (1 hour, top 5)"),
        Text(
            f"최근 1시간 동안 오류 예산이 허용된 속도의 몇 배로 소진되었는지. 1이면 기간 끝에 "
            f"정확히 바닥납니다. 점선은 호출(critical) 기준인 {limit:g}배입니다.",
            f"How many times as fast as allowed the error budget was used up in the last hour. At "
            f"1 it lasts exactly for its period. The dashed line is where an alert pages, "
            f"{limit:g}.",
        ),
        *worst(
            shortened(burn),
            shortened(
                f"max by (objective, path) (max_over_time(job_path:app_objective:burn1h"
                f'{{{JOB}, path=~"$path"}}[{RANGE}] @ end()))'
            ),
            "{{objective}} {{shown}}",
        ),
        overrides=by_place(),
        size=(16, 7),
        unit="none",
        decimals=1,
        soft_max=limit * 1.1,
        limit=limit,
        legend="right",
    )


def operation() -> Iterator[Panel]:
    """Alerts over time, workers, and whether metrics arrive."""
    graph = partial(curves, size=(6, 7), overrides=by_place())
    yield heading(Text("알림과 워커", "Alerts and workers"))
    history = " or ".join(
        f"{value} * max by (job, alertname, path) "
        f'(max_over_time({ALERTS}, alertstate="{state}"}}[{STEP}]))'
        for state, value in {"firing": 2, "pending": 1}.items()
    )
    yield _timeline(
        Text("알림 이력", "Alert history"),
        Text(
            "대기 중(pending)이거나 발생한(firing) 알림. 조치 방법은 runbook_url에 있습니다.",
            "Alerts that were pending or firing. The runbook_url of each says what to do.",
        ),
        query(f"{history} or {NONE} unless count({ALERTS}}})", "{{job}} {{alertname}} {{path}}"),
        says("0", Text("없음", "none"), "transparent"),
        says("1", Text("대기", "pending"), "yellow"),
        says("2", Text("발생", "firing"), "red"),
        width=12,
    )
    yield graph(
        Text("실행 중인 워커와 시작 횟수", "Running workers and starts"),
        Text(
            "메트릭을 내보내는 워커 프로세스의 수와, 구간별로 시작한 워커의 수(막대). 시작이 "
            "되풀이되면 FastAPIWorkersRestart가 발생합니다.",
            "Worker processes that export metrics, and how many have started in each step (bars). "
            "FastAPIWorkersRestart tells if they start again and again.",
        ),
        query(
            events(f"sum(rate(app_worker_starts_total{{{CHOSEN}}}[{RATE}]))"),
            Text("시작", "starts"),
        ),
        # VictoriaMetrics knows the timestamp of a series that has ended, too.
        query(
            f"count({MEMORY} and timestamp({MEMORY}) > time() - 120)", Text("실행 중", "running")
        ),
        overrides=[
            line("^(시작|starts)$", "orange", drawStyle="bars", fillOpacity=80, lineWidth=0),
            line("^(실행 중|running)$", "blue"),
        ],
        unit="none",
        decimals=0,
        soft_max=2,
        interval="1m",
        style={"lineInterpolation": "stepAfter"},
    )
    ages = [
        f"(time() - max {INSTANCE} (last_over_time(timestamp({MEMORY})[1h:15s]{at})))"
        for at in ("", " @ end()")
    ]
    yield graph(
        Text("마지막 메트릭 이후 시간", "Age of the metrics"),
        Text(
            "마지막으로 수집되거나 푸시된 뒤 지난 시간(1시간까지). 주기보다 길어지면 수집이나 "
            "푸시가 실패하고 있는 것입니다.",
            "Time since the last scrape or push, up to an hour. If it exceeds their interval, "
            "scrapes or pushes are failing.",
        ),
        *worst(ages[0], ages[1], NAME),
        unit="s",
        soft_max=60,
    )
    yield curves(
        Text("텔레메트리가 잃은 것", "Lost by telemetry"),
        Text(
            "구간별로 제외한 값, 실패한 수집과 푸시의 수(막대)와 이유. '공유 실패'가 1이면 다른 "
            "워커의 값이 빠져 있습니다.",
            "Values left out, and scrapes and pushes that failed, in each step (bars), with the "
            "reason. Where sharing failed is 1, the values of other workers are missing.",
        ),
        *(
            query(events(f"sum{by} (rate({metric}{{{CHOSEN}}}[{RATE}]))"), legend)
            for metric, by, legend in (
                ("telemetry_points_dropped_total", " by (reason)", Text("값", "values")),
                ("telemetry_scrapes_failed_total", " by (reason)", Text("수집", "scrapes")),
                ("telemetry_pushes_failed_total", "", Text("푸시", "pushes")),
            )
        ),
        query(f"max(telemetry_sharing_failed{{{CHOSEN}}})", Text("공유 실패", "sharing failed")),
        overrides=[
            line("값|values|수집|scrapes|푸시|pushes", "orange", drawStyle="bars", lineWidth=0),
            line("^(공유 실패|sharing failed)$", "purple"),
        ],
        size=(24, 5),
        unit="none",
        decimals=0,
        soft_max=2,
        interval="1m",
        legend="right",
    )
    yield heading(Text("수집 (푸시 방식에는 없음)", "Scraping (empty if metrics are pushed)"))
    yield _timeline(
        Text("수집 성공 여부", "Scrapes"),
        Text(
            "구간마다 Prometheus가 앱을 수집하는 데 한 번이라도 실패했는지 여부. 수집 방식에만 "
            "있습니다.",
            "Whether a scrape of the app has failed in each step. Only for scraping.",
        ),
        query(
            f"min_over_time(up{{{CHOSEN}}}[{STEP}])"
            f" or on (job, instance) 2 + 0 * count {INSTANCE} ({MEMORY})",
            NAME,
        ),
        says("0", Text("실패", "down"), "red"),
        says("1", Text("성공", "up"), "semi-dark-blue"),
        says("2", Text("푸시", "pushed"), "super-light-blue"),
        width=8,
    )
    for title, description, metric, unit, soft_max in (
        (
            Text("수집 시간", "Scrape duration"),
            Text(
                "/metrics를 한 번 수집하는 데 걸린 시간. 수집 방식에만 있습니다.",
                "How long one scrape of /metrics takes. Only for scraping.",
            ),
            "scrape_duration_seconds",
            "s",
            0.1,
        ),
        (
            Text("수집한 샘플 수", "Samples per scrape"),
            Text(
                "한 번에 수집한 샘플의 수. 갑자기 늘면 레이블 값이 너무 많아진 것입니다. 수집 "
                "방식에만 있습니다.",
                "Samples in one scrape. A jump means that a label has too many values. Only for "
                "scraping.",
            ),
            "scrape_samples_scraped",
            "locale",
            100,
        ),
    ):
        series = f"{metric}{{{CHOSEN}}}"
        yield curves(
            title,
            description,
            *worst(
                f"max_over_time({series}[{STEP}])",
                f"max_over_time({series}[{RANGE}] @ end())",
                NAME,
            ),
            overrides=by_place(),
            size=(8, 7),
            unit=unit,
            decimals=0 if unit == "locale" else 2,
            soft_max=soft_max,
            noValue=Text("이 시간 범위에 수집 없음", "No scrape in this time range"),
        )
