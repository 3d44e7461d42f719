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


def expand(expression: str, window: str = "1m", over: str = "15m", step: int = 15) -> str:
    """A query as Grafana sends it, with everything of the job chosen."""
    values = {
        "$__rate_interval": window,
        "$__interval_ms": f"{1000 * step}",
        "$__interval": f"{step}s",
        "$__range": over,
        "$job": "fastapi",
        "$instance": ".*",
        "$path": ".*",
    }
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    assert "$" not in re.sub(r'"(\$1|…\$1)"', "", expression), expression
    return expression


def queries(
    name: str = TUTORIAL, window: str = "1m", over: str = "15m", step: int = 15
) -> dict[str, str]:
    """Each query by the title of its panel, with its legend if there are several.

    The queries of one legend, a place each of the worst, are one.
    """
    found: dict[str, str] = {}
    for panel in panels(name):
        legends = {target["legendFormat"] for target in panel["targets"]} - {"없음", "none"}
        for target in panel["targets"]:
            legend = target["legendFormat"]
            alone = len(legends) == 1 and legend in legends
            title = panel["title"] if alone else f"{panel['title']}: {legend}"
            expression = expand(target["expr"], window, over, step)
            found[title] = f"{found[title]} or {expression}" if title in found else expression
    return found


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
