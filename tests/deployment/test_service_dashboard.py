"""The service dashboard's queries over made samples: pushed, at long intervals, and at births."""

from pathlib import Path

import pytest

from tests.support.dashboard import SERVICE, dashboard, expand, panel, queries, shown
from tests.support.promtool import Samples, check, series

INSTANCE = {"job": "fastapi", "instance": "one"}
MEMORY = {"type": "rss", "process_pid": "1"}


def samples(name: str, values: str, **labels: str) -> dict[str, str]:
    return series(name, values, **{**INSTANCE, **labels})


def pushed(count: str, gauge: str, **labels: str) -> list[dict[str, str]]:
    """What an app pushes that answers, fails, and finds nothing."""
    request = {"method": "GET", "path": "/a", **labels}
    histograms = ("app_requests_time_to_first_byte", "app_requests_processing_time")
    return [
        samples("app_requests_total", count, **request),
        *(
            samples("app_responses_total", count, status_code=code, **request)
            for code in ("200", "304", "404", "500")
        ),
        *(
            samples(f"{name}_seconds_bucket", count, le=le, **request)
            for name in histograms
            for le in ("0.1", "1", "+Inf")
        ),
        *(
            samples(f"{name}_seconds_{what}", count, **request)
            for name in histograms
            for what in ("sum", "count")
        ),
        samples("app_exceptions_total", count, error_type="KeyError", **request),
        samples("app_requests_in_progress", gauge, **labels),
        *saturation(count, gauge, process_pid="1", **labels),
        samples("app_memory_usage_bytes", gauge, type="rss", process_pid="1", **labels),
        *(
            series(f"{name}:app_objective{what}", gauge, job="fastapi", objective=each, path="/a")
            for each in ("availability", "latency")
            for name, what in (
                ("job", "_bad:increase5m"),
                ("job", "_allowed:increase5m"),
                ("job_path", ":burn1h"),
            )
        ),
    ]


def saturation(count: str, gauge: str, **labels: str) -> list[dict[str, str]]:
    """What it pushes of itself; it has a pool of connections and a WebSocket."""
    pool = {"db_client_connection_pool_name": "main", **labels}
    return [
        *(
            samples(f"{name}_seconds_bucket", count, le=le)
            for name in ("app_event_loop_delay", "app_gc_pause")
            for le in ("0.25", "+Inf")
        ),
        *(
            samples(f"{name}_seconds_{what}", count)
            for name in ("app_event_loop_delay", "app_gc_pause")
            for what in ("count", "sum")
        ),
        samples("app_worker_starts_total", count),
        samples("telemetry_points_dropped_total", count, reason="invalid_value"),
        samples("telemetry_scrapes_failed_total", count, reason="timeout"),
        samples("telemetry_pushes_failed_total", count),
        samples("telemetry_sharing_failed", gauge, **labels),
        samples("process_cpu_time_seconds_total", count, cpu_mode="user"),
        *(
            samples(name, gauge, **labels)
            for name in (
                "app_thread_pool_in_use",
                "app_thread_pool_waiting",
                "app_thread_pool_size",
                "app_memory_limit_bytes",
                "process_unix_file_descriptor_count",
                "app_file_descriptor_limit",
            )
        ),
        samples("app_websockets_open", gauge, path="/a", **labels),
        samples("db_client_connection_count", gauge, db_client_connection_state="used", **pool),
        samples("db_client_connection_max", gauge, **pool),
        samples("db_client_connection_pending_requests", gauge, **pool),
    ]


def scraping_only(title: str) -> bool:
    return "수집 방식" in panel(title)["description"] and title != "상태"


def test_pushed_once_a_minute_every_panel_draws(tmp_path: Path) -> None:
    """By Grafana's window for rates at that interval, which is four times as long."""
    found = {
        title: expression
        for title, expression in queries(SERVICE, window="4m", step=120).items()
        # The last are zeros for what there has been none of.
        if not scraping_only(title.partition(":")[0])
        and not title.startswith("알림")
        and not title.endswith(": 없음")
    }
    assert len(found) > 35
    drawn = [(f"count({each}) > bool 0", "20m", [("{}", 1.0)]) for each in found.values()]
    check(tmp_path, "1m", pushed("0+60x20", "1x20"), drawn)


def test_a_window_that_is_too_short_shows_a_dash_and_no_zero(tmp_path: Path) -> None:
    tile = queries(SERVICE, window="1m")["초당 요청 수"]
    made = pushed("0+60x20", "1x20")
    # Only what is not a number differs from itself.
    check(tmp_path, "1m", made, [(f"({tile}) != bool ({tile})", "20m", [("{}", 1.0)])])
    assert shown(panel("초당 요청 수"), float("nan"))[0] == "-"
    # Without any requests it is a zero, and without an app again nothing.
    memory = [each for each in made if "memory_usage" in each["series"]]
    check(tmp_path, "1m", memory, [(tile, "20m", [("{}", 0.0)])])
    check(tmp_path, "1m", [], [(f"({tile}) != bool ({tile})", "20m", [("{}", 1.0)])])


