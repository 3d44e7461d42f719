"""The time to first byte: what a client waits for, and not what a stream takes."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from tests.support.applications import Measured, endless_events, exchange
from tests.support.series import label_names, total, values

NAME = "app_requests_time_to_first_byte_seconds"
LONG = 0.4
START: Message = {"type": "http.response.start", "status": 200, "headers": []}


def body(content: bytes = b"x", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


def sending(*steps: Message | float) -> Measured:
    """An application that sends messages, and waits between them."""
    measured = Measured()

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            else:
                await send(step)

    measured.app.mount("/raw", raw)
    return measured


def both(measured: Measured, path: str = "/raw/{path}") -> tuple[float, float]:
    """The time to first byte and the whole duration of the only request."""
    series = measured.series()
    assert total(series, f"{NAME}_count") == total(series, "app_requests_total") == 1
    return total(series, f"{NAME}_sum", path=path), measured.seconds(path)


EARLY: dict[str, tuple[Message | float, ...]] = {
    "a stream": (START, body(more=True), LONG, body(more=True), LONG, body(b"")),
    "one that says nothing at first": (START, body(b"", more=True), body(more=True), LONG, body()),
    "a file of which the server knows": (
        START,
        {"type": "http.response.zerocopysend", "file": 1, "more_body": True},
        LONG,
        {"type": "http.response.zerocopysend", "file": 1},
    ),
    "trailers": (
        {**START, "trailers": True},
        body(),
        LONG,
        {"type": "http.response.trailers", "headers": []},
    ),
}
LATE: dict[str, tuple[Message | float, ...]] = {
    "a stream": (LONG, START, body(more=True), body(b"")),
    # As `StreamingResponse` does, whatever its first chunk waits for.
    "one that sends headers at once": (START, LONG, body(more=True), body(b"")),
    "one that says nothing at first": (START, body(b"", more=True), LONG, body(more=True), body()),
    "one message": (LONG, START, body()),
    "no body": (LONG, {**START, "status": 204}, body(b"")),
    "an early hint": (
        {"type": "http.response.early_hint", "links": []},
        LONG,
        START,
        body(),
    ),
    "a file that the server sends": (
        LONG,
        START,
        {"type": "http.response.pathsend", "path": __file__},
    ),
    "nothing": (LONG,),
    "headers alone": (START, LONG),
}


@pytest.mark.parametrize("steps", EARLY.values(), ids=EARLY)
def test_what_begins_at_once_is_not_slow(steps: Iterable[Message | float]) -> None:
    measured = sending(*steps)
    asyncio.run(exchange(measured.app, "/raw/x"))
    first, whole = both(measured)
    assert first < LONG / 2 < LONG <= whole


@pytest.mark.parametrize("steps", LATE.values(), ids=LATE)
def test_what_begins_late_is_slow(steps: Iterable[Message | float]) -> None:
    measured = sending(*steps)
    asyncio.run(exchange(measured.app, "/raw/x"))
    first, whole = both(measured)
    assert LONG <= first <= whole < 2 * LONG


@pytest.mark.parametrize("behind", [0, 1, 2])
@pytest.mark.parametrize("late", [False, True])
def test_a_streaming_response_behind_other_middleware(behind: int, late: bool) -> None:
    async def passes(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    app = FastAPI()
    for _ in range(behind):
        app.add_middleware(BaseHTTPMiddleware, dispatch=passes)
    measured = Measured(app)

    async def events() -> AsyncIterator[bytes]:
        await asyncio.sleep(LONG * late)
        yield b"data: first\n\n"
        await asyncio.sleep(LONG)
        yield b"data: last\n\n"

    @app.get("/events")
    async def stream() -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    asyncio.run(exchange(app, "/events"))
    first, whole = both(measured, "/events")
    assert (first > LONG) == late
    assert whole - first >= LONG * 0.9


@pytest.mark.parametrize("size", [10, 10_000_000])
def test_the_download_of_a_slow_client_is_not_slow(tmp_path: Path, size: int) -> None:
    """Also with a server that waits for the client while it sends."""
    measured = Measured()
    path = tmp_path / "large"
    path.write_bytes(b"x" * size)

    @measured.app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(path)

    @measured.app.get("/bytes")
    async def content() -> Response:
        return Response(b"x" * size)

    async def slowly(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(LONG / 10 if message.get("more_body") else LONG)

    for name in ("/file", "/bytes"):
        asyncio.run(exchange(measured.app, name, on_send=slowly))
        assert total(measured.series(), f"{NAME}_sum", path=name) < LONG / 2
        assert measured.seconds(name) >= LONG


def test_what_a_client_does_not_wait_for_counts_whole() -> None:
    measured = Measured()

    @measured.app.get("/hangs")
    async def hangs() -> None:
        await asyncio.sleep(2 * LONG)

    asyncio.run(exchange(measured.app, "/hangs", received=[], leave_after=LONG))
    first, whole = both(measured, "/hangs")
    assert 2 * LONG <= first <= whole < 3 * LONG
    assert measured.responses() == {}


def test_a_client_that_leaves_a_stream_had_its_first_byte() -> None:
    measured = endless_events()
    # The client's time begins earlier than the request's.
    asyncio.run(exchange(measured.app, "/events", leave_after=1.25 * LONG))
    first, whole = both(measured, "/events")
    assert first < LONG / 2 < LONG <= whole


def test_of_what_fails_it_is_the_page_that_tells_so() -> None:
    measured = Measured()

    @measured.app.get("/fails")
    async def fails() -> None:
        await asyncio.sleep(LONG)
        raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(exchange(measured.app, "/fails"))
    first, whole = both(measured, "/fails")
    assert LONG <= first <= whole


def test_it_has_the_buckets_and_labels_of_the_duration_and_as_many_requests() -> None:
    measured = Measured(instrument=False)
    measured.instrument(buckets=[0.1, 1], labels={"zone": "a"})
    measured.app.get("/items/{i}")(lambda i: i)
    for path in ("/items/1", "/items/2", "/nowhere", "/items/3"):
        measured.client.get(path)
    measured.client.head("/items/1")
    series = measured.series()
    other = "app_requests_processing_time_seconds"
    assert values(series, f"{NAME}_count") == values(series, f"{other}_count")
    assert sum(values(series, f"{NAME}_count").values()) == 5
    for suffix in ("bucket", "sum", "count"):
        names = label_names(series, f"{NAME}_{suffix}")
        assert names == label_names(series, f"{other}_{suffix}")
    assert {dict(labels)["le"] for name, labels in series if name == f"{NAME}_bucket"} == {
        "0.1",
        "1.0",
        "+Inf",
    }
