"""What both dashboards are built of: texts in two languages, panels, and how panels are placed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

Json = dict[str, Any]

LANGUAGES = ("ko", "en")
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
NO_DATA = {"type": "special", "options": {"match": "null+nan", "result": {"text": "-", "index": 9}}}
"""Shows a dash if there is no value, for example the error ratio without requests."""

STATUS_COLOURS = {"5": "red", "4": "yellow", "3": "super-light-blue", "2": "semi-dark-blue"}
"""By the first digit of the status code; told apart by readers with any colour vision."""


class Text(NamedTuple):
    """A text in both languages."""

    ko: str
    en: str


EMPTY = Text("데이터 없음", "No data")


def translate(content: Any, language: str) -> Any:
    """The content with each `Text` in one of the `LANGUAGES`."""
    if isinstance(content, Text):
        return getattr(content, language)
    if isinstance(content, dict):
        return {key: translate(value, language) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [translate(value, language) for value in content]
    return content


@dataclass
class Panel:
    """A panel or the heading of a row, with its size on Grafana's grid of 24 columns."""

    json: Json
    width: int = 24
    height: int = 1


def query(expression: str, legend: str | Text = "", **more: Any) -> Json:
    """A query over the time range of the dashboard."""
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expression,
        "legendFormat": legend,
        "range": True,
        "instant": False,
        **more,
    }


def query_now(expression: str, legend: str | Text = "", **more: Any) -> Json:
    """A query at the end of the time range."""
    return query(expression, legend, **{"range": False, "instant": True, **more})


def thresholds(base: str, *steps: tuple[float, str]) -> Json:
    """Colours from values on; `base` is the colour below all of them."""
    colours = [{"color": base, "value": None}]
    return {
        "mode": "absolute",
        "steps": colours + [{"color": colour, "value": value} for value, colour in steps],
    }


def override(names: str | Text, **properties: Any) -> Json:
    """Properties of the series or columns whose names match a regular expression."""
    expression = Text(*(f"/{each}/" for each in names)) if isinstance(names, Text) else f"/{names}/"
    return {
        "matcher": {"id": "byRegexp", "options": expression},
        "properties": [
            {"id": key.replace("__", "."), "value": value} for key, value in properties.items()
        ],
    }


def fixed(colour: str) -> Json:
    """One colour, by its name: Grafana draws it in the shade that suits the theme."""
    return {"mode": "fixed", "fixedColor": colour}


def by_status(pattern: str = "{}") -> list[Json]:
    """The colours of series whose names begin with a status code."""
    return [
        override("^" + pattern.format(digit), color=fixed(colour))
        for digit, colour in STATUS_COLOURS.items()
    ]


def heading(title: Text) -> Panel:
    """The heading of a row."""
    return Panel({"type": "row", "title": title, "collapsed": False, "panels": []})


def panel(
    kind: str,
    title: Text | str,
    description: Text,
    queries: Iterable[Json],
    *,
    size: tuple[int, int],
    options: Json,
    overrides: Iterable[Json] = (),
    transformations: Iterable[Json] = (),
    **defaults: Any,
) -> Panel:
    """A panel of any type; `defaults` are the options of all its fields."""
    defaults.setdefault("noValue", EMPTY)
    content = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        "options": options,
        "targets": [{"refId": chr(ord("A") + index), **each} for index, each in enumerate(queries)],
        "transformations": list(transformations),
    }
    return Panel(content, *size)


