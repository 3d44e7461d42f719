"""The dashboard over push: the same traffic, once scraped and once pushed, in two stores.

Both stores are VictoriaMetrics, so that what differs is the way there and nothing else.
"""

import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.dashboard import queries
from tests.support.processes import Service, free_port, query, running, wait_for
from tests.support.receivers import victoria_metrics
from tests.support.series import values

TRAFFIC = {"/": 40, "/health": 30, "/random_sleep": 5, "/nope": 20, "/increase_count": 12}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, float]]:
    """The address of the store that scrapes, of the one that was pushed to, and a time."""
    folder = tmp_path_factory.mktemp("push")
    with victoria_metrics(folder) as pushed:
        environment = {
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{pushed}/opentelemetry/v1/metrics",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_SERVICE_NAME": "fastapi",
        }
        # Both stores are there before the application is: VictoriaMetrics takes the rate of a
        # series that is younger than the window over its age, which must be the same.
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = (sys.executable, "-m", "app", "--host", "127.0.0.1", "--port", str(port))
        with (
            victoria_metrics(folder, scrape=port) as scraped,
            running(command, folder / "app.log", url, environment=environment) as process,
        ):
            app = Service(process, port)
            for path in TRAFFIC:
                app.status(path)
            shown = "sum(app_requests_total)"
            base = sum(values(app.series(), "app_requests_total").values())
            for store in (scraped, pushed):
                wait_for(lambda store=store: query(store, shown) == {(): base}, "first requests")  # type: ignore[misc]
            time.sleep(1)
            for path, count in TRAFFIC.items():
                for _ in range(count):
                    app.status(path)
            total = base + sum(TRAFFIC.values())
            for store in (scraped, pushed):
                wait_for(lambda store=store: query(store, shown) == {(): total}, "the last one")  # type: ignore[misc]
            time.sleep(25)
            yield scraped, pushed, time.time()


@pytest.mark.parametrize("title", sorted(queries()))
def test_a_panel_shows_the_same(stores: tuple[str, str, float], title: str) -> None:
    scraped, pushed, at = stores
    expected = query(scraped, queries()[title], at)
    shown = query(pushed, queries()[title], at)
    assert expected
    if "app_memory_usage_bytes" in queries()[title]:
        # Not aggregated, so each store's own labels (job, instance) are there as well.
        assert list(shown.values()) == pytest.approx(list(expected.values()), rel=0.1)
    else:
        assert shown == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("app_requests_total", "method, path"),
        ("app_responses_total", "method, path, status_code"),
        ("app_requests_processing_time_seconds_count", "method, path"),
        ("app_requests_in_progress", ""),
        ("app_memory_usage_bytes", "type"),
        ("app_increase_count_total", ""),
    ],
)
def test_the_series_are_the_same(stores: tuple[str, str, float], name: str, labels: str) -> None:
    scraped, pushed, at = stores
    series = f"count by ({labels}) ({name})"
    expected = query(scraped, series, at)
    assert expected
    assert query(pushed, series, at) == expected


def test_the_buckets_are_the_same(stores: tuple[str, str, float]) -> None:
    scraped, pushed, at = stores
    series = "sum by (path, le) (app_requests_processing_time_seconds_bucket)"

    def buckets(store: str) -> dict[tuple[float, str], float]:
        # 1.0 and 1 are one bound, which the two ways write differently.
        return {(float(le), path): value for (le, path), value in query(store, series, at).items()}

    assert len(buckets(scraped)) == 15 * len(TRAFFIC)
    assert buckets(pushed) == buckets(scraped)
