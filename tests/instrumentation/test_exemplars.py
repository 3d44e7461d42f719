"""Whatever way a request ends, its duration is in the request's span."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from starlette.middleware.base import RequestResponseEndpoint

from tests.support.applications import Measured, exchange
from tests.support.versions import needs

# FastAPI makes spans since then; before, contrib's instrumentation does.
pytestmark = needs("fastapi", "0.142")

OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


def measured(spans: InMemorySpanExporter) -> Measured:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    app = FastAPI(telemetry={"tracer_provider": provider})

    @app.middleware("http")
    async def pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    @app.get("/plain")
    async def plain() -> int:
        return 1

    @app.get("/in_a_thread")
    def in_a_thread() -> int:
        return 1

    @app.get("/streams")
    async def streams() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for part in (b"a", b"b"):
                await asyncio.sleep(0)
                yield part

        return StreamingResponse(parts())

    @app.get("/refuses")
    async def refuses() -> None:
        raise HTTPException(403)

    @app.get("/fails")
    async def fails() -> None:
        raise ZeroDivisionError

    @app.get("/waits")
    async def waits() -> None:
        await asyncio.sleep(60)

    return Measured(app)


def exemplars(measured: Measured, path: str) -> list[str]:
    """The labels of the exemplars of one path, in both histograms."""
    lines = measured.client.get("/metrics", headers=OPENMETRICS).text.splitlines()
    own = [line for line in lines if "_bucket{" in line and f'path="{path}"' in line]
    return [line.split(" # ")[1].split(" ")[0] for line in own if " # " in line]


def server_span(spans: InMemorySpanExporter) -> str:
    (context,) = (
        each.context for each in spans.get_finished_spans() if each.kind is SpanKind.SERVER
    )
    assert context is not None
    return f'{{trace_id="{context.trace_id:032x}",span_id="{context.span_id:016x}"}}'


@pytest.mark.parametrize("path", ["/plain", "/in_a_thread", "/streams", "/refuses", "/fails"])
def test_a_request_that_ends_so_is_an_exemplar(path: str) -> None:
    app = measured(spans := InMemorySpanExporter())
    app.client.get(path)
    wanted = server_span(spans)
    assert exemplars(app, path) == [wanted, wanted]


def test_a_request_whose_client_has_left_is_one() -> None:
    app = measured(spans := InMemorySpanExporter())

    async def ask() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(exchange(app.app, "/waits", leave_after=0.01), 0.1)

    asyncio.run(ask())
    wanted = server_span(spans)
    assert exemplars(app, "/waits") == [wanted, wanted]
