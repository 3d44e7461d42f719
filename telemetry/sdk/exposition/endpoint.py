"""/metrics as an ASGI application."""

import asyncio
import time

import anyio
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from telemetry.sdk.exposition.negotiation import format_for
from telemetry.sdk.exposition.page import Page, Writing, reason
from telemetry.sdk.exposition.protection import CHALLENGE, DENIED, guard

_MIN_INTERVAL = 0.002
_POLL_INTERVAL = 0.01


class MetricsEndpoint:
    """Answers a scrape with the page in the format that its headers ask for, or with 503.

    It answers 401 where `telemetry.sdk.exposition.protection` does not let it through.
    Scrapes are answered 2 ms apart: two hundred that come at once, and again as soon as they
    are answered, leave the event loop to the application. One alone does not wait.

    Parameters:
        page: What is served.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._next = 0.0
        self._allowed = guard()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a scrape."""
        answer = await self.answer(Headers(scope=scope))
        await answer(scope, receive, send)

    async def answer(self, headers: Headers) -> Response:
        """The answer to a scrape with these headers."""
        if not self._allowed(headers.get("authorization", "")):
            return PlainTextResponse(DENIED, status_code=401, headers=CHALLENGE)
        form = format_for(
            ",".join(headers.getlist("accept")), ",".join(headers.getlist("accept-encoding"))
        )
        writing = self._page.get(form)
        await _wait(writing)
        content = writing.content.result() if writing.content.done() else None
        answer = (
            Response(content, headers=form.headers)
            if isinstance(content, bytes)
            else PlainTextResponse(reason(writing), status_code=503)
        )
        await self._turn()
        return answer

    async def _turn(self) -> None:
        now = time.monotonic()
        at = max(now, self._next)
        self._next = at + _MIN_INTERVAL
        if at > now:
            await anyio.sleep(at - now)


async def _wait(writing: Writing) -> None:
    """Wait until a page is written or its time is over. The page is shared: it goes on."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # On trio, which a thread's future cannot wake up.
        with anyio.move_on_after(writing.remaining):
            while not writing.content.done():
                await anyio.sleep(_POLL_INTERVAL)
    else:
        await asyncio.wait([asyncio.wrap_future(writing.content)], timeout=writing.remaining)
