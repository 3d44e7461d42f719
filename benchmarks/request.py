"""What measuring adds to one request, in process."""

import asyncio
import statistics
import time
from collections.abc import Callable

from fastapi import FastAPI
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context
from starlette.types import ASGIApp, Message, Scope

from benchmarks.peers import CONTRIB, INSTRUMENTATOR, PATH, PEERS, THIS, application
from benchmarks.progress import bar
from benchmarks.table import Table, spread

# As many as this project records together, so that each turn has its share of that.
_IN_TURN = 64
_PAIRS = 4
_IN_SPAN = f"{THIS}, in a span that is not sampled"
_UNSAMPLED = SpanContext(1, 1, is_remote=False)
_REQUEST: Message = {"type": "http.request", "body": b"", "more_body": False}


async def receive() -> Message:
    """A request without a body."""
    return _REQUEST


async def send(_: Message) -> None:
    """A client that takes what it gets."""


def scope() -> Scope:
    """A request as uvicorn describes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost:8000"), (b"accept", b"*/*")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def microseconds(app: ASGIApp, calls: int) -> float:
    """The mean processor time of so many calls, one after the other: none of them waits."""
    began = time.thread_time()
    for _ in range(calls):
        await app(scope(), receive, send)
    return (time.thread_time() - began) / calls * 1e6


class _Pair:
    """One application with two middleware stacks, so that nothing else differs."""

    def __init__(
        self, instrument: Callable[[FastAPI], None], routes: int, context: Context | None = None
    ) -> None:
        self.context = context
        self.app = application(routes, plain=instrument is PEERS[THIS])
        self.bare = self.app.build_middleware_stack()
        instrument(self.app)
        self.measured = self.app.build_middleware_stack()

    async def warm_up(self) -> None:
        """Run both, as the applications before have left nothing of them in the caches."""
        for stack in (self.bare, self.measured):
            await self._of(stack)

    async def pair(self, bare_first: bool) -> tuple[float, float]:
        """The bare time and what comes on top, one right after the other: machines drift."""
        bare = await self._of(self.bare) if bare_first else 0.0
        measured = await self._of(self.measured)
        if not bare_first:
            bare = await self._of(self.bare)
        return bare, measured - bare

    async def _of(self, stack: ASGIApp) -> float:
        self.app.middleware_stack = stack
        token = attach(self.context) if self.context else None
        try:
            return await microseconds(self.app, _IN_TURN)
        finally:
            if token:
                detach(token)


async def _added(routes: int, turns: int) -> tuple[dict[str, list[float]], list[float]]:
    pairs = {name: _Pair(instrument, routes) for name, instrument in PEERS.items()}
    pairs[_IN_SPAN] = _Pair(PEERS[THIS], routes, set_span_in_context(NonRecordingSpan(_UNSAMPLED)))
    added: dict[str, list[float]] = {name: [] for name in pairs}
    bare: list[float] = []
    for _ in bar(range(turns), f"{routes + 1} routes"):
        for name, pair in pairs.items():
            await pair.warm_up()
            for number in range(_PAIRS):
                base, more = await pair.pair(bool(number % 2))
                bare.append(base)
                added[name].append(more)
    return added, bare


def run(short: bool) -> Table:
    """What measuring adds, with one route and after 300 others."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        one, bare = runner.run(_added(0, 5 if short else 100))
        many, bare_many = runner.run(_added(300, 2 if short else 75))
    middle = {name: statistics.median(values) for name, values in one.items()}
    growth = {name: statistics.median(many[name]) / middle[name] for name in one}
    table = Table(
        "Added to one request, in process",
        ["", "1 route, µs", "after 300 others, µs", "grows"],
        f"On top of {spread(bare)} µs of the bare app, {spread(bare_many)} µs after 300 others. "
        f"With one route this is {middle[THIS] / middle[INSTRUMENTATOR]:.3f} of what "
        f"{INSTRUMENTATOR} adds, {middle[_IN_SPAN] / middle[INSTRUMENTATOR]:.3f} in a span that is "
        f"not sampled, and {middle[THIS] / middle[CONTRIB]:.3f} of what {CONTRIB} adds.",
    )
    for name in one:
        table.rows.append([name, spread(one[name]), spread(many[name]), f"× {growth[name]:.1f}"])
    return table
