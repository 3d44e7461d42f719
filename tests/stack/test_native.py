"""Native histograms from an application of several workers to a real Prometheus."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from tests.support import protobuf
from tests.support.processes import Service, get, query, wait_for
from tests.support.prometheus import prometheus, pushed_prometheus
from tests.support.series import parse, total
from tests.support.workers import all_up, workers

APP = """
import os
from fastapi import FastAPI
from opentelemetry import metrics
import prometheus_client
import telemetry

app = FastAPI()
telemetry.instrument(app)
waits = metrics.get_meter("shop").create_histogram("wait", "s")
old = prometheus_client.Counter("old", "Of prometheus_client.")

@app.get("/health")
async def health() -> int:
    return os.getpid()

@app.get("/record")
async def record(values: str) -> int:
    for value in values.split():
        waits.record(float(value))
    return os.getpid()
"""
NATIVE = {
    "scrape_protocols": ["PrometheusProto", "OpenMetricsText1.0.0", "PrometheusText0.0.4"],
    "scrape_native_histograms": True,
    "always_scrape_classic_histograms": True,
}


@contextmanager
def shop(folder: Path, native: str, **variables: str) -> Iterator[Service]:
    with workers(folder, code=APP, TELEMETRY_NATIVE_HISTOGRAMS=native, **variables) as app:
        all_up(app)
        yield app


def test_quantiles_of_native_histograms_are_the_true_ones(tmp_path: Path) -> None:
    chosen = random.Random(1)
    values = [chosen.lognormvariate(-3, 1) for _ in range(2_000)]
    with (
        shop(tmp_path, "true") as app,
        prometheus(tmp_path, app.port, scraping=NATIVE) as url,
    ):
        for number in range(0, len(values), 50):
            given = " ".join(map(str, values[number : number + 50]))
            app.get(f"/record?{urlencode({'values': given})}")
        count = "histogram_count(sum(wait_seconds))"
        wait_for(lambda: query(url, count) == {(): len(values)}, "all values are stored")
        for share in (0.1, 0.5, 0.9, 0.99):
            true = sorted(values)[int(share * len(values))]
            (found,) = query(url, f"histogram_quantile({share}, sum(wait_seconds))").values()
            assert found == pytest.approx(true, rel=0.05)
            # As many as are wanted, from all that was counted since the start.
            rated = f"histogram_quantile({share}, sum(increase(wait_seconds[1h])))"
            assert query(url, rated) == {(): pytest.approx(true, rel=0.05)}
            # The classic ones beside them are powers of two.
            (coarse,) = query(
                url, f"histogram_quantile({share}, sum by (le) (wait_seconds_bucket))"
            ).values()
            assert true / 2 < coarse < true * 2
        (sum_,) = query(url, "histogram_sum(sum(wait_seconds))").values()
        assert sum_ == pytest.approx(sum(values))
        below = sum(value <= 0.25 for value in values) / len(values)
        exact = 'sum(wait_seconds_bucket{le="0.25"}) / sum(wait_seconds_count)'
        assert query(url, exact) == {(): below}
        assert query(url, "histogram_fraction(0, 0.25, sum(wait_seconds))") == {
            (): pytest.approx(below, abs=1e-9)
        }
        # One native series for each route.
        routes = "count by (path) (histogram_count(app_requests_processing_time_seconds))"
        assert query(url, routes) == {("/record",): 1}


def test_a_prometheus_that_asks_for_protobuf_stores_what_text_has(tmp_path: Path) -> None:
    with (
        shop(tmp_path, "true") as app,
        prometheus(tmp_path, app.port, scraping=NATIVE) as url,
    ):
        app.get("/record?values=0.5")

        def missing() -> set[str]:
            text = parse(get(f"{app.url}/metrics"))
            everything = 'last_over_time({job="fastapi"}[1h])'
            answer = json.loads(get(f"{url}/api/v1/query?{urlencode({'query': everything})}"))
            stored = {
                (
                    each["metric"].pop("__name__"),
                    frozenset(
                        pair
                        for pair in each["metric"].items()
                        if pair[0] not in ("job", "instance")
                    ),
                )
                for each in answer["data"]["result"]
            }
            # When a series began is no series of its own in this format.
            return {name for name, labels in text if (name, labels) not in stored} - {"old_created"}

        wait_for(lambda: not missing(), "all series of the text are stored")
        assert "old_total" in {name for name, _ in parse(get(f"{app.url}/metrics"))}
        assert get(f"{url}/api/v1/targets?state=active").count('lastError":""') == 2


def test_workers_add_up_and_each_answers_the_same(tmp_path: Path) -> None:
    with shop(tmp_path, "true") as app:
        for value in (0.001, 0.1, 3, 100, 100):
            app.get(f"/record?values={value}")

        def pages() -> list[protobuf.Page]:
            request = Request(f"{app.url}/metrics", headers={"accept": protobuf.ACCEPT})
            return [protobuf.decode(urlopen(request, timeout=10).read()) for _ in range(8)]

        def counts(page: protobuf.Page) -> list[int]:
            return [page.natives["wait_seconds", frozenset()].count]

        wait_for(lambda: all(counts(each) == [5] for each in pages()), "all workers are shown")
        natives = [page.natives["wait_seconds", frozenset()] for page in pages()]
        assert all(each == natives[0] for each in natives)
        assert sorted(natives[0].buckets.values()) == [1, 1, 1, 2]
        series = app.series()
        assert total(series, "wait_seconds_bucket", le="4.0") == 3
        assert total(series, "wait_seconds_bucket", le="128.0") == 5


@pytest.mark.parametrize(("scraped", "pushed"), [(True, False), (False, True), (True, True)])
def test_what_is_scraped_and_what_is_pushed_have_a_switch_each(
    tmp_path: Path, scraped: bool, pushed: bool
) -> None:
    aggregation = "base2_exponential_bucket_histogram" if pushed else "explicit_bucket_histogram"
    with pushed_prometheus(tmp_path) as url:
        variables = {
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{url}/api/v1/otlp/v1/metrics",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": aggregation,
        }
        with shop(tmp_path, str(scraped), **variables) as app:
            for _ in range(20):
                app.get("/health")
            name = "app_requests_processing_time_seconds"
            count = f"histogram_count(sum({name}))" if pushed else f"sum({name}_count)"
            wait_for(lambda: query(url, count) == {(): 20}, "all is pushed")
            assert bool(query(url, f"{name}_bucket")) is not pushed

            def shown() -> bool:
                return total(app.series(), f"{name}_count", path="/health") == 20

            wait_for(shown, "all is shown")
            bounds = {
                dict(labels)["le"] for each, labels in app.series() if each == f"{name}_bucket"
            }
            assert ("0.0078125" in bounds) is scraped
            assert ("0.005" in bounds) is not scraped


@pytest.mark.parametrize("native", ["true", "false"])
def test_each_family_has_its_own_unit_and_type(tmp_path: Path, native: str) -> None:
    scraping = NATIVE if native == "true" else None
    features = ["type-and-unit-labels"]
    with (
        shop(tmp_path, native) as app,
        prometheus(tmp_path, app.port, scraping=scraping, features=features) as url,
    ):
        app.get("/record?values=0.5")
        wait_for(lambda: query(url, "count(wait_seconds_count)"), "it is scraped")
        counted = 'count by (__name__, __type__, __unit__) ({job="fastapi"})'
        answer = json.loads(get(f"{url}/api/v1/query?{urlencode({'query': counted})}"))
        found = {
            each["metric"]["__name__"]: (
                each["metric"].get("__type__", ""),
                each["metric"].get("__unit__", ""),
            )
            for each in answer["data"]["result"]
        }
        assert found["wait_seconds_count"] == ("histogram", "seconds")
        assert found["app_memory_usage_bytes"] == ("gauge", "bytes")
        assert found["app_requests_total"] == ("counter", "")
        assert found["old_total"] == ("counter", "")
        for name, (_, unit) in found.items():
            assert not unit or f"_{unit}" in name, name
