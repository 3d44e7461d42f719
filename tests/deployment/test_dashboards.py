"""All dashboards: in both languages, readable, and linked to each other."""

import json
import re
from typing import Any

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.support.dashboard import ALL, SERVICE, TWINS, dashboard, panels

TEXTS = {"title", "description", "legendFormat", "label"}


def without_texts(content: Any) -> Any:
    """A dashboard without what may differ between languages: texts, its uid and its links."""
    if isinstance(content, list):
        return [without_texts(each) for each in content]
    if not isinstance(content, dict):
        return content
    return {key: None if key in TEXTS else without_texts(value) for key, value in content.items()}


def texts(content: Any) -> list[str]:
    if isinstance(content, list):
        return [text for each in content for text in texts(each)]
    if not isinstance(content, dict):
        return []
    own = [value for key, value in content.items() if key in TEXTS]
    return own + [text for value in content.values() for text in texts(value)]


def inserted(text: str) -> list[str]:
    return re.findall(r"\{\{\w+\}\}|\$\w+", text)


@pytest.mark.parametrize(("korean", "english"), TWINS.items())
def test_the_languages_differ_in_texts_only(korean: str, english: str) -> None:
    one, other = dashboard(korean), dashboard(english)
    assert other.pop("uid") == f"{one.pop('uid')}-en"
    assert len(one.pop("links")) == len(other.pop("links")) == 2
    assert without_texts(one) == without_texts(other)
    assert not re.search("[가-힣]", "".join(texts(other)))
    # What a legend shows of a series is the same in both.
    assert [inserted(text) for text in texts(one)] == [inserted(text) for text in texts(other)]


@pytest.mark.parametrize("name", ALL)
def test_grafanas_own_types_can_read_it(name: str) -> None:
    """The types are those that Grafana publishes for programs which make dashboards."""
    read = Dashboard.from_json(dashboard(name))
    assert len(read.panels or []) == len(dashboard(name)["panels"])
    assert read.uid == dashboard(name)["uid"]


@pytest.mark.parametrize("name", ALL)
def test_each_panel_says_what_it_shows(name: str) -> None:
    assert len({panel["title"] for panel in panels(name)}) == len(panels(name))
    for panel in panels(name):
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"].get("unit") or panel["type"] == "heatmap"


@pytest.mark.parametrize("name", ALL)
def test_panels_lie_beside_each_other_and_none_is_too_narrow(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard(name)["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        # Of 24 columns at 1280 pixels: a figure needs 300 of them, a curve 400.
        assert place["w"] >= (6 if panel["type"] == "stat" else 8)
        taken |= cells
    assert len({panel["id"] for panel in dashboard(name)["panels"]}) == len(
        dashboard(name)["panels"]
    )


@pytest.mark.parametrize("name", ALL)
def test_no_colour_is_written_down_that_only_one_theme_can_show(name: str) -> None:
    text = json.dumps(dashboard(name))
    colours = re.findall(r'"(?:color|fixedColor)": "([^"]+)"', text)
    # Names, which Grafana draws differently in its two themes.
    assert set(colours) <= {"green", "yellow", "red", "rgba(255,0,255,0.7)"}


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
    }


def test_what_can_be_chosen_on_the_service_dashboard() -> None:
    variables = dashboard(SERVICE)["templating"]["list"]
    assert [(each["name"], each["type"]) for each in variables] == [
        ("datasource", "datasource"),
        ("job", "query"),
        ("instance", "query"),
        ("route", "query"),
    ]
    assert all(each["multi"] and each["includeAll"] for each in variables[1:])
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels(SERVICE):
        assert panel["datasource"] == panel["targets"][0]["datasource"] == source
    # Everything that has a route follows the choice of one.
    for panel in panels(SERVICE):
        expression = panel["targets"][0]["expr"]
        has_route = re.search("app_re[^{]*_(total|bucket)", expression) is not None
        assert ('path=~"$route"' in expression) is has_route
        assert "$job" in expression, panel["title"]
