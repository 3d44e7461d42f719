"""What else comes through a collector; the dashboards and rules are in test_push.py."""

import sys
from pathlib import Path

import pytest

from tests.support.collector import collector
from tests.support.processes import free_port, query, running, wait_for
from tests.support.prometheus import pushed_prometheus


@pytest.mark.parametrize("way", ["otlp", "scrape"])
def test_resource_attributes_arrive_in_target_info(tmp_path: Path, way: str) -> None:
    port = free_port()
    with (
        pushed_prometheus(tmp_path) as store,
        collector(tmp_path, way, store, port) as endpoint,
        running(
            [sys.executable, "-m", "app", "--host", "127.0.0.1", "--port", str(port)],
            tmp_path / "app.log",
            f"http://127.0.0.1:{port}/health",
            environment={
                "OTEL_METRICS_EXPORTER": "prometheus" if way == "scrape" else "otlp",
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint,
                "OTEL_METRIC_EXPORT_INTERVAL": "500",
                "OTEL_SERVICE_NAME": "fastapi",
                "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=shop-1,k8s.node.name=blue",
            },
        ),
    ):
        by_pod = """
            sum by (k8s_pod_name, k8s_node_name) (
              app_requests_total * on (job, instance) group_left (k8s_pod_name, k8s_node_name)
              target_info
            )
        """
        wait_for(lambda: query(store, by_pod) == {("blue", "shop-1"): 1}, "the pod's request")
