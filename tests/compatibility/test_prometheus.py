"""The private names of the Prometheus exporter and of prometheus_client."""

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from telemetry.compatibility.prometheus import collectors_of, is_opentelemetrys, prometheus_names


def test_the_collectors_of_a_registry() -> None:
    registry = CollectorRegistry()
    collector = Gauge("x", "", registry=registry)
    assert collectors_of(registry) == [collector]


def test_the_collector_of_the_stock_reader() -> None:
    before = collectors_of(REGISTRY)
    PrometheusMetricReader()
    (collector,) = (each for each in collectors_of(REGISTRY) if each not in before)
    REGISTRY.unregister(collector)
    assert is_opentelemetrys(collector)
    assert not any(map(is_opentelemetrys, before))


def test_the_names_of_the_prometheus_exporter() -> None:
    metric, label, unit = prometheus_names()
    assert (metric("a.b/c"), label("a.b"), unit("By/s")) == ("a_b_c", "a_b", "bytes_per_second")
