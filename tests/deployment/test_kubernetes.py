"""The manifests: rendered by kustomize, held to schemas, and their container run as it says."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from telemetry import DEFAULT_EXCLUDED_PATHS
from tests.support.dashboard import ALL
from tests.support.dashboard import FOLDER as DASHBOARDS
from tests.support.processes import ROOT, free_port, get, program, service, wait_for
from tests.support.series import parse, total

FOLDER = ROOT / "deploy/kubernetes"
OVERLAYS = ("operator", "annotations")
OPERATORS_OWN = ("PodMonitor", "PrometheusRule")
VERSIONS = ("1.29", "1.37")
"""Of Kubernetes: the manifests need nothing that either has not."""

Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> str:
    result = subprocess.run(
        [program("kustomize"), "build", FOLDER / overlay],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def manifests(overlay: str) -> list[Manifest]:
    return list(yaml.safe_load_all(rendered(overlay)))


def manifest(kind: str, overlay: str = "operator") -> Manifest:
    (found,) = (each for each in manifests(overlay) if each["kind"] == kind)
    return found


def pod() -> Manifest:
    spec: Manifest = manifest("Deployment")["spec"]["template"]["spec"]
    return spec


def container() -> Manifest:
    (found,) = pod()["containers"]
    return dict(found)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_schemas_hold(overlay: str, version: str) -> None:
    kinds = set()
    for each in manifests(overlay):
        if each["kind"] not in OPERATORS_OWN:
            kubernetes_validate.validate(each, version, strict=True)
            kinds.add(each["kind"])
    assert kinds == {
        *("ConfigMap", "Deployment", "Service"),
        *("HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget"),
    }


def test_the_operators_types_hold() -> None:
    documents = [manifest(kind) for kind in OPERATORS_OWN]
    result = subprocess.run(
        [program("operator-kinds")],
        input=yaml.safe_dump_all(documents),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.stdout.split(), result.stderr) == (list(OPERATORS_OWN), "")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_dashboards_are_the_provisioned_ones(overlay: str) -> None:
    maps = [each for each in manifests(overlay) if each["kind"] == "ConfigMap"]
    found = {name: text for each in maps for name, text in each["data"].items()}
    assert found == {name: (DASHBOARDS / name).read_text(encoding="utf-8") for name in ALL}
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in maps)
    # What etcd takes, and so the API server.
    assert all(len(json.dumps(each)) < 1_000_000 for each in maps)


def test_the_rules_are_prometheus_own(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump(manifest("PrometheusRule")["spec"]))
    result = subprocess.run(
        [program("promtool"), "check", "rules", path], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr
    names = ("rules/fastapi", "rules/objectives", "native/counts")
    files = (ROOT / f"prometheus/{name}.yml" for name in names)
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    assert manifest("PrometheusRule")["spec"] == {"groups": groups}


def test_all_name_the_same_pods() -> None:
    labels = {"app.kubernetes.io/name": "fastapi"}
    deployment = manifest("Deployment")
    assert deployment["spec"]["template"]["metadata"]["labels"] == labels
    selectors = {
        "Deployment": deployment["spec"]["selector"]["matchLabels"],
        "Service": manifest("Service")["spec"]["selector"],
        "PodDisruptionBudget": manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        "PodMonitor": manifest("PodMonitor")["spec"]["selector"]["matchLabels"],
    }
    assert selectors == dict.fromkeys(selectors, labels)
    target = manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])


def test_only_prometheus_reaches_the_port_of_the_metrics() -> None:
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    variables = {each["name"]: each.get("value") for each in container()["env"]}
    assert variables["OTEL_EXPORTER_PROMETHEUS_PORT"] == str(ports["metrics"])
    allowed = {
        rule["ports"][0]["port"]: rule.get("from")
        for rule in manifest("NetworkPolicy")["spec"]["ingress"]
    }
    assert set(allowed) == set(ports)
    assert allowed["http"] is None
    (peer,) = allowed["metrics"]
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}
    assert "namespaceSelector" in peer
    (endpoint,) = manifest("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "metrics"
    annotations = manifest("Deployment", "annotations")["spec"]["template"]["metadata"][
        "annotations"
    ]
    assert annotations["prometheus.io/port"] == str(ports["metrics"])


def test_a_pod_that_ends_is_scraped_once_more_and_has_the_time_that_it_needs() -> None:
    _sleep, seconds = container()["lifecycle"]["preStop"]["exec"]["command"]
    (endpoint,) = manifest("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert int(seconds) > int(endpoint["interval"].removesuffix("s"))
    command = container()["command"]
    requests = int(command[command.index("--timeout-graceful-shutdown") + 1])
    # The last flush of a push takes 5 s at most.
    assert int(seconds) + requests + 5 < pod()["terminationGracePeriodSeconds"]
    update = manifest("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert update["maxUnavailable"] == 0


def test_promtool_accepts_the_scrape_configuration_for_annotations() -> None:
    path = FOLDER / "annotations/prometheus.yml"
    result = subprocess.run(
        [program("promtool"), "check", "config", path], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr


def environment(fields: dict[str, str]) -> dict[str, str]:
    """What the kubelet gives to the container."""
    variables: dict[str, str] = {}
    for each in container()["env"]:
        value = each.get("value") or fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for name, known in variables.items():
            value = value.replace(f"$({name})", known)
        assert "$(" not in value, "a variable refers to one below it"
        variables[each["name"]] = value
    return variables


def test_the_container_serves_as_its_manifest_says(tmp_path: Path) -> None:
    port = str(free_port())
    fields = {
        "metadata.name": "fastapi-1",
        "metadata.namespace": "shop",
        "spec.nodeName": "blue",
    }
    variables = {**environment(fields), "OTEL_EXPORTER_PROMETHEUS_PORT": port}
    python, *arguments = container()["command"]
    assert python == "python"
    command = (sys.executable, *arguments, "--host", "127.0.0.1")
    probes = {
        json.dumps(container()[f"{each}Probe"]["httpGet"])
        for each in ("startup", "readiness", "liveness")
    }
    (probe,) = map(json.loads, probes)
    assert probe["path"] in DEFAULT_EXCLUDED_PATHS
    with service(tmp_path, command=command, environment=variables) as app:
        assert app.status(probe["path"]) == 200
        assert app.status("/metrics") == 404
        app.get("/health")
        metrics = f"http://127.0.0.1:{port}/metrics"
        series = parse(wait_for(lambda: get(metrics), "the metrics are served"))
        assert total(series, "app_requests_total") == total(
            series, "app_requests_total", path="/health"
        ) + total(series, "app_requests_total", path="unmatched")
        about = {"k8s_pod_name": "fastapi-1", "k8s_namespace_name": "shop", "k8s_node_name": "blue"}
        assert total(series, "target_info", service_instance_id="fastapi-1", **about) == 1
        assert app.process.stop() == 0
