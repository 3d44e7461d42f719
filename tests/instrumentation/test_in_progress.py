"""How many requests have begun and not ended."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import BackgroundTasks
from fastapi.responses import StreamingResponse

from telemetry.instrumentation.recorder import recorder_of
from tests.support.applications import Measured, exchange
from tests.support.series import parse, values


async def in_progress(measured: Measured) -> float:
    """What a scrape shows, which is not in progress itself."""
    *_, body = await exchange(measured.app, "/metrics")
    ((_, shown),) = values(parse(body["body"].decode()), "app_requests_in_progress").items()
    return shown


def test_requests_are_in_progress_until_their_last_byte() -> None:
    async def run() -> list[float]:
        measured, go_on, late = Measured(), asyncio.Event(), asyncio.Event()

        @measured.app.get("/wait")
        async def wait(background: BackgroundTasks) -> None:
            background.add_task(late.wait)
            await go_on.wait()

        @measured.app.get("/stream")
        async def stream() -> StreamingResponse:
            async def parts() -> AsyncIterator[bytes]:
                yield b"first"
                await go_on.wait()
                yield b"last"

            return StreamingResponse(parts())

        shown = [await in_progress(measured)]
        requests = [
            asyncio.create_task(exchange(measured.app, path))
            for path in ("/wait", "/wait", "/stream")
        ]
        await asyncio.sleep(0.01)
        shown.append(await in_progress(measured))
        go_on.set()
        await asyncio.sleep(0.01)
        # What runs in the background is not part of the request.
        shown.append(await in_progress(measured))
        late.set()
        await asyncio.gather(*requests)
        return shown

    assert asyncio.run(run()) == [0, 3, 0]


def test_what_fails_is_cancelled_or_abandoned_is_not_in_progress_any_more() -> None:
    async def run() -> float:
        measured = Measured()

        @measured.app.get("/fail")
        async def fail() -> None:
            raise LookupError

        @measured.app.get("/wait")
        async def wait() -> None:
            await asyncio.sleep(60)

        with pytest.raises(LookupError):
            await exchange(measured.app, "/fail")
        task = asyncio.create_task(exchange(measured.app, "/wait"))
        await asyncio.sleep(0.01)
        assert await in_progress(measured) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await in_progress(measured)

    assert asyncio.run(run()) == 0


def test_threads_at_once_leave_nothing_behind() -> None:
    measured = Measured()

    @measured.app.get("/")
    async def root() -> None:
        return None

    def several(_: int) -> None:
        async def run() -> None:
            await asyncio.gather(*(exchange(measured.app, "/") for _ in range(200)))

        asyncio.run(run())

    measured.client.get("/")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(several, range(8)))
    assert recorder_of(measured.provider).in_progress == set()
    assert measured.requests() == {("GET", "/"): 1601}
