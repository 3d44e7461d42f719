"""Instrumenting every application unasked, within one process."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from starlette.applications import Starlette
from starlette.testclient import TestClient

from telemetry.instrumentor import FastAPIMetricsInstrumentor
from tests.support.applications import Measured
from tests.support.series import parse, values


@pytest.fixture
def provider() -> Iterator[MeterProvider]:
    provider = MeterProvider(shutdown_on_exit=False)
    instrumentor = FastAPIMetricsInstrumentor()
    instrumentor.instrument(meter_provider=provider)
    yield provider
    instrumentor.uninstrument()


async def root() -> str:
    return "ok"


def test_an_application_that_existed_before_is_measured_too(provider: MeterProvider) -> None:
    measured = Measured(instrument=False)
    measured.app.get("/")(root)
    measured.client.get("/")
    assert measured.requests() == {("GET", "/"): 1}


def test_together_with_the_line_in_the_code_nothing_is_counted_twice(
    provider: MeterProvider,
) -> None:
    measured = Measured(instrument=False)
    measured.provider = provider
    measured.instrument()
    measured.app.get("/")(root)
    measured.client.get("/")
    assert measured.requests() == {("GET", "/"): 1}


def test_a_mounted_application_is_left_to_the_outer_one(provider: MeterProvider) -> None:
    measured, sub = Measured(instrument=False), FastAPI()
    sub.get("/leaf")(root)
    measured.app.mount("/sub", sub)
    measured.client.get("/sub/leaf")
    assert measured.requests() == {("GET", "/sub/leaf"): 1}
    assert measured.client.get("/sub/metrics").status_code == 404


def test_a_starlette_application_is_measured_with_what_is_mounted_in_it(
    provider: MeterProvider,
) -> None:
    inner = FastAPI()
    inner.get("/leaf")(root)
    parent = Starlette()
    parent.mount("/api", inner)
    client = TestClient(parent)
    assert client.get("/api/leaf").json() == "ok"
    assert client.get("/api/metrics").status_code == 404
    shown = parse(client.get("/metrics").text)
    assert values(shown, "app_requests_total") == {
        ("GET", "/api/leaf"): 1,
        ("GET", "unmatched"): 1,
    }


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
def test_after_uninstrumenting_new_applications_are_not_measured(kind: type[Starlette]) -> None:
    original = kind.__call__
    instrumentor = FastAPIMetricsInstrumentor()
    instrumentor.instrument()
    assert kind.__call__ is not original
    instrumentor.uninstrument()
    assert kind.__call__ is original
