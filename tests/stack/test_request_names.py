"""The standard's names in the place of ours, recorded by FastAPI or contrib: one truth."""

import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.dashboard import HTTP, SERVICE, queries
from tests.support.processes import query, service, wait_for
from tests.support.prometheus import INTERVAL, prometheus, pushed_prometheus
from tests.support.series import Series, label_names, total, values
from tests.support.workers import COMMANDS, UVICORN, all_up, workers

COUNT = "http_server_request_duration_seconds_count"
STANDARD = {"TELEMETRY_REQUEST_METRICS": "http.server"}
CONTRIB = COMMANDS["opentelemetry-instrument gunicorn"]


def names(series: Series) -> set[str]:
    return {name for name, _ in series if name.startswith(("app_", "http_"))}


@pytest.mark.parametrize("command", [UVICORN, CONTRIB], ids=["fastapi", "contrib"])
def test_they_take_the_place_of_ours(tmp_path: Path, command: Sequence[str]) -> None:
    with workers(tmp_path, command=command, **STANDARD) as app:
        all_up(app)
        for _ in range(200):
            app.get("/health")
        assert app.status("/nope") == 404
        time.sleep(1)
        scrapes = [app.series() for _ in range(20)]
        assert app.process.log.count("ERROR") == 0
    for series in scrapes:
        shown = total(series, COUNT, http_route="/health", http_response_status_code="200")
        assert shown == 200
        assert sum(values(series, "http_server_active_requests").values()) == 0
        assert "app_memory_usage_bytes" in names(series)
        assert not any(re.match("app_re", name) for name in names(series))
        # Scrapes are not counted.
        assert not any(dict(labels).get("http_route") == "/metrics" for _, labels in series)


def test_they_are_pushed_as_they_are_scraped(tmp_path: Path) -> None:
    with pushed_prometheus(tmp_path) as url:
        push = {
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{url}/api/v1/otlp/v1/metrics",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }
        with workers(tmp_path, **STANDARD, **push) as app:
            all_up(app)
            for _ in range(200):
                app.get("/health")
            found = f'sum({COUNT}{{http_route="/health"}})'
            wait_for(lambda: query(url, found) == {(): 200}, "all requests are pushed")
            assert total(app.series(), COUNT, http_route="/health") == 200


def test_both(tmp_path: Path) -> None:
    with workers(tmp_path, TELEMETRY_REQUEST_METRICS="both") as app:
        all_up(app)
        for _ in range(50):
            app.get("/health")
        time.sleep(1)
        series = app.series()
    assert total(series, COUNT, http_route="/health") == 50
    assert total(series, "app_requests_total", path="/health") == 50
    assert label_names(series, "app_requests_total") == {("method", "path")}


def test_each_panel_of_the_dashboard_for_them_shows_what_the_other_one_shows(
    tmp_path: Path,
) -> None:
    """Both dashboards on one app that has both sets of metrics."""
    environment = {"TELEMETRY_REQUEST_METRICS": "both"}
    with (
        service(tmp_path, environment=environment) as app,
        # The first request takes longest, and by the two clocks not equally long.
        prometheus(tmp_path, app.port, zero_ingestion=False) as url,
    ):
        wait_for(lambda: query(url, "count(up == 1)") == {(): 2}, "the app is scraped")
        for path in ("/", "/random_sleep", "/nope", "/increase_count") * 5:
            app.status(path)
        wait_for(lambda: query(url, "sum(app_requests_total)") == {(): 20}, "all requests")
        time.sleep(4 * INTERVAL)
        at = time.time()
        ours, standard = queries(SERVICE), queries(HTTP)
        # FastAPI's metrics have no time to first byte, in whose place the other one shows this.
        del ours["경로별 처리 시간 p95 (긴 순 5개)"]
        assert ours.keys() == standard.keys()
        drawn = 0
        for title, expression in ours.items():
            # The labels' names are in another order.
            one, other = (
                {tuple(sorted(labels)): value for labels, value in query(url, each, at).items()}
                for each in (expression, standard[title])
            )
            drawn += bool(one)
            if "5개" in title:
                # Of two paths that are equal either one may be among the five.
                assert len(one) == len(other), title
                one, other = (
                    {key: each[key] for key in one.keys() & other} for each in (one, other)
                )
            # The clocks of a duration do not start at the same moment.
            assert other == pytest.approx(one, rel=1e-6, abs=2e-3, nan_ok=True), title
    assert drawn > 20


def test_websockets_keep_their_label() -> None:
    """The standard has no names for them."""
    ours, standard = (
        {title: query for title, query in queries(name).items() if "websockets" in query}
        for name in (SERVICE, HTTP)
    )
    assert ours == standard != {}