STATE = queries(SERVICE, over="1h")["상태"].replace('"fastapi"', '".*"')


@pytest.mark.parametrize(
    ("scenario", "value", "text", "colour"),
    [
        ({"one": "1x80"}, 100, "정상", "transparent"),
        # Killed at ten minutes: the values before it are looked back at for five more.
        ({"one": "1x40"}, 0, "중단", "red"),
        # Ended in order, with a stale marker.
        ({"one": "1x40 stale"}, 0, "중단", "red"),
        # Started again under another instance id.
        ({"one": "1x40", "two": "_x42 1x20"}, 100, "정상", "transparent"),
        ({}, -1, "앱 없음", "red"),
    ],
)
def test_the_state_of_an_app_that_pushes(
    tmp_path: Path, scenario: dict[str, str], value: float, text: str, colour: str
) -> None:
    made: list[dict[str, str]] = [
        samples("app_memory_usage_bytes", values, **{**MEMORY, "instance": instance})
        for instance, values in scenario.items()
    ]
    check(tmp_path, "15s", made, [(STATE, "12m45s", [("{}", value)])])
    assert shown(panel("상태"), value) == (text, colour)


def test_the_state_of_several_services_one_of_which_is_down(tmp_path: Path) -> None:
    made = [
        samples("up", "1x80", instance="one"),
        samples("up", "1x40 0x40", instance="two"),
        samples("app_memory_usage_bytes", "1x80", job="pushes", **MEMORY),
        samples("app_memory_usage_bytes", "1x80", instance="one", **MEMORY),
    ]
    check(tmp_path, "15s", made, [(f"floor({STATE})", "15m", [("{}", 66.0)])])
    text, colour = shown(panel("상태"), 66)
    assert (text, colour) == (None, "yellow")
    assert panel("상태")["fieldConfig"]["defaults"]["unit"] == "suffix:% 정상"


REQUESTS = {"method": "GET", "path": "/a"}


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        # A path's first error, which counts from the zero that Prometheus puts before it.
        ("_x29 0 1x10", 1),
        # There since before Prometheus had the app: not all that it has ever counted.
        ("500x1000", 0),
        ("0x30 8x10", 8),
        # A hundred errors, a restart, fifty more, another restart, one more.
        ("_x9 0+1x100 100x99 0+1x50 50x99 0 1x100", 151),
        # The same, as one worker of two that is replaced.
        ("_x9 0+1x100 stale _x99 0+1x50 stale", 150),
    ],
)
def test_the_table_counts_over_restarts(tmp_path: Path, errors: str, expected: int) -> None:
    """A day of a sample per minute, of which the errors are some hours ago."""
    made = [
        samples("app_memory_usage_bytes", "1x1440", **MEMORY),
        samples("app_requests_total", "0+1x1440", **REQUESTS),
        samples("app_responses_total", errors, status_code="500", **REQUESTS),
    ]
    table = queries(SERVICE, over="24h")["경로별 현황: 5xx"]
    check(tmp_path, "1m", made, [(f"round({table})", "24h", [('{path="/a"}', expected)])])


def test_an_error_is_drawn_once(tmp_path: Path) -> None:
    """Its bar is in one step, whatever the moment; all bars together are all errors."""
    made = [
        samples("app_memory_usage_bytes", "1x400", **MEMORY),
        # One each seven minutes, which is at another place of a step each time.
        samples("app_responses_total", "1+0x27 2+0x27 3+0x27 4x100", status_code="500", **REQUESTS),
    ]
    bars = queries(SERVICE, window="75s", over="1h", step=60)[
        "경로·상태 코드별 서버 오류 (상위 5개)"
    ]
    for shift in range(0, 60, 15):
        # Grafana asks for a value each minute; a subquery does the same.
        whole = f"sum(sum_over_time(({bars})[1h:1m] offset {shift}s))"
        check(tmp_path, "15s", made, [(whole, "40m", [("{}", 3.0)])])
        most = f"max(max_over_time(({bars})[1h:1m] offset {shift}s))"
        check(tmp_path, "15s", made, [(most, "40m", [("{}", 1.0)])])


@pytest.mark.parametrize("bounds", [("0.5", "1.0", "+Inf"), ("0.5", "1", "+Inf")])
def test_the_heatmap_adds_up_one_bound_in_two_spellings(
    tmp_path: Path, bounds: tuple[str, ...]
) -> None:
    """One job is scraped and another one pushes: nothing is slower than a second."""
    made = [
        samples(
            "app_requests_time_to_first_byte_seconds_bucket", values, le=le, job=job, **REQUESTS
        )
        for job, spelt in (("one", ("0.5", "1.0", "+Inf")), ("two", bounds))
        for le, values in zip(spelt, ("0+1x80", "0+2x80", "0+2x80"), strict=True)
    ]
    heatmap = queries(SERVICE)["선택한 경로의 지연 시간 분포"].replace('"fastapi"', '".*"')
    wanted = [('{le="0.5"}', 2.0), ('{le="1"}', 4.0), ('{le="+Inf"}', 4.0)]
    check(tmp_path, "15s", made, [(heatmap, "15m", wanted)])


