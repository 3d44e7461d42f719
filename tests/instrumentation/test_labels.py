"""Labels that an application declares for its requests, and the methods that are known."""

import asyncio

import pytest
from fastapi import BackgroundTasks, Request
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.responses import Response

import telemetry
from telemetry.instrumentation.labels import known_methods
from tests.support.applications import Measured, exchange
from tests.support.series import Series, label_names, total

PLANS = ("free", "paid")


def measured() -> Measured:
    app = Measured(instrument=False)

    @app.app.get("/plan/{plan}")
    async def plan(plan: str, request: Request, background: BackgroundTasks) -> None:
        telemetry.set_label(request, "plan", plan)
        background.add_task(telemetry.set_label, request, "plan", "paid")

    @app.app.get("/unknown")
    async def unknown(request: Request) -> None:
        telemetry.set_label(request, "pln", "free")

    labels = {
        "team": "shop",
        "plan": telemetry.RequestLabel(PLANS),
        "client": telemetry.RequestLabel(["ios", "android"], header="X-Client"),
    }
    app.instrument(labels=labels)
    return app


def count(series: Series, **labels: str) -> float:
    counted = [
        total(series, f"app_{name}", team="shop", **labels)
        for name in (
            "requests_total",
            "responses_total",
            "requests_processing_time_seconds_count",
        )
    ]
    assert len(set(counted)) == 1, counted
    return counted[0]


def test_labels_that_an_endpoint_sets() -> None:
    app = measured()
    for plan in ("free", "free", "paid", "golden"):
        app.client.get(f"/plan/{plan}")
    app.client.get("/nope")
    series = app.series()
    assert count(series, plan="free") == 2
    # What the background sets comes too late, also in the request for "free".
    assert count(series, plan="paid") == 1
    assert count(series, plan="_OTHER", path="/plan/{plan}") == 1
    assert count(series, plan="_OTHER", path="unmatched") == 1
    expected = {("client", "method", "path", "plan", "team")}
    assert label_names(series, "app_requests_total") == expected


def test_labels_that_are_read_from_a_header() -> None:
    app = measured()
    for client in ("ios", "IOS", "symbian", "ios\u00e9"):
        app.client.get("/plan/free", headers={b"x-client": client.encode("latin-1")})
    app.client.get("/plan/free")
    series = app.series()
    assert count(series, client="ios") == 1
    assert count(series, client="_OTHER") == 4


def test_no_client_can_make_series() -> None:
    app = measured()

    async def flood() -> None:
        for number in range(1000):
            headers = [(b"x-client", b"%d" % number), (b"X-CLIENT", b"\xff")]
            await exchange(app.app, f"/plan/{number}", headers=headers)

    asyncio.run(flood())
    series = app.series()
    assert count(series) == 1000
    assert len([1 for name, _ in series if name == "app_requests_total"]) == 1


def test_a_label_that_was_not_declared_is_an_error() -> None:
    app = measured()
    app.client = type(app.client)(app.app)
    with pytest.raises(ValueError, match=r"'pln' was not declared .* declared are: plan, client"):
        app.client.get("/unknown")


def test_without_a_measured_application_nothing_happens() -> None:
    telemetry.set_label(Request({"type": "http"}), "anything", "at all")


def test_a_middleware_may_set_one_too() -> None:
    app = measured()

    class Plan(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            telemetry.set_label(request, "plan", "paid")
            return await call_next(request)

    app.app.add_middleware(Plan)
    app.client.get("/nope")
    assert count(app.series(), plan="paid") == 1


def test_in_progress_has_the_constant_ones() -> None:
    app = measured()
    app.client.get("/nope")
    assert label_names(app.series(), "app_requests_in_progress") == {("team",)}


def test_the_registered_methods_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", raising=False)
    assert known_methods() == {
        "CONNECT",
        "DELETE",
        "GET",
        "HEAD",
        "OPTIONS",
        "PATCH",
        "POST",
        "PUT",
        "QUERY",
        "TRACE",
    }


def test_a_list_in_the_environment_replaces_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET, PURGE,,")
    assert known_methods() == {"GET", "PURGE"}


def test_an_empty_list_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", " , ")
    assert "GET" in known_methods()
