"""What the dashboards are built of: texts in two languages, panels, and how panels are placed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypedDict, Unpack

Json = dict[str, Any]

LANGUAGES = ("ko", "en")
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
NO_DATA: Json = {
    "type": "special",
    "options": {"match": "null+nan", "result": {"text": "-", "index": 9}},
}
"""Shows a dash if there is no value, for example the error ratio without requests."""
UNFILLED: Json = {
    "type": "special",
    "options": {"match": "null+nan", "result": {"text": "-", "color": "transparent", "index": 9}},
}
"""The same where a value is on the colour of its threshold."""

STATUS_COLOURS = {"5": "red", "4": "yellow", "3": "super-light-blue", "2": "semi-dark-blue"}
"""By the first digit of the status code; told apart by readers with any colour vision."""
WORST = ("blue", "orange", "super-light-purple", "dark-blue", "dark-orange")
"""The colours of the worst five, the worst first. The last two are drawn dashed, too."""
ERRORS = ("red", "super-light-red", "dark-red", "light-red", "semi-dark-red")
_DASHED = {"fill": "dash", "dash": [8, 5]}


class Text(NamedTuple):
    """A text in both languages."""

    ko: str
    en: str


EMPTY = Text("데이터 없음", "No data")


class Fields(TypedDict, total=False):
    """The options that the fields of any panel have; mypy refuses one that is misspelt."""

    color: Json
    custom: Json
    decimals: int
    mappings: list[Json]
    max: float
    min: float
    noValue: Text
    thresholds: Json
    unit: str | Text


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


def query(
    expression: str,
    legend: str | Text = "",
    *,
    now: bool = False,
    table: bool = False,
    heatmap: bool = False,
    exemplar: bool = False,
) -> Json:
    """A query over the time range of the dashboard, or of its end (`now`)."""
    kind = "table" if table else "heatmap" if heatmap else "time_series"
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expression,
        "legendFormat": legend,
        "range": not now,
        "instant": now,
        "format": kind,
        "exemplar": exemplar,
    }


def worst(expression: str, ranked_by: str, legend: str) -> list[Json]:
    """The five series that are greatest by another expression, the greatest in a query of its own.

    So each has a colour by its place, and no two have the same.
    """
    places = [f"topk({place}, {ranked_by})" for place in range(1, len(WORST) + 1)]
    return [query(f"{expression} and {places[0]}", legend)] + [
        query(f"{expression} and ({place} unless {before})", legend)
        for before, place in pairwise(places)
    ]


def by_place(colours: tuple[str, ...] = WORST) -> list[Json]:
    """The colours of the queries that `worst` makes."""
    styles: list[Json] = [{"color": fixed(colour)} for colour in colours]
    if colours is WORST:
        for each in styles[3:]:
            each["custom.lineStyle"] = _DASHED
    return [
        {"matcher": {"id": "byFrameRefID", "options": chr(ord("A") + place)}, **_properties(style)}
        for place, style in enumerate(styles)
    ]


def thresholds(base: str, *steps: tuple[float, str]) -> Json:
    """Colours from values on; `base` is the colour below all of them."""
    colours = [{"color": base, "value": None}]
    return {
        "mode": "absolute",
        "steps": colours + [{"color": colour, "value": value} for value, colour in steps],
    }


def _properties(values: Mapping[str, Any]) -> Json:
    return {"properties": [{"id": key, "value": value} for key, value in values.items()]}


def override(names: str | Text, properties: Mapping[str, Any]) -> Json:
    """Properties of the series or columns whose names match a regular expression."""
    expression = Text(*(f"/{each}/" for each in names)) if isinstance(names, Text) else f"/{names}/"
    return {"matcher": {"id": "byRegexp", "options": expression}, **_properties(properties)}


def line(names: str | Text, colour: str, *, dashed: bool = False, **custom: Any) -> Json:
    """The colour and the style of lines whose names match a regular expression."""
    style = {"lineStyle": _DASHED, **custom} if dashed else custom
    return override(
        names, {"color": fixed(colour), **{f"custom.{key}": each for key, each in style.items()}}
    )


def fixed(colour: str) -> Json:
    """One colour, by its name: Grafana draws it in the shade that suits the theme."""
    return {"mode": "fixed", "fixedColor": colour}


def says(value: str, text: Text | str, colour: str) -> Json:
    """A text in place of a value."""
    return {"type": "value", "options": {value: {"text": text, "color": colour, "index": 0}}}


def by_status(pattern: str = "{}") -> list[Json]:
    """The colours of series whose names begin with a status code."""
    return [line("^" + pattern.format(digit), each) for digit, each in STATUS_COLOURS.items()]


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
    interval: str | None = None,
    **fields: Unpack[Fields],
) -> Panel:
    """A panel of any type; `interval` is its shortest step."""
    defaults = {"noValue": EMPTY, **fields}
    content = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        "options": options,
        "targets": [{"refId": chr(ord("A") + index), **each} for index, each in enumerate(queries)],
        "transformations": list(transformations),
        **({"interval": interval} if interval else {}),
    }
    return Panel(content, *size)


def curves(
    title: Text | str,
    description: Text,
    *queries: Json,
    size: tuple[int, int],
    soft_max: float,
    legend: str = "bottom",
    calculations: Iterable[str] = ("max",),
    overrides: Iterable[Json] = (),
    limit: float | None = None,
    style: Json | None = None,
    interval: str | None = None,
    **fields: Unpack[Fields],
) -> Panel:
    """Lines over time, from 0 up.

    Parameters:
        title: Of the panel.
        description: What it shows.
        queries: One or more.
        size: Columns and rows.
        soft_max: Where the axis ends as long as no value is above. Without it the axis of a
            panel that has only zeros ends at 100, or at 10,000 %.
        legend: ``list`` for names alone; ``bottom`` or ``right`` for a table, the greatest first,
            with the values that `calculations` name.
        calculations: What a legend shows of each line.
        overrides: Options of single lines.
        limit: Where a dashed line is drawn: the limit of an alert.
        style: How lines are drawn, if not as everywhere.
        interval: The shortest step.
        fields: Further options of all lines.
    """
    table = legend != "list"
    calculations = list(calculations) if table else []
    custom: Json = {
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
    fields["custom"] = custom
    if limit is not None:
        fields["thresholds"] = thresholds("transparent", (limit, "red"))
        custom["thresholdsStyle"] = {"mode": "dashed"}
    fields.setdefault("color", {"mode": "palette-classic"})
    fields.setdefault("min", 0)
    return panel(
        "timeseries",
        title,
        description,
        queries,
        size=size,
        overrides=overrides,
        options={
            "legend": {
                "displayMode": "table" if table else "list",
                "placement": "right" if legend == "right" else "bottom",
                "showLegend": True,
                "calcs": calculations,
                **({"width": 270} if legend == "right" else {}),
                **({"sortBy": "Max", "sortDesc": True} if "max" in calculations else {}),
            },
            "tooltip": {"mode": "multi", "sort": "desc", "hideZeros": True},
        },
        interval=interval,
        **fields,
    )


def figure(
    title: Text,
    description: Text,
    *targets: Json,
    size: tuple[int, int],
    filled: bool = False,
    text_size: int = 34,
    text: str = "value",
    orientation: str = "auto",
    **fields: Unpack[Fields],
) -> Panel:
    """Last values, each in a colour or filled with the one of its threshold."""
    return panel(
        "stat",
        title,
        description,
        targets,
        size=size,
        options={
            "colorMode": "background" if filled else "value",
            "graphMode": "none",
            "justifyMode": "center",
            "orientation": orientation,
            "textMode": text,
            "text": {"valueSize": text_size, "titleSize": text_size},
            "reduceOptions": {"calcs": ["last"], "fields": "", "values": False},
        },
        **fields,
    )


def place(panels: Iterable[Panel]) -> list[Json]:
    """The panels one after another, from left to right and from top to bottom."""
    placed: list[Json] = []
    x = y = height = 0
    for number, each in enumerate(panels, start=1):
        if x + each.width > 24:
            x, y, height = 0, y + height, 0
        position = {"x": x, "y": y, "w": each.width, "h": each.height}
        placed.append({"id": number, **each.json, "gridPos": position})
        x, height = x + each.width, max(height, each.height)
    return placed


def variable(name: str, label: Text, labels: str, all_value: str | None = None) -> Json:
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
        **({"allValue": all_value} if all_value else {}),
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