def test_starts_and_outages_are_found_over_weeks(tmp_path: Path) -> None:
    """A deployment a day and an outage of twenty minutes, in steps of an hour."""
    made = [
        *(
            samples("target_info", f"_x{1 + 288 * day} 1x287 stale", service_instance_id=f"{day}")
            for day in range(7)
        ),
        samples("up", "1x500 0x3 1x1512"),
        samples("ALERTS", "_x500 1x3 stale", alertname="FastAPIDown", alertstate="firing"),
    ]
    starts, alerts = (each["expr"] for each in dashboard(SERVICE)["annotations"]["list"])
    hours = "[7d:1h]"
    failed = queries(SERVICE, over="7d", step=3600)["수집 성공 여부"]
    history = queries(SERVICE, over="7d", step=3600)["알림 이력"]
    check(
        tmp_path,
        "5m",
        made,
        [
            (f"count(count_over_time(({expand(starts, step=3600)}){hours}))", "7d", [("{}", 7.0)]),
            (f"count(count_over_time(({expand(alerts, step=3600)}){hours}))", "7d", [("{}", 1.0)]),
            (f"min(min_over_time(({failed}){hours}))", "7d", [("{}", 0.0)]),
            (f"max(max_over_time(({history}){hours}))", "7d", [("{}", 2.0)]),
        ],
    )


def test_in_progress_is_the_sum_at_one_moment(tmp_path: Path) -> None:
    """Two workers that are busy in turn have never had ten requests together."""
    made = [
        samples("app_requests_in_progress", "5 0 5 0 5 0 5 0 5 0 5 0", process_pid="1"),
        samples("app_requests_in_progress", "0 5 0 5 0 5 0 5 0 5 0 5", process_pid="2"),
    ]
    shown = queries(SERVICE, step=60)["인스턴스별 처리 중인 요청"]
    instance = '{job="fastapi", instance="one"}'
    check(tmp_path, "15s", made, [(shown, "2m30s", [(instance, 5.0)])])


@pytest.mark.parametrize(
    "title",
    [
        "경로·상태 코드별 서버 오류 (상위 5개)",
        "유형·경로별 예외 (상위 5개)",
        "데이터베이스 커넥션 풀",
        "가비지 컬렉터 일시 정지",
        "열린 WebSocket",
    ],
)
def test_none_and_not_known_are_two_things(tmp_path: Path, title: str) -> None:
    none = queries(SERVICE)[f"{title}: 없음"]
    alive = [samples("app_memory_usage_bytes", "1x80", **MEMORY)]
    check(tmp_path, "15s", alive, [(none, "15m", [("{}", 0.0)])])
    check(tmp_path, "15s", [], [(none, "15m", [])])
    assert panel(title)["fieldConfig"]["defaults"]["noValue"] == "데이터 없음"


def test_the_table_begins_with_what_breaks_an_objective(tmp_path: Path) -> None:
    """By errors or by slowness; a single error among many requests is not the worst."""
    latency = "app_requests_time_to_first_byte_seconds"
    made = [samples("app_memory_usage_bytes", "1x80", **MEMORY)]
    for path, errors, fast in (
        ("/fails", "0+5x60", "0+10x60"),
        ("/slow", "0x60", "0+6x60"),
        ("/once", "0x30 1x30", "0+10x60"),
        ("/well", "0x60", "0+10x60"),
    ):
        labels = {"method": "GET", "path": path}
        made += [
            samples("app_requests_total", "0+10x60", **labels),
            samples("app_responses_total", errors, status_code="500", **labels),
            samples("app_responses_total", "0+10x60", status_code="200", **labels),
            samples(f"{latency}_bucket", fast, le="1.0", **labels),
            samples(f"{latency}_bucket", "0+10x60", le="+Inf", **labels),
            samples(f"{latency}_count", "0+10x60", **labels),
        ]
    over = queries(SERVICE, over="15m")["경로별 현황: 목표 초과"]
    assert dashboard(SERVICE)["panels"][5]["options"]["sortBy"][0]["displayName"] == "목표 초과"
    once = f'{over} and on (path) label_replace(vector(1), "path", "/once", "", "")'
    wanted: list[tuple[str, str, Samples]] = [
        (f"count({over} > 200)", "15m", [("{}", 2.0)]),
        (f"round(max({once}))", "15m", [("{}", 0.0)]),
    ]
    check(tmp_path, "15s", made, wanted)
