"""Settings of a push that do not go together: one line that names the variable and the cure."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import service
from tests.support.prometheus import pushed_prometheus

TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
HISTOGRAM = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"


def lines(folder: Path, url: str, path: str, seconds: float = 2, **environment: Any) -> list[str]:
    """What the app logs beside its server's own lines."""
    variables = {
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": url + path,
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        **environment,
    }
    with service(folder, environment=variables) as app:
        app.get("/health")
        time.sleep(seconds)
        return [line for line in app.process.log.splitlines() if line.count(" ") > 12]


def given(variable: str, value: str) -> dict[str, Any]:
    return {variable: value}


@pytest.mark.parametrize("temporality", ["delta", "lowmemory"])
def test_deltas_to_prometheus(tmp_path: Path, temporality: str) -> None:
    with pushed_prometheus(tmp_path) as url:
        at_start, answered = lines(
            tmp_path, url, "/api/v1/otlp/v1/metrics", **given(TEMPORALITY, temporality)
        )
    for line in (at_start, answered):
        assert TEMPORALITY in line
        assert "cumulative" in line
    assert "code: 500" in answered


def test_an_address_where_nothing_takes_metrics(tmp_path: Path) -> None:
    with pushed_prometheus(tmp_path) as url:
        (line,) = lines(tmp_path, url, "/v1/metrics")
    assert "code: 404" in line
    assert "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://HOST:9090/api/v1/otlp/v1/metrics" in line
    assert "--web.enable-otlp-receiver" in line


def test_histograms_without_the_buckets_of_the_dashboards(tmp_path: Path) -> None:
    with pushed_prometheus(tmp_path) as url:
        (line,) = lines(
            tmp_path,
            url,
            "/api/v1/otlp/v1/metrics",
            **given(HISTOGRAM, "base2_exponential_bucket_histogram"),
        )
    assert HISTOGRAM in line
    assert "explicit buckets" in line


def test_an_interval_that_the_dashboards_do_not_bear(tmp_path: Path) -> None:
    with pushed_prometheus(tmp_path) as url:
        (line,) = lines(
            tmp_path, url, "/api/v1/otlp/v1/metrics", 0, OTEL_METRIC_EXPORT_INTERVAL="60000"
        )
    assert "OTEL_METRIC_EXPORT_INTERVAL=60000" in line
    assert "15000" in line


def test_what_goes_together_is_told_nothing(tmp_path: Path) -> None:
    with pushed_prometheus(tmp_path) as url:
        assert lines(tmp_path, url, "/api/v1/otlp/v1/metrics") == []
