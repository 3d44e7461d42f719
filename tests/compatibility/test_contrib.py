"""The private names of OpenTelemetry's instrumentations."""

import logging
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.util.http import ExcludeList

from telemetry.compatibility.contrib import (
    exclude_from_contrib,
    handler_class,
    is_instrumented_by_contrib,
)


def test_contrib_can_be_told_what_to_leave_out() -> None:
    app = FastAPI()
    FastAPIInstrumentor.instrument_app(app, excluded_urls="/one")
    try:
        stack = app.build_middleware_stack()
        exclude_from_contrib(stack, "/other")
        layer: Any = stack
        while not isinstance(layer, OpenTelemetryMiddleware):
            layer = layer.app
        assert isinstance(layer.excluded_urls, ExcludeList)
        found = [layer.excluded_urls.url_disabled(f"http://x{each}") for each in ("/one", "/other")]
        assert found == [True, True]
        assert not layer.excluded_urls.url_disabled("http://x/third")
    finally:
        FastAPIInstrumentor.uninstrument_app(app)
    exclude_from_contrib(FastAPI().build_middleware_stack(), "/other")


def test_contribs_mark_on_an_application() -> None:
    app = FastAPI()
    assert not is_instrumented_by_contrib(app)
    FastAPIInstrumentor.instrument_app(app)
    try:
        assert is_instrumented_by_contrib(app)
    finally:
        FastAPIInstrumentor.uninstrument_app(app)


def test_the_handler_for_pythons_logging() -> None:
    kind = handler_class()
    assert issubclass(kind, logging.Handler)
    if find_spec("opentelemetry.instrumentation.logging.handler"):
        assert kind.__module__ == "opentelemetry.instrumentation.logging.handler"
