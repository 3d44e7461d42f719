"""The middleware is outermost, whatever else is put there."""

import logging

import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from starlette.middleware.errors import ServerErrorMiddleware

from telemetry.instrumentation.middleware import Middleware
from tests.support.applications import Measured
from tests.support.series import total


async def root() -> str:
    return "ok"


def test_it_is_outside_of_starlettes_own() -> None:
    measured = Measured()
    measured.client.get("/")
    stack = measured.app.middleware_stack
    assert isinstance(stack, Middleware)
    assert isinstance(stack.app, ServerErrorMiddleware)


def test_an_application_that_has_served_already_can_be_instrumented() -> None:
    measured = Measured(instrument=False)
    measured.app.get("/")(root)
    measured.client.get("/")
    measured.instrument()
    measured.client.get("/")
    assert measured.requests() == {("GET", "/"): 1}


@pytest.mark.parametrize("contrib_first", [True, False])
def test_opentelemetrys_own_instrumentation_works_beside_it(
    contrib_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    measured = Measured(FastAPI(telemetry={"metrics": False}), instrument=not contrib_first)
    measured.app.get("/")(root)
    FastAPIInstrumentor.instrument_app(measured.app, meter_provider=measured.provider)
    measured.instrument()
    try:
        with caplog.at_level(logging.WARNING):
            measured.client.get("/")
        series = measured.series()
        assert caplog.text == ""
        assert total(series, "app_requests_total", path="/") == 1
        assert total(series, "app_responses_total", path="/") == 1
        assert total(series, "http_server_duration_milliseconds_count", http_target="/") == 1
    finally:
        FastAPIInstrumentor.uninstrument_app(measured.app)
