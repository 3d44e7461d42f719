"""Where /metrics is put among the routes."""

import pytest
from fastapi import APIRouter, FastAPI
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Host, Match
from starlette.types import Scope

from tests.support.applications import Measured


async def own() -> PlainTextResponse:
    return PlainTextResponse("own")


def test_it_is_not_in_the_openapi_schema() -> None:
    measured = Measured()
    assert "/metrics" not in measured.client.get("/openapi.json").json()["paths"]
    measured.series()


def test_a_route_for_any_path_does_not_hide_it() -> None:
    measured = Measured()
    measured.app.get("/{anything:path}")(own)
    assert measured.client.get("/else").text == "own"
    assert measured.requests() == {("GET", "/{anything:path}"): 1}


def test_a_host_route_does_not_hide_it() -> None:
    measured = Measured()
    measured.app.router.routes.append(Host("testserver", app=FastAPI()))
    measured.series()


def test_it_stands_first_and_other_routes_are_found_as_before() -> None:
    measured = Measured()
    measured.app.get("/last")(own)
    measured.app.get("/{anything}/metrics")(own)
    for path in ("/last", "/a/metrics"):
        assert measured.client.get(path).text == "own"
    assert set(measured.requests()) == {("GET", "/last"), ("GET", "/{anything}/metrics")}
    assert getattr(measured.app.router.routes[0], "path", None) == "/metrics"


@pytest.mark.parametrize("shape", ["before", "after", "included", "mounted"])
def test_a_metrics_route_of_the_application_stays_with_a_warning(
    shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    measured = Measured(instrument=shape == "after")
    if shape == "included":
        router = APIRouter()
        router.get("/metrics")(own)
        measured.app.include_router(router)
    elif shape == "mounted":
        measured.app.mount("/metrics", PlainTextResponse("own"))
    else:
        measured.app.get("/metrics")(own)
    measured.instrument()
    assert measured.client.get("/metrics").text == "own"
    assert "route /metrics of its own" in caplog.text
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_another_path_is_free_where_the_application_has_metrics_of_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    measured = Measured(instrument=False)
    measured.app.get("/metrics")(own)
    measured.app.get("/taken")(own)
    measured.instrument(metrics_path="/internal/metrics")
    assert measured.client.get("/metrics").text == "own"
    measured.series("/internal/metrics")
    assert caplog.text == ""
    other = Measured(measured.app.__class__(routes=measured.app.routes), instrument=False)
    other.instrument(metrics_path="/taken")
    assert other.client.get("/taken").text == "own"
    assert "route /taken of its own" in caplog.text


@pytest.mark.parametrize("where", ["/", "testserver"])
def test_one_in_an_application_that_is_mounted_above_it_all_stays_too(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    measured, sub = Measured(), FastAPI()
    sub.get("/metrics")(own)
    if where == "/":
        measured.app.mount("/", sub)
    else:
        measured.app.host(where, sub)
    assert measured.client.get("/metrics").text == "own"
    assert "route /metrics of its own" in caplog.text


def test_a_websocket_of_that_path_is_none(caplog: pytest.LogCaptureFixture) -> None:
    measured = Measured()

    @measured.app.websocket("/metrics")
    async def socket() -> None:
        raise AssertionError

    measured.series()
    assert caplog.text == ""


def test_a_route_that_needs_more_than_a_path_to_match_breaks_nothing() -> None:
    class ByQuery(BaseRoute):
        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            found = scope["state"]["x"] if "state" not in scope else Match.NONE
            return found, {}

    measured = Measured()
    measured.app.router.routes.append(ByQuery())
    with measured.client:
        measured.series()


def test_a_stack_that_is_built_again_gives_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    measured = Measured()
    measured.series()
    measured.app.middleware_stack = measured.app.build_middleware_stack()
    measured.series()
    assert caplog.text == ""


def test_it_is_there_below_a_mount() -> None:
    outer, inner = Measured(instrument=False), Measured()
    outer.app.mount("/sub", inner.app)
    outer.series("/sub/metrics")