def curves(
    title: Text | str,
    description: Text,
    *queries: Json,
    unit: str,
    size: tuple[int, int],
    soft_max: float,
    legend: str = "list",
    calculations: Iterable[str] = (),
    overrides: Iterable[Json] = (),
    limit: float | None = None,
    style: Json | None = None,
    **defaults: Any,
) -> Panel:
    """Lines over time, from 0 up.

    Parameters:
        title: Of the panel.
        description: What it shows.
        queries: One or more.
        unit: Grafana's name of the unit.
        size: Columns and rows.
        soft_max: Where the axis ends as long as no value is above. Without it the axis of a
            panel that has only zeros ends at 100, or at 10,000 %.
        legend: ``list`` below the lines, or ``table`` on their right, for any number of lines:
            the greatest first, with the values that `calculations` name.
        calculations: What a legend shows of each line.
        overrides: Options of single lines.
        limit: Where a dashed line is drawn: the limit of an alert.
        style: How lines are drawn, if not as everywhere.
        defaults: Further options of all lines.
    """
    # By name, so that a path has the same colour in every panel.
    defaults.setdefault("color", {"mode": "palette-classic-by-name"})
    calculations = list(calculations) or (["max"] if legend == "table" else [])
    place = {"placement": "right", "width": 260} if legend == "table" else {"placement": "bottom"}
    sort = {"sortBy": "Max", "sortDesc": True} if "max" in calculations else {}
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 2,
        "fillOpacity": 0,
        "showPoints": "never",
        "spanNulls": False,
        "axisSoftMin": 0,
        "axisSoftMax": soft_max,
        **(style or {}),
    }
    if limit is not None:
        defaults["thresholds"] = thresholds("transparent", (limit, "red"))
        custom["thresholdsStyle"] = {"mode": "dashed"}
    return panel(
        "timeseries",
        title,
        description,
        queries,
        size=size,
        overrides=overrides,
        options={
            "legend": {
                "displayMode": legend,
                "showLegend": True,
                "calcs": calculations,
                **place,
                **sort,
            },
            "tooltip": {"mode": "multi", "sort": "desc", "hideZeros": True},
        },
        unit=unit,
        min=0,
        custom=custom,
        **defaults,
    )


def figure(
    title: Text,
    description: Text,
    target: Json,
    *,
    unit: str,
    size: tuple[int, int],
    filled: bool = False,
    text_size: int = 34,
    **defaults: Any,
) -> Panel:
    """One number: its last value, in a colour or filled with the one of its threshold."""
    return panel(
        "stat",
        title,
        description,
        [target],
        size=size,
        options={
            "colorMode": "background" if filled else "value",
            "graphMode": "none",
            "justifyMode": "center",
            "orientation": "auto",
            "textMode": "value",
            "text": {"valueSize": text_size},
            "reduceOptions": {"calcs": ["last"], "fields": "", "values": False},
        },
        unit=unit,
        **defaults,
    )


def place(panels: Iterable[Panel]) -> list[Json]:
    """The panels one after another, from left to right and from top to bottom."""
    placed: list[Json] = []
    x = y = line = 0
    for number, each in enumerate(panels, start=1):
        if x + each.width > 24:
            x, y, line = 0, y + line, 0
        position = {"x": x, "y": y, "w": each.width, "h": each.height}
        placed.append({"id": number, **each.json, "gridPos": position})
        x, line = x + each.width, max(line, each.height)
    return placed


def variable(name: str, label: Text, labels: str, **more: Any) -> Json:
    """A choice among the values of a label; none chosen means all that there are."""
    found = f"label_values({labels})"
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": found,
        "query": {"query": found, "qryType": 1, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        **more,
    }


def link(title: Text, uid: str | Text) -> Json:
    """A link to another dashboard at the top of one."""
    url = Text(*(f"/d/{each}" for each in uid)) if isinstance(uid, Text) else f"/d/{uid}"
    return {"type": "link", "title": title, "url": url, "icon": "dashboard", "keepTime": True}


def dashboard(
    uid: Text,
    title: Text,
    description: Text,
    panels: Iterable[Panel],
    *,
    refresh: str,
    links: Iterable[Json],
    variables: Iterable[Json] = (),
    annotations: Iterable[Json] = (),
) -> Json:
    """A whole dashboard that opens on the last quarter of an hour."""
    datasource = {
        "type": "datasource",
        "name": "datasource",
        "label": Text("데이터 소스", "Data source"),
        "query": "prometheus",
        "current": {"text": "Prometheus", "value": "prometheus"},
    }
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["fastapi", "opentelemetry"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": refresh,
        "time": {"from": "now-15m", "to": "now"},
        "annotations": {"list": list(annotations)},
        "templating": {"list": [datasource, *variables]},
        "links": list(links),
        "panels": place(panels),
    }
