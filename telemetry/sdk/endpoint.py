"""/metrics as an ASGI application."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from telemetry.sdk.exposition import PATIENCE, Exposition, form_for

_APART = 0.002


class MetricsEndpoint:
    """Answers a scrape with an exposition, in the form that its headers ask for.

    Scrapes are answered 2 ms apart: two hundred that come at once, and again as soon as they
    are answered, leave the event loop to the application. One alone does not wait.

    Parameters:
        exposition: What is shown.
    """

    def __init__(self, exposition: Exposition) -> None:
        self._exposition = exposition
        self._next = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a scrape."""
        self._exposition.turns.loop = asyncio.get_running_loop()
        headers = Headers(scope=scope)
        form = form_for(
            ",".join(headers.getlist("accept")), ",".join(headers.getlist("accept-encoding"))
        )
        # Shared with other scrapes: one that is given up must not end it for them.
        writing = asyncio.shield(asyncio.wrap_future(self._exposition.write(form)))
        try:
            text = await asyncio.wait_for(writing, PATIENCE)
        except Exception as fault:
            text = self._exposition.before(form, fault)
        await self._turn()
        await Response(text.content, headers=text.headers)(scope, receive, send)

    async def _turn(self) -> None:
        now = time.monotonic()
        at = max(now, self._next)
        self._next = at + _APART
        if at > now:
            await asyncio.sleep(at - now)
