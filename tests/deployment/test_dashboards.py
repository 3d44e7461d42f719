"""All dashboards: made from one source, in both languages, and readable at every moment."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.__main__ import compare, made
from tests.support.dashboard import ALL, FOLDER, SERVICE, TWINS, dashboard, panel, panels
from tests.support.processes import ROOT, run_module

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


@pytest.mark.parametrize("name", ALL)
def test_grafanas_own_types_can_read_it(name: str) -> None:
    """The types are those that Grafana publishes for programs which make dashboards."""
    read = Dashboard.from_json(dashboard(name))
    assert len(read.panels or []) == len(dashboard(name)["panels"])
    assert read.uid == dashboard(name)["uid"]


@pytest.mark.parametrize("name", ENGLISH)
def test_nothing_korean_is_left_in_english(name: str) -> None:
    content = dashboard(name)
    assert content["links"].pop()["title"] == "한국어"
    for text in texts(content):
        # A pattern that finds the legend of either language is no text.
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
            assert "or vector(" in target["expr"]


@pytest.mark.parametrize("panel", all_panels())
def test_axes_begin_at_zero_and_do_not_end_at_ten_thousand_percent(panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    if panel["type"] == "timeseries":
        assert defaults["min"] == 0
        assert 0 < defaults["custom"]["axisSoftMax"] <= 64 * 2**20
        if defaults["unit"] == "percentunit":
            assert defaults["custom"]["axisSoftMax"] <= 1
    if defaults.get("unit") in ("none", "locale"):
        assert defaults["decimals"] == 0
    # "122 K" hides single requests.
    assert defaults.get("unit") != "short"


@pytest.mark.parametrize("panel", all_panels())
def test_the_worst_of_many_lines_is_the_first_in_the_legend(panel: dict[str, Any]) -> None:
    legends = [target["legendFormat"] for target in panel["targets"]]
    if panel["type"] == "timeseries" and any("{{path}}" in legend for legend in legends):
        legend = panel["options"]["legend"]
        assert (legend["placement"], legend["displayMode"]) == ("right", "table")
        assert (legend["sortBy"], legend["sortDesc"]) == ("Max", True)
        assert "max" in legend["calcs"]
        assert panel["fieldConfig"]["defaults"]["color"]["mode"] == "palette-classic-by-name"


@pytest.mark.parametrize("panel", all_panels())
def test_status_codes_have_the_colours_of_their_classes(panel: dict[str, Any]) -> None:
    legends = [target["legendFormat"] for target in panel["targets"]]
    if not any(re.match(r"\dxx|\{\{status_code\}\}$", legend) for legend in legends):
        return
    if panel["type"] == "table":
        return
    colours = {
        override["matcher"]["options"][2]: override["properties"][0]["value"]["fixedColor"]
        for override in panel["fieldConfig"]["overrides"]
        if override["properties"][0]["id"] == "color"
    }
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


def limits() -> dict[str, float]:
    """The limits in the expressions of the alerts."""
    groups = yaml.safe_load((ROOT / "prometheus/rules/fastapi.yml").read_text())["groups"]
    found = {
        rule["alert"]: re.search(r"> ([\d.]+)$", rule["expr"].strip())
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    }
    return {name: float(match[1]) for name, match in found.items() if match}


def test_red_begins_where_the_alerts_do() -> None:
    def red(content: dict[str, Any]) -> float:
        (value,) = (step["value"] for step in content["steps"] if step["color"] == "red")
        return float(value)

    errors, second = limits()["FastAPIErrors"], 1.0
    for title, limit in {
        "오류 비율 (5xx)": errors,
        "오류 비율": errors,
        "처리 시간 p95": second,
        "처리 시간": second,
        "경로별 p95 (느린 순 10개)": second,
    }.items():
        assert red(panel(title)["fieldConfig"]["defaults"]["thresholds"]) == limit, title
    columns = {
        properties["displayName"]: red(properties["thresholds"])
        for override in panel("경로별 현황")["fieldConfig"]["overrides"]
        if "red"
        in str(properties := {each["id"]: each["value"] for each in override["properties"]})
    }
    assert columns == {"5xx 비율": errors, "p95": second}
    description = panel("오류 비율 (5xx)")["description"]
    assert f"{limits()['FastAPIErrorBurst']:.0%}" in description
    slow = (ROOT / "prometheus/rules/fastapi.yml").read_text()
    assert 'le=~"1|1.0"' in slow


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
        "초당 요청 수",
        "오류 비율 (5xx)",
        "처리 시간 p95",
        "처리 중인 요청",
        "상태 코드 그룹별 응답",
        "오류 비율",
        "처리 시간",
        "경로별 현황",
    ]


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
        "fastapi-service-http": {"fastapi-metrics", "fastapi-service-http-en"},
        "fastapi-service-http-en": {"fastapi-metrics-en", "fastapi-service-http"},
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
    assert 'severity!="info"' in alerts
