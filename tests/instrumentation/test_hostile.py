"""Requests as no browser sends them: nothing of them reaches the exposition."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider

from tests.support.applications import Measured, exchange
from tests.support.series import parse, parse_openmetrics

OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


async def item(item_id: str) -> int:
    return len(item_id)


def hostile_application(native: bool = False) -> Measured:
    provider = MeterProvider(shutdown_on_exit=False)
    app = FastAPI(telemetry={"metrics": native, "meter_provider": provider})
    app.get("/items/{item_id:path}")(item)
    measured = Measured(app, instrument=False)
    measured.provider = provider
    measured.instrument()
    return measured


SHARED = hostile_application(native=True)
TEXT = st.text(max_size=60)
NASTY = st.one_of(
    TEXT,
    st.sampled_from(
        ['"', "\\", "\n", '"} 1\nevil_total 1', "\x00", "%0a", "{", "\ud800", "a" * 65536, "é" * 99]
    ),
)


@given(
    path=NASTY,
    method=st.one_of(st.sampled_from(["GET", "POST", "PATCH"]), NASTY),
    query=st.binary(max_size=50),
    headers=st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=50)), max_size=3),
    scheme=st.sampled_from(["http", "https", "gopher"]),
)
def test_nothing_of_a_request_reaches_the_exposition(
    path: str,
    method: str,
    query: bytes,
    headers: list[tuple[bytes, bytes]],
    scheme: str,
) -> None:
    async def send() -> None:
        await exchange(
            SHARED.app,
            "/items/" + path,
            method=method,
            query_string=query,
            raw_path=b"",
            headers=headers,
            scheme=scheme,
        )

    asyncio.run(send())
    text = SHARED.client.get("/metrics").text
    own = {key for key in parse(text) if key[0].startswith("app_re")}
    paths = {dict(labels).get("path") for _, labels in own}
    assert paths <= {"/items/{item_id:path}", "unmatched", None}
    assert "evil" not in text
    parse_openmetrics(SHARED.client.get("/metrics", headers=OPENMETRICS).text)


def test_a_hundred_thousand_random_requests_add_a_handful_of_series() -> None:
    measured = hostile_application()
    letters = "abcdefghijklmnopqrstuvwxyz"

    async def flood() -> None:
        for number in range(100_000):
            word = letters[number % 26] * (1 + number % 7) + str(number)
            await exchange(
                measured.app,
                f"/{word}" if number % 2 else f"/items/{word}",
                method=word.upper() if number % 5 == 0 else "GET",
                query_string=word.encode(),
                headers=[(b"x-" + word.encode(), word.encode())],
            )

    asyncio.run(flood())
    series = measured.series()
    shown = [key for key in series if key[0] == "app_requests_total"]
    assert len(shown) == 4
    assert sum(series[key] for key in shown) == 100_000
    assert len([key for key in series if key[0].startswith("app_re")]) <= 4 * 40


def test_streams_and_failures_leave_no_task_and_no_memory_behind() -> None:
    measured = Measured()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"data: event\n\n"
            await asyncio.sleep(0.001)

    @measured.app.get("/events")
    async def events() -> StreamingResponse:
        return StreamingResponse(endless(), media_type="text/event-stream")

    @measured.app.get("/fails")
    async def fails() -> None:
        raise RuntimeError

    async def rounds() -> tuple[int, int]:
        async def one() -> None:
            await exchange(measured.app, "/events", leave_after=0.005)
            for _ in range(5):
                with contextlib.suppress(RuntimeError):
                    await exchange(measured.app, "/fails")

        for _ in range(20):
            await one()
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(100):
            await one()
        gc.collect()
        return len(asyncio.all_tasks()), len(gc.get_objects()) - before

    tasks, objects = asyncio.run(rounds())
    assert tasks == 1
    assert objects < 100
    assert measured.responses() == {
        ("GET", "/events", "200"): 120,
        ("GET", "/fails", "500"): 600,
    }


def test_a_request_leaves_nothing_to_the_garbage_collector() -> None:
    measured = Measured()
    measured.app.get("/items/{i}")(lambda i: i)

    def exchanges() -> int:
        return sum(type(each).__name__ == "_Exchange" for each in gc.get_objects())

    async def requests() -> None:
        for number in range(50):
            await exchange(measured.app, f"/items/{number}")

    gc.collect()
    gc.disable()
    try:
        asyncio.run(requests())
        assert exchanges() <= 1
    finally:
        gc.enable()
