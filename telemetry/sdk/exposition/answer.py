"""The answer to a scrape, whichever port it comes to."""

import asyncio
import hmac
import os
import time
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident

import anyio
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from telemetry.logger import limited_logger
from telemetry.sdk import health
from telemetry.sdk.exposition.negotiation import format_for, header
from telemetry.sdk.exposition.page import Page, Writing, failure
from telemetry.sdk.exposition.selection import MAX_QUERY, Selection, names_in

_logger = limited_logger(__name__)

_TOKEN = "TELEMETRY_METRICS_TOKEN"
_DENIED = f"The metrics need the header: Authorization: Bearer <the value of {_TOKEN}>\n"
_TOO_LONG = f"The query of a scrape may have {MAX_QUERY} bytes\n"
# RFC 6750.
_CHALLENGE = {"www-authenticate": "Bearer"}
_MIN_INTERVAL = 0.002
_POLL_INTERVAL = 0.01


class Answer:
    """An ASGI application that answers scrapes: with the page, 401, or 503 where there is none.

    With ``?name[]=`` in the query, repeated for several names, it answers with their samples.

    Scrapes are answered 2 ms apart: two hundred that come at once, and again as soon as they
    are answered, leave the event loop to the application. One alone does not wait.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._next = 0.0
        self._allowed = _guard()
        self._selection = Selection()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a scrape."""
        await (await self.to(scope))(scope, receive, send)

    async def to(self, scope: Scope) -> Response:
        """The answer to a scrape."""
        headers, query = scope["headers"], scope["query_string"]
        if not self._allowed(header(headers, b"authorization")):
            health.scrape_failed("unauthorized")
            return PlainTextResponse(_DENIED, status_code=401, headers=_CHALLENGE)
        if len(query) > MAX_QUERY:
            return PlainTextResponse(_TOO_LONG, status_code=414)
        names = names_in(query)
        form = format_for(
            header(headers, b"accept").decode("latin-1"),
            header(headers, b"accept-encoding").decode("latin-1"),
            # Samples are cut out of text.
            native=self._page.native and not names,
        )
        if names:
            # The page of all scrapes is cut down: none is written, nor kept, for some names.
            form = form._replace(compressed=False)
        writing = self._page.get(form)
        await _wait(writing)
        content = writing.content.result() if writing.content.done() else None
        if names and isinstance(content, bytes):
            content = await self._selection.of(content, names)
        answer = (
            Response(content, headers=form.headers)
            if isinstance(content, bytes)
            else PlainTextResponse(failure(content), status_code=503)
        )
        await self._keep_apart()
        return answer

    async def _keep_apart(self) -> None:
        now = time.monotonic()
        at = max(now, self._next)
        self._next = at + _MIN_INTERVAL
        if at > now:
            await anyio.sleep(at - now)


async def _wait(writing: Writing) -> None:
    """Wait until a page is written or its time is over. The page is shared: it goes on."""
    if writing.content.done():
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        # On trio, which a thread's future cannot wake up.
        with anyio.move_on_after(writing.remaining):
            while not writing.content.done():
                await anyio.sleep(_POLL_INTERVAL)
    else:
        await _wait_in(loop, writing)


async def _wait_in(loop: asyncio.AbstractEventLoop, writing: Writing) -> None:
    """Wait in an asyncio loop, and go on in the first round of it after the page is written.

    `asyncio.wrap_future` would take three, each of which is milliseconds where a loop is busy.
    """
    waiter, thread = loop.create_future(), get_ident()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    def written(_: object) -> None:
        if get_ident() == thread:
            wake()
        else:
            # The loop may be closed, and nobody waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(wake)

    timer = loop.call_later(writing.remaining, wake)
    writing.content.add_done_callback(written)
    try:
        await waiter
    finally:
        timer.cancel()


def _guard() -> Callable[[bytes], bool]:
    """Tells of a scrape's ``Authorization`` header whether it may see the metrics.

    Every scrape may where ``TELEMETRY_METRICS_TOKEN`` is not set, and none where it is empty:
    then a secret is missing that should have been there.
    """
    setting = os.environ.get(_TOKEN)
    if setting is None:
        return lambda _: True
    # Compared as bytes: of text, only ASCII can be compared in constant time.
    token = os.fsencode(setting.strip())
    if not token:
        _logger.error(
            "%s is empty: /metrics answers 401 to everybody. Give it a token, or unset it.", _TOKEN
        )
        return lambda _: False

    def allowed(authorization: bytes) -> bool:
        scheme, _, given = authorization.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token)

    return allowed
