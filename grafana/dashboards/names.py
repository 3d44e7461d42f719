"""The same dashboard, and the same rules, where the metrics have other names."""

import re
from typing import Any

from grafana.dashboards.panels import Json, Text

PREFIX = "app"

# In this order: the names of metrics first. A variable of the dashboard, $path, keeps its name.
_STANDARD = {
    r"\bapp_responses_total\{": (
        'http_server_request_duration_seconds_count{http_response_status_code!="", '
    ),
    r"\bapp_requests_total\b": "http_server_request_duration_seconds_count",
    r"\bapp_requests_processing_time_seconds": "http_server_request_duration_seconds",
    r"\bapp_requests_in_progress\b": "http_server_active_requests",
    r"(?<![$-])\bpath\b": "http_route",
    r"(?<!\$)\bmethod\b": "http_request_method",
    r"(?<!\$)\bstatus_code\b": "http_response_status_code",
}
# Where a panel says how to query, how to name what it finds, and which column is which.
_QUERIES = {"expr", "definition", "query", "legendFormat", "options", "byField", "pattern"}


def standard(dashboard: Json) -> Json:
    """The dashboard for ``http.server.*`` in the place of ``app_*``.

    See https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#http-server.
    """

    def renamed(content: Any, key: str = "") -> Any:
        if isinstance(content, Text):
            return Text(renamed(content.ko, key), renamed(content.en, key))
        if isinstance(content, dict) and "_websockets_" in content.get("expr", ""):
            # They have no names in that standard, and so keep ours.
            return content
        if isinstance(content, dict):
            return {name: renamed(value, name) for name, value in content.items()}
        if isinstance(content, list | tuple):
            return [renamed(value, key) for value in content]
        if isinstance(content, str) and key in _QUERIES:
            for pattern, name in _STANDARD.items():
                content = re.sub(pattern, name, content)
        if key == "expr" and isinstance(content, str) and "by (http_route" in content:
            # Requests that match no route have no http_route.
            content = f'label_replace({content}, "http_route", "unmatched", "http_route", "")'
        if isinstance(content, str):
            # Its uid, and its links to itself.
            return re.sub(r"\bfastapi-service\b", r"\g<0>-http", content)
        return content

    title = Text(*(f"{each} (http.server)" for each in dashboard["title"]))
    return {**renamed(dashboard), "title": title}


def prefixed(text: str, prefix: str) -> str:
    """A dashboard or rules for an application that has another prefix than ``app``."""
    return re.sub(rf"(?<![a-zA-Z_]){PREFIX}_(?=[a-z])", f"{prefix}_", text)
