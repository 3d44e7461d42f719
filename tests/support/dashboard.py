"""The dashboards as they are provisioned."""

import json
from typing import Any

from tests.support.processes import ROOT

FOLDER = ROOT / "grafana/provisioning/dashboards"
TUTORIAL = "fastapi_dashboard.json"
SERVICE = "service_dashboard.json"
TWINS = {TUTORIAL: "fastapi_dashboard.en.json", SERVICE: "service_dashboard.en.json"}
"""The dashboards in Korean, and in English."""
ALL = (*TWINS, *TWINS.values())

# What Grafana puts in the place of its variables where "All" is chosen.
_VARIABLES = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*", "$route": ".*"}


def dashboard(name: str = TUTORIAL) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return content


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def queries(name: str = TUTORIAL) -> dict[str, str]:
    """The query of each panel, by the panel's title, with nothing filtered."""
    found = {}
    for panel in panels(name):
        (target,) = panel["targets"]
        expression = target["expr"]
        for variable, value in _VARIABLES.items():
            expression = expression.replace(variable, value)
        found[panel["title"]] = expression
    return found
