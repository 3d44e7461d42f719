"""The service dashboard's queries over made samples: pushed, at long intervals, and at births."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.dashboard import SERVICE, panel, queries, shown
from tests.support.promtool import check, series

INSTANCE = {"job": "fastapi", "instance": "one"}
RESPONSES = ("app_responses_total", {"method": "GET", "path": "/a"})
MEMORY = {"type": "rss", "process_pid": "1"}


def samples(name: str, values: str, **labels: str) -> dict[str, str]:
    return series(name, values, **{**INSTANCE, **labels})


def pushed(count: str, gauge: str, **labels: str) -> list[dict[str, str]]:
    """What an app pushes that answers, fails, and finds nothing."""
    duration = "app_requests_processing_time_seconds"
    request = {"method": "GET", "path": "/a", **labels}
    return [
        samples("app_requests_total", count, **request),
        *(
            samples("app_responses_total", count, status_code=code, **request)
            for code in ("200", "304", "404", "500")
        ),
        *(samples(f"{duration}_bucket", count, le=le, **request) for le in ("0.1", "1", "+Inf")),
        samples(f"{duration}_sum", count, **request),
        samples(f"{duration}_count", count, **request),
        samples("app_requests_in_progress", gauge, **labels),
        *saturation(count, gauge, process_pid="1", **labels),
        samples("app_memory_usage_bytes", gauge, type="rss", process_pid="1", **labels),
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
        samples("process_cpu_time_seconds_total", count, cpu_mode="user"),
        *(
            samples(name, gauge, **labels)
            for name in (
                "app_thread_pool_in_use",
                "app_thread_pool_waiting",
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
        for title, expression in queries(SERVICE, window="4m").items()
        if not scraping_only(title.partition(":")[0]) and title != "알림 이력"
    }
    assert len(found) > 25
    drawn = [(f"count({each}) > bool 0", "20m", [("{}", 1.0)]) for each in found.values()]
    check(tmp_path, "1m", pushed("0+60x20", "1x20"), drawn)


def test_a_window_that_is_too_short_shows_a_dash_and_no_zero(tmp_path: Path) -> None:
    tile = queries(SERVICE, window="1m")["초당 요청 수"]
    made = pushed("0+60x20", "1x20")
    # Only what is not a number differs from itself.
    check(tmp_path, "1m", made, [(f"({tile}) != bool ({tile})", "20m", [("{}", 1.0)])])
    assert shown(panel("초당 요청 수"), float("nan"))[0] == "-"
    # Without any requests it is a zero.
    check(tmp_path, "1m", made[-1:], [(tile, "20m", [("{}", 0.0)])])


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


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        # The first error of a path, and the second soon after it.
        ("_x30 1x10", 1.0),
        ("_x30 1x2 2x8", 2.0),
        # There since before Prometheus had the app: not all that it has ever counted.
        ("500x40", 0.0),
        # There for long: what increase() says.
        ("0x30 8x10", 8.0),
    ],
)
def test_a_new_counter_counts_from_nothing(tmp_path: Path, errors: str, expected: float) -> None:
    table = queries(SERVICE, over="8m")["경로별 현황: 5xx"]
    name, labels = RESPONSES
    made = [
        samples("app_memory_usage_bytes", "1x40", **MEMORY),
        samples("app_requests_total", "0+1x40", **labels),
        samples(name, errors, status_code="500", **labels),
    ]
    wanted: list[tuple[str, Any]] = [('{path="/a"}', expected)]
    check(tmp_path, "15s", made, [(f"round({table})", "10m", wanted)])
    # And with an app that began within the window.
    check(tmp_path, "15s", made, [(f"round({table.replace('8m', '20m')})", "10m", wanted)])
