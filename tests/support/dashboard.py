"""The dashboard as it is provisioned."""

import json
from typing import Any

from tests.support.processes import ROOT

PATH = ROOT / "grafana/provisioning/dashboards/fastapi_dashboard.json"


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return content


def queries() -> dict[str, str]:
    """The query of each panel, by the panel's title."""
    return {
        panel["title"]: panel["targets"][0]["expr"]
        for panel in dashboard()["panels"]
        if panel["type"] != "row"
    }
