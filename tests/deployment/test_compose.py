"""The containers: what they are, what they may, and who waits for whom."""

import itertools
import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes import ROOT, program

HOST, PUSH, SCALE, TRACES = (
    f"docker-compose.{name}.yaml" for name in ("host", "push", "scale", "traces")
)
COMBINATIONS = (
    *((), (HOST,), (PUSH,), (SCALE,), (TRACES,)),
    *((HOST, PUSH), (PUSH, HOST), (SCALE, PUSH), (PUSH, TRACES), (TRACES, PUSH)),
    *((SCALE, TRACES), (SCALE, PUSH, TRACES)),
)
"""All but replicas of an app that runs on the host, and a scrape after a push."""
BALANCER = ROOT / "deploy/compose/haproxy.cfg"


@cache
def services(*overrides: str, **environment: str) -> dict[str, Any]:
    """The services as Compose itself reads them."""
    files = ("docker-compose.yaml", *overrides)
    result = subprocess.run(
        [
            program("docker-compose"),
            *itertools.chain(*(("--file", file) for file in files)),
            *("config", "--format", "json"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    content: dict[str, Any] = json.loads(result.stdout)["services"]
    return content


def ports(service: str, *overrides: str, **environment: str) -> list[tuple[str, str, int]]:
    return [
        (port.get("host_ip", ""), port["published"], port["target"])
        for port in services(*overrides, **environment)[service]["ports"]
    ]


def needs(*overrides: str) -> dict[str, dict[str, str]]:
    return {
        name: {
            needed: how["condition"] for needed, how in (service.get("depends_on") or {}).items()
        }
        for name, service in services(*overrides).items()
    }


@pytest.mark.parametrize("overrides", COMBINATIONS)
def test_compose_accepts_each_combination(overrides: tuple[str, ...]) -> None:
    assert set(services(*overrides)) >= {"prometheus", "grafana"}


def test_every_file_is_among_the_combinations() -> None:
    assert {path.name for path in ROOT.glob("docker-compose.*.yaml")} == {HOST, PUSH, SCALE, TRACES}


def test_the_ports_are_the_tutorials_and_none_is_seen_from_outside() -> None:
    assert ports("app") == [("127.0.0.1", "8000", 8000)]
    assert ports("prometheus") == [("127.0.0.1", "9090", 9090)]
    assert ports("grafana") == [("127.0.0.1", "3000", 3000)]
    assert ports("tempo", TRACES) == [("127.0.0.1", "4318", 4318)]
    assert ports("loki", TRACES) == [("127.0.0.1", "3100", 3100)]


def test_the_app_is_published_on_any_port_and_says_so() -> None:
    assert ports("app", APP_PORT="8765") == [("127.0.0.1", "8765", 8000)]
    environment = services(APP_PORT="8765")["app"]["environment"]
    assert environment["APP_URL"] == "http://localhost:8765"


def test_images_are_pinned() -> None:
    images = {name: service["image"] for name, service in services(SCALE, TRACES).items()}
    assert re.fullmatch(r"prom/prometheus:v\d+\.\d+\.\d+", images["prometheus"])
    assert re.fullmatch(r"haproxy:\d+\.\d+\.\d+", images["balancer"])
    for name in ("grafana", "tempo", "loki"):
        assert re.fullmatch(rf"grafana/{name}:\d+\.\d+\.\d+", images[name])


def test_the_apps_image_is_built_anew_after_each_change() -> None:
    assert services()["app"]["pull_policy"] == "build"


def test_prometheus_starts_before_the_app_and_stops_after_it() -> None:
    assert needs() == {
        "app": {"prometheus": "service_started"},
        "prometheus": {},
        "grafana": {"prometheus": "service_healthy"},
    }
    assert needs(PUSH) == {**needs(), "app": {"prometheus": "service_healthy"}}
    # Both stores, too, outlive the app.
    assert needs(TRACES)["app"].keys() == {"prometheus", "tempo", "loki"}
    assert all("healthcheck" in services()[name] for name in ("prometheus", "grafana"))


def test_all_come_back_after_a_restart_with_what_they_had_stored() -> None:
    assert {service["restart"] for service in services(TRACES).values()} == {"unless-stopped"}
    stores = {
        name: [
            volume["target"] for volume in service.get("volumes", []) if volume["type"] == "volume"
        ]
        for name, service in services(TRACES).items()
    }
    assert stores == {
        "app": [],
        "prometheus": ["/prometheus"],
        "grafana": ["/var/lib/grafana"],
        "tempo": ["/var/tempo"],
        "loki": ["/loki"],
    }


def test_no_log_grows_without_bounds() -> None:
    for name, service in services(SCALE, TRACES).items():
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name


def test_the_app_is_reached_by_the_name_that_prometheus_scrapes_within_compose() -> None:
    for overrides in ((), (PUSH,)):
        app, prometheus = (services(*overrides)[name] for name in ("app", "prometheus"))
        assert app["networks"]["default"]["aliases"] == ["host.docker.internal"]
        assert "extra_hosts" not in prometheus


def test_an_app_on_the_host_is_reached_by_the_same_name() -> None:
    # Compose leaves out services whose profile nobody asks for.
    assert set(services(HOST)) == {"prometheus", "grafana"}
    assert services(HOST)["prometheus"]["extra_hosts"] == ["host.docker.internal=host-gateway"]


def test_grafanas_password_is_admin_until_one_is_given() -> None:
    default = services()["grafana"]["environment"]
    chosen = services(GRAFANA_PASSWORD="chosen")["grafana"]["environment"]
    assert default["GF_SECURITY_ADMIN_PASSWORD"] == "admin"
    assert chosen["GF_SECURITY_ADMIN_PASSWORD"] == "chosen"


def test_the_app_has_no_rights_that_it_does_not_need() -> None:
    app = services()["app"]
    assert app["read_only"] is True
    assert app["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in app["security_opt"]
    stage = (ROOT / "Dockerfile").read_text().split("\nFROM ")[-1]
    assert re.search(r"^USER (?!root|0)", stage, re.MULTILINE)


def test_the_image_pins_all_that_it_installs_and_names_no_address() -> None:
    constraints = (ROOT / "constraints.txt").read_text()
    lines = [line for line in constraints.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    assert "--constraint constraints.txt" in (ROOT / "Dockerfile").read_text()


def test_replicas_share_the_port_of_the_load_balancer() -> None:
    app = services(SCALE)["app"]
    assert app["scale"] == 3
    assert "ports" not in app
    assert ports("balancer", SCALE) == [("127.0.0.1", "8000", 8000)]
    assert needs(SCALE)["balancer"] == {"app": "service_started"}
    (volume,) = services(SCALE)["balancer"]["volumes"]
    assert Path(volume["source"]) == BALANCER


def test_prometheus_finds_the_replicas_where_compose_names_them() -> None:
    config = yaml.safe_load((ROOT / "prometheus/prometheus.scale.yml").read_text())
    _itself, job = config["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert discovery["names"] == ["app"]
    assert discovery["port"] == 8000
    command = services(SCALE)["prometheus"]["command"]
    assert "--config.file=/etc/prometheus/prometheus.scale.yml" in command
    assert command[1:] == services()["prometheus"]["command"][1:]


def test_each_way_counts_from_when_a_series_began() -> None:
    """Or increase(), of which the dashboards and rules are made, would lose each first value."""
    for overrides in COMBINATIONS:
        command = services(*overrides)["prometheus"]["command"]
        assert "--enable-feature=created-timestamp-zero-ingestion" in command, overrides


def test_the_load_balancers_configuration_is_valid() -> None:
    command = [program("haproxy"), "-c", "-f", str(BALANCER)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
