"""All dashboards: made from one source, in both languages, and readable at every moment."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.objectives import read
from deploy.rules import PAGES
from grafana.__main__ import compare, made
from tests.support.dashboard import ALL, FOLDER, SERVICE, TWINS, dashboard, panel, panels
from tests.support.processes import run_module

TEXTS = {"title", "description", "legendFormat", "label", "name", "displayName", "text", "noValue"}
KOREAN, ENGLISH = list(TWINS), list(TWINS.values())


def texts(content: Any) -> list[str]:
    if isinstance(content, list):
        return [text for each in content for text in texts(each)]
    if not isinstance(content, dict):
        return []
    own = [value for key, value in content.items() if key in TEXTS and isinstance(value, str)]
    return own + [text for value in content.values() for text in texts(value)]


def all_panels() -> list[Any]:
    return [
        pytest.param(panel, id=f"{name}-{panel['id']}") for name in ALL for panel in panels(name)
    ]


def test_the_files_are_those_that_the_source_makes() -> None:
    stale = [path for path, content in made().items() if path.read_text("utf-8") != content]
    assert stale == [], "run: python -m grafana"
    assert {path.name for path in FOLDER.glob("*.json")} == set(ALL)
    assert run_module("grafana", "--check").returncode == 0


def test_what_was_changed_in_grafana_is_shown_by_panel(tmp_path: Path) -> None:
    content = dashboard("fastapi_dashboard.en.json")
    content["version"] = 7
    content["panels"][1]["targets"][0]["expr"] = "sum(app_requests_total)"
    content["panels"][1]["fieldConfig"]["defaults"]["custom"]["barAlignment"] = 0
    exported = tmp_path / "exported.json"
    exported.write_text(json.dumps(content))
    path = "panels[Requests per minute by path]"
    assert list(compare(exported)) == [
        f'- {path}.targets[A].expr: "sum by (path) (increase(app_requests_total[1m]))"',
        f'+ {path}.targets[A].expr: "sum(app_requests_total)"',
        f"+ {path}.fieldConfig.defaults.custom.barAlignment: 0",
    ]
    exported.write_text("{}")
    refused = run_module("grafana", "--compare", str(exported))
    assert refused.returncode == 1
    assert "export it with the model Classic" in refused.stderr


# What Grafana 13 knows, and the types, of an older version, do not.
NOT_IN_THE_TYPES = {
    "annotations.list.step",
    "annotations.list.titleFormat",
    "templating.list.definition",
    "panels.heatmap.options.tooltip.mode",
    "panels.piechart.options.sort",
    "panels.timeseries.options.tooltip.hideZeros",
}


def lost(given: Any, kept: Any, path: str = "") -> set[str]:
    """The keys that somebody has not kept, by their path."""
    if isinstance(given, list):
        several: set[str] = set()
        for one, other in zip(given, kept or [], strict=False):
            kind = f".{one['type']}" if path == "panels" else ""
            several |= lost(one, other, path + kind)
        return several
    if not isinstance(given, dict):
        return set()
    if not isinstance(kept, dict):
        return {path}
    found: set[str] = set()
    for key, value in given.items():
        inner = f"{path}.{key}".strip(".")
        found |= lost(value, kept[key], inner) if key in kept else {inner}
    return found


def through_grafanas_types(content: Any) -> Any:
    return json.loads(JSONEncoder().encode(Dashboard.from_json(content)))


@pytest.mark.parametrize("name", ALL)
def test_grafanas_own_types_know_every_option(name: str) -> None:
    """The types are those that Grafana publishes for programs which make dashboards."""
    register_default_plugins()
    content = dashboard(name)
    # Of a null, and of an empty map, nothing is kept.
    assert lost(without_empty(content), through_grafanas_types(content)) <= NOT_IN_THE_TYPES


def without_empty(content: Any) -> Any:
    if isinstance(content, dict):
        return {
            key: without_empty(value)
            for key, value in content.items()
            if value not in (None, "", [], {}, False)
        }
    return [without_empty(each) for each in content] if isinstance(content, list) else content


@pytest.mark.parametrize(
    "place", [("fieldConfig", "defaults"), ("options",), ("fieldConfig", "defaults", "custom")]
)
def test_a_misspelt_option_is_found(place: tuple[str, ...]) -> None:
    register_default_plugins()
    content = dashboard(SERVICE)
    (target,) = (each for each in content["panels"] if each["title"] == "지연 시간")
    for key in place:
        target = target[key]
    target["noValeu"] = "x"
    (found,) = lost(without_empty(content), through_grafanas_types(content)) - NOT_IN_THE_TYPES
    assert found == ".".join(("panels.timeseries", *place, "noValeu"))


def test_the_properties_of_overrides_are_options_too() -> None:
    """They are named as paths, which the types take for any text."""
    for name in ALL:
        for each in panels(name):
            for override in each["fieldConfig"]["overrides"]:
                for given in override["properties"]:
                    register_default_plugins()
                    content: dict[str, Any] = {"type": each["type"], "fieldConfig": {}}
                    defaults: Any = content["fieldConfig"].setdefault("defaults", {})
                    *outer, last = given["id"].split(".")
                    for key in outer:
                        defaults = defaults.setdefault(key, {})
                    defaults[last] = given["value"]
                    whole = {"panels": [content]}
                    kept = through_grafanas_types(whole)
                    assert lost(without_empty(whole), kept) == set(), given["id"]


@pytest.mark.parametrize("name", ENGLISH)
def test_nothing_korean_is_left_in_english(name: str) -> None:
    content = dashboard(name)
    assert content["links"].pop()["title"] == "한국어"
    for text in texts(content):
        # Patterns that match the legends of both languages are not among the texts.
        assert not re.search("[가-힣]", text), text
        assert not re.search(r"\b(a (minute|second)|whoever|routes?)\b", text), text


@pytest.mark.parametrize("name", KOREAN)
def test_korean_uses_one_word_for_one_thing(name: str) -> None:
    for text in texts(dashboard(name)):
        assert not re.search(r"스크레이프|작업|라우트|보여 ?주|살아 ?있|\d %|진할수록", text), text


@pytest.mark.parametrize("name", ALL)
def test_each_panel_says_what_it_shows_and_lies_beside_the_others(name: str) -> None:
    assert len({panel["title"] for panel in panels(name)}) == len(panels(name))
    assert all(panel["title"] and panel["description"] for panel in panels(name))
    everything = dashboard(name)["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for each in everything:
        x, y, w, h = (each["gridPos"][key] for key in "xywh")
        cells = {(x + dx, y + dy) for dx in range(w) for dy in range(h)}
        assert not cells & taken, each["title"]
        assert x + w <= 24
        # Of 24 columns at 1,280 pixels: a figure needs 200 of them, a curve 300.
        assert each["type"] == "row" or w >= (4 if each["type"] == "stat" else 6)
        taken |= cells
        # The page has the same length for one path and for a thousand.
        assert "repeat" not in each


@pytest.mark.parametrize("name", ALL)
def test_colours_are_names_that_grafana_draws_differently_in_its_two_themes(name: str) -> None:
    text = json.dumps(dashboard(name))
    colours = set(re.findall(r'"(?:color|fixedColor|iconColor|fill)": "([^"]+)"', text)) - {"dash"}
    hues = "(super-light-|light-|semi-dark-|dark-)?(blue|green|orange|purple|red|yellow)"
    assert all(re.fullmatch(f"{hues}|text|transparent", colour) for colour in colours)


@pytest.mark.parametrize("panel", all_panels())
def test_a_dead_app_cannot_look_healthy(panel: dict[str, Any]) -> None:
    """The last value of a range is that of a dead app, too, unless the query goes on."""
    calculations = panel["options"].get("reduceOptions", {}).get("calcs", [])
    for target in panel["targets"]:
        if calculations and target["range"]:
            assert calculations == ["last"]
            # The names of alerts: where there is none, another query says so.
            assert "or vector(" in target["expr"] or panel["options"]["textMode"] == "name"


@pytest.mark.parametrize("panel", all_panels())
def test_axes_begin_at_zero_and_do_not_end_at_ten_thousand_percent(panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    if panel["type"] == "timeseries":
        assert defaults["min"] == 0
        assert 0 < defaults["custom"]["axisSoftMax"] <= 64 * 2**20
        if defaults["unit"] == "percentunit":
            assert defaults["custom"]["axisSoftMax"] <= 1
    if defaults.get("unit") in ("none", "locale"):
        assert defaults["decimals"] == (1 if "burn1h" in str(panel["targets"]) else 0)
    # "122 K" hides single requests.
    assert defaults.get("unit") != "short"


@pytest.mark.parametrize("panel", all_panels())
def test_the_worst_of_many_lines_is_the_first_in_the_legend(panel: dict[str, Any]) -> None:
    legends = [target["legendFormat"] for target in panel["targets"]]
    if panel["type"] == "timeseries" and any("{{" in legend for legend in legends):
        legend = panel["options"]["legend"]
        if legends != ["{{status_code}}"]:
            assert legend["displayMode"] == "table"
            assert (legend["sortBy"], legend["sortDesc"]) == ("Max", True)
            assert "max" in legend["calcs"]


@pytest.mark.parametrize("panel", all_panels())
def test_no_two_lines_have_the_same_look(panel: dict[str, Any]) -> None:
    """Each line has a colour of its own, or the same one and another style."""
    looks = []
    for override in panel["fieldConfig"]["overrides"]:
        given = {each["id"]: each["value"] for each in override["properties"]}
        if "color" in given and panel["type"] == "timeseries":
            looks.append((given["color"]["fixedColor"], str(given.get("custom.lineStyle"))))
    assert len(set(looks)) == len(looks)
    places = [each for each in panel["targets"] if "topk(" in each["expr"]]
    if panel["type"] == "timeseries" and places:
        coloured = [
            each["matcher"]["options"]
            for each in panel["fieldConfig"]["overrides"]
            if each["matcher"]["id"] == "byFrameRefID"
        ]
        assert coloured == [each["refId"] for each in places]


@pytest.mark.parametrize("panel", all_panels())
def test_errors_are_red_and_nothing_else_in_a_line_is(panel: dict[str, Any]) -> None:
    for override in panel["fieldConfig"]["overrides"]:
        given = {each["id"]: each["value"] for each in override["properties"]}
        if panel["type"] == "timeseries" and "color" in given:
            red = "red" in given["color"]["fixedColor"]
            names = str(override["matcher"]["options"])
            errors = (
                re.search("서버 오류|Server errors|예외|Exceptions", panel["title"]) is not None
            )
            limit = re.search("한도|limit", names) is not None
            fifth = re.match(r"/\^5", names) is not None
            none = re.search("없음|none", names) is not None
            assert red == ((errors and not none) or limit or fifth), panel["title"]


@pytest.mark.parametrize("panel", all_panels())
def test_status_codes_have_the_colours_of_their_classes(panel: dict[str, Any]) -> None:
    legends = [target["legendFormat"] for target in panel["targets"]]
    if not any(re.match(r"\dxx|\{\{status_code\}\}$", legend) for legend in legends):
        return
    if panel["type"] == "table" or "topk(" in panel["targets"][0]["expr"]:
        return
    colours = {
        override["matcher"]["options"][2]: override["properties"][0]["value"]["fixedColor"]
        for override in panel["fieldConfig"]["overrides"]
        if override["properties"][0]["id"] == "color"
    }
    if len(legends) == 2:
        assert colours == {"5": "red", "4": "yellow"}
        return
    assert colours == {"5": "red", "4": "yellow", "3": "super-light-blue", "2": "semi-dark-blue"}


def test_what_only_scraping_or_short_intervals_have_is_said() -> None:
    for korean, english in TWINS.items():
        for one, other in zip(panels(korean), panels(english), strict=True):
            expression = one["targets"][0]["expr"]
            if re.search(r"^(up|scrape_\w+|rate\(process_\w+)\{", expression):
                assert "수집 방식" in one["description"]
                assert "Only for scraping" in other["description"]
            if "[1m]" in expression:
                assert "30초" in one["description"]
                assert "30 seconds" in other["description"]
            if re.search(r"histogram_quantile.*processing_time", expression):
                assert "5ms" in one["description"]
                assert "5 ms" in other["description"]


def test_red_begins_where_the_alerts_page() -> None:
    def red(content: dict[str, Any]) -> float:
        (value,) = (step["value"] for step in content["steps"] if step["color"] == "red")
        return float(value)

    objectives = read()
    second = objectives.latency.targets[0].seconds
    errors = objectives.availability.targets[0].budget * PAGES[0][0]
    for title, limit in {
        "오류 비율 (5xx)": errors,
        "오류 비율": errors,
        "지연 시간 p95": second,
        "지연 시간": second,
        "경로별 지연 시간 p95 (느린 순 5개)": second,
        "경로별 예산 소진 속도 (1시간, 상위 5개)": PAGES[0][0],
    }.items():
        assert red(panel(title)["fieldConfig"]["defaults"]["thresholds"]) == limit, title
    columns = {
        properties["displayName"]: red(properties["thresholds"])
        for override in panel("경로별 현황")["fieldConfig"]["overrides"]
        if "red"
        in str(
            (properties := {each["id"]: each["value"] for each in override["properties"]}).get(
                "thresholds"
            )
        )
    }
    least = objectives.availability.least
    assert columns == {"목표 초과": least, "5xx 비율": errors, "p95": second, "5xx": 0.5}
    assert f"{errors:.2%}" in panel("오류 비율 (5xx)")["description"]


def test_what_is_beyond_the_last_bound_says_so() -> None:
    for mappings in (
        panel("지연 시간 p95")["fieldConfig"]["defaults"]["mappings"],
        *(
            each["value"]
            for override in panel("경로별 현황")["fieldConfig"]["overrides"]
            for each in override["properties"]
            if each["id"] == "mappings"
        ),
    ):
        assert mappings[1]["options"]["10"]["text"] == "> 10 s"


def test_the_first_screen_says_whether_something_is_wrong_and_where() -> None:
    # 900 pixels, less 130 for Grafana's own, at 38 a row of the grid.
    first = [
        panel["title"]
        for panel in panels(SERVICE)
        if panel["gridPos"]["y"] + panel["gridPos"]["h"] <= 20
    ]
    assert first == [
        "상태",
        "알림",
        "오류 비율 (5xx)",
        "지연 시간 p95",
        "초당 요청 수",
        "경로별 현황",
        "상태 코드 그룹별 응답",
        "오류 비율",
        "지연 시간",
    ]
    # A phone shows all panels below each other: on 700 pixels, the tiles and the first paths.
    tiles = [each["gridPos"]["h"] * 38 for each in panels(SERVICE)[: first.index("경로별 현황")]]
    assert sum(tiles) + 38 * 3 < 700


def test_each_leads_to_the_other_one_and_to_its_twin() -> None:
    links = {
        content["uid"]: {link["url"].removeprefix("/d/") for link in content["links"]}
        for content in map(dashboard, ALL)
    }
    assert links == {
        "fastapi-metrics": {"fastapi-service", "fastapi-metrics-en"},
        "fastapi-metrics-en": {"fastapi-service-en", "fastapi-metrics"},
        "fastapi-service": {"fastapi-metrics", "fastapi-service-en"},
        "fastapi-service-en": {"fastapi-metrics-en", "fastapi-service"},
        # The tutorial's would be empty for other names.
        "fastapi-service-http": {"fastapi-service-http-en"},
        "fastapi-service-http-en": {"fastapi-service-http"},
    }


@pytest.mark.parametrize("name", ALL)
def test_the_data_source_can_be_chosen_and_is_the_provisioned_one_at_first(name: str) -> None:
    datasource = dashboard(name)["templating"]["list"][0]
    assert (datasource["type"], datasource["current"]["value"]) == ("datasource", "prometheus")
    source = {"type": "prometheus", "uid": "${datasource}"}
    for each in panels(name):
        assert each["datasource"] == source
        assert all(target["datasource"] == source for target in each["targets"])


def test_what_can_be_chosen_on_the_service_dashboard() -> None:
    variables = {each["name"]: each for each in dashboard(SERVICE)["templating"]["list"][1:]}
    assert list(variables) == ["job", "instance", "path"]
    assert all(each["multi"] and each["includeAll"] for each in variables.values())
    # `up` is asked with these two: with .* they would take in all that Prometheus scrapes.
    assert not any("allValue" in variables[name] for name in ("job", "instance"))
    # Everything that has a path follows the choice of one, and all follow the job.
    for each in panels(SERVICE):
        for target in each["targets"]:
            assert "$job" in target["expr"]
            selectors = re.findall(
                r"app_re[a-z_]+(?:total|bucket|sum|count)(\{.*?\})", target["expr"]
            )
            assert all('path=~"$path"' in selector for selector in selectors)
    alerts = panel("알림")["targets"][0]["expr"]
    assert 'alertname=~"FastAPI.*"' in alerts
    assert 'severity="info"' not in alerts
