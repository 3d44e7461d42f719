"""The containers: what they are, what they may, and who waits for whom."""

import json
import os
import re
import subprocess
from functools import cache
from typing import Any

from tests.support.processes import ROOT, program


@cache
def services(**environment: str) -> dict[str, Any]:
    """The services as Compose itself reads them."""
    result = subprocess.run(
        [program("docker-compose"), "config", "--format", "json"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stderr
    content: dict[str, Any] = json.loads(result.stdout)["services"]
    return content


def ports(service: str) -> list[tuple[str, str, int]]:
    return [
        (port.get("host_ip", ""), port["published"], port["target"])
        for port in services()[service]["ports"]
    ]


def test_the_ports_are_the_tutorials_and_only_the_app_is_seen_from_outside() -> None:
    assert ports("app") == [("", "8000", 8000)]
    assert ports("prometheus") == [("127.0.0.1", "9090", 9090)]
    assert ports("grafana") == [("127.0.0.1", "3000", 3000)]


def test_images_are_pinned() -> None:
    images = {name: services()[name]["image"] for name in ("prometheus", "grafana")}
    assert re.fullmatch(r"prom/prometheus:v\d+\.\d+\.\d+", images["prometheus"])
    assert re.fullmatch(r"grafana/grafana:\d+\.\d+\.\d+", images["grafana"])


def test_each_waits_until_the_one_it_needs_is_healthy() -> None:
    needs = {
        name: {
            needed: how["condition"] for needed, how in (service.get("depends_on") or {}).items()
        }
        for name, service in services().items()
    }
    assert needs == {
        "app": {},
        "prometheus": {"app": "service_healthy"},
        "grafana": {"prometheus": "service_healthy"},
    }
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()
    assert all("healthcheck" in services()[name] for name in ("prometheus", "grafana"))


def test_all_come_back_after_a_restart_with_what_they_had_stored() -> None:
    assert {service["restart"] for service in services().values()} == {"unless-stopped"}
    stores = {
        name: [
            volume["target"] for volume in service.get("volumes", []) if volume["type"] == "volume"
        ]
        for name, service in services().items()
    }
    assert stores == {"app": [], "prometheus": ["/prometheus"], "grafana": ["/var/lib/grafana"]}


def test_the_app_is_reached_by_the_name_that_prometheus_scrapes() -> None:
    assert services()["prometheus"]["extra_hosts"] == ["host.docker.internal=host-gateway"]


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
