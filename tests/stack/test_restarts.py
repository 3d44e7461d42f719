"""The table of paths over restarts, asked of a real Prometheus, pulled from and pushed to."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.dashboard import SERVICE, queries
from tests.support.processes import free_port, query, service, wait_for
from tests.support.prometheus import prometheus, pushed_prometheus
from tests.support.receivers import victoria_metrics

LIVES = ({"/health": 60}, {"/health": 30, "/nope": 7}, {"/health": 20, "/nope": 5, "/": 9})
"""What each life of the app is asked; from one to the next it restarts."""
EXPECTED: dict[tuple[str, ...], int] = {("/health",): 110, ("unmatched",): 12, ("/",): 9}


@pytest.fixture(scope="module", params=["pulled", "pushed"])
def urls(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Prometheus and VictoriaMetrics, after three lives of an app with two workers."""
    folder = tmp_path_factory.mktemp("restarts")
    port = free_port()
    with ExitStack() as stack:
        environment = {"OTEL_SERVICE_NAME": "fastapi", "OTEL_METRIC_EXPORT_INTERVAL": "500"}
        if request.param == "pushed":
            url = stack.enter_context(pushed_prometheus(folder))
            environment |= {
                "OTEL_METRICS_EXPORTER": "prometheus,otlp",
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{url}/api/v1/otlp/v1/metrics",
            }
        else:
            url = stack.enter_context(prometheus(folder, port))
        store = stack.enter_context(victoria_metrics(folder, scrape=port))
        for life, traffic in enumerate(LIVES):
            with service(folder, "--workers", "2", port=port, environment=environment) as app:
                seen = f"sum by (instance) (app_requests_total) == {sum(traffic.values())}"
                # Some of the requests before the first scrape, and some paths only later.
                for path, count in traffic.items():
                    for _ in range(count):
                        app.status(path)
                    time.sleep(1.5)
                for each in (url, store):
                    wait_for(lambda: query(each, seen), f"life {life} is seen")  # noqa: B023
                time.sleep(8)
            time.sleep(2)
        yield url, store


@pytest.mark.parametrize("over", ["15m", "24h"])
def test_every_request_counts_once(urls: tuple[str, str], over: str) -> None:
    url, _ = urls
    table = query(url, queries(SERVICE, over=over)["경로별 현황: 요청"])
    # increase() extrapolates: by 2 % here, as the samples do not fill the minutes.
    assert table == pytest.approx(EXPECTED, rel=0.03)


@pytest.mark.parametrize("over", ["15m", "24h"])
def test_what_victoria_metrics_makes_of_it(urls: tuple[str, str], over: str) -> None:
    """It knows no beginnings: a first value may be missing, and nothing is counted twice."""
    _, store = urls
    table = query(store, queries(SERVICE, over=over)["경로별 현황: 요청"])
    assert table.keys() == EXPECTED.keys()
    for path, count in table.items():
        assert 0 <= round(count) <= EXPECTED[path], path
