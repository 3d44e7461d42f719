"""The dashboards as they are provisioned, and what a person sees on them."""

import json
import re
import urllib.parse
from typing import Any

from tests.support.processes import ROOT, get

FOLDER = ROOT / "grafana/provisioning/dashboards"
TUTORIAL = "fastapi_dashboard.json"
SERVICE = "service_dashboard.json"
HTTP = "service_dashboard_http.json"
TWINS = {name: name.replace(".json", ".en.json") for name in (TUTORIAL, SERVICE, HTTP)}
"""The dashboards in Korean, and in English."""
ALL = (*TWINS, *TWINS.values())


def dashboard(name: str = TUTORIAL) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return content


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def panel(title: str, name: str = SERVICE) -> dict[str, Any]:
    (found,) = (panel for panel in panels(name) if panel["title"] == title)
    return found


def expand(expression: str, window: str = "1m", over: str = "15m") -> str:
    """A query as Grafana sends it, with everything of the job chosen."""
    values = {"$__rate_interval": window, "$__range": over, "$job": "fastapi"}
    for variable, value in {**values, "$instance": ".*", "$path": ".*"}.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def queries(name: str = TUTORIAL, window: str = "1m", over: str = "15m") -> dict[str, str]:
    """Each query by the title of its panel, with its legend if the panel has several."""
    return {
        panel["title"]
        if len(panel["targets"]) == 1
        else f"{panel['title']}: {target['legendFormat']}": expand(target["expr"], window, over)
        for panel in panels(name)
        for target in panel["targets"]
    }


def offered(url: str, variable: str) -> list[str]:
    """What can be chosen for a variable of the service dashboard."""
    (definition,) = (
        each["definition"]
        for each in dashboard(SERVICE)["templating"]["list"]
        if each["name"] == variable
    )
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", definition)
    assert found is not None
    asked = urllib.parse.urlencode({"match[]": expand(found[1])})
    answer = json.loads(get(f"{url}/api/v1/label/{found[2]}/values?{asked}"))
    values: list[str] = answer["data"]
    return values


def shown(panel: dict[str, Any], value: float) -> tuple[str | None, str]:
    """The text in place of a value, if there is one, and the colour, by Grafana's rules."""
    defaults = panel["fieldConfig"]["defaults"]
    steps = defaults.get("thresholds", {"steps": [{"color": "text", "value": None}]})["steps"]
    (*_, colour) = (
        step["color"] for step in steps if step["value"] is None or value >= step["value"]
    )
    for mapping in defaults.get("mappings", []):
        options = mapping["options"]
        if mapping["type"] == "special" and value != value:
            return options["result"]["text"], "transparent"
        if mapping["type"] == "value" and f"{value:g}" in options:
            return options[f"{value:g}"]["text"], options[f"{value:g}"]["color"]
    return None, colour
