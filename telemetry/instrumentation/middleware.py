"""The middleware that measures what an application answers."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.instrumentation.routes import UNMATCHED, CountedPaths, RouteTemplates, path_below

COUNTED = "telemetry.exchange"
"""The key that a `Middleware` gives a scope for what measures it: None where nothing does."""


def remember_routing(router: Any, templates: RouteTemplates) -> None:
    """Have what routing finds out remembered also where a middleware has copied the scope.

    The routes are hardly ever others than before. To look here costs least: they are looked at
    next.
    """
    route = router.middleware_stack

    def remembering(scope: Scope, receive: Receive, send: Send) -> Any:
        exchange = scope.get(COUNTED)
        if exchange is not None:
            exchange.scope = scope
        templates.refresh()
        return route(scope, receive, send)

    router.middleware_stack = remembering


class Measured(ABC):
    """What a request and a WebSocket have in common: the path that they are counted under."""

    ended = False

    # One method for both, without a call of the base class's, which each request would pay for.
    def __init__(
        self,
        by: Any,
        paths: CountedPaths,
        in_progress: set[Any] | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._by = by
        self._paths = paths
        self.scope = scope
        self._receive = receive
        self._send = send
        self._root_path: str = scope.get("root_path", "")
        path = scope["path"]
        if self._root_path:
            path = path_below(self._root_path, path)
        self._is_excluded = path in paths.excluded
        # The route is not known yet. What is excluded by its template only is in progress.
        if in_progress is not None and not self._is_excluded:
            in_progress.add(self)
        self._begin = perf_counter()

    def path(self, status: int | None = None) -> str | None:
        """The path, or None where it is not counted."""
        path = self._paths.of(self.scope, self._root_path, status)
        return None if path is UNMATCHED and self._is_excluded else path

    @abstractmethod
    async def receive(self) -> Message:
        """The next message of the client."""

    @abstractmethod
    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the application to the client."""

    @abstractmethod
    def finish(self, error: BaseException | None) -> None:
        """End, if not ended yet: the application has returned, or has raised an error."""


Measure = Callable[[Scope, Receive, Send], Measured]


class Middleware:
    """ASGI middleware that has each connection measured once, by the outermost application.

    What is sent and what is raised passes through unchanged.
    """

    def __init__(
        self,
        app: ASGIApp,
        measures: Mapping[str, Measure],
        is_excluded: Callable[[Scope], bool] | None,
        on_start: Callable[[Scope], object],
    ) -> None:
        self.app = app
        self._measures = measures
        self._is_excluded = is_excluded
        self._on_start = on_start
        self._started = False

    def rest(self) -> None:
        """Call `on_start` once more, at the next connection."""
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the connection on, and have it measured."""
        if COUNTED in scope:
            await self.app(scope, receive, send)
            return
        kind = scope["type"]
        if not self._started or kind == "lifespan":
            self._started = kind != "lifespan"
            self._on_start(scope)
        measure = self._measures.get(kind)
        scope[COUNTED] = None
        if measure is None or (self._is_excluded is not None and self._is_excluded(scope)):
            await self.app(scope, receive, send)
            return
        exchange = scope[COUNTED] = measure(scope, receive, send)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.finish(error)
            raise
        else:
            if not exchange.ended:
                exchange.finish(None)
        finally:
            # The exchange has the scope, and the server's functions, which have the scope as well:
            # together they would wait for the garbage collector.
            scope[COUNTED] = None
            exchange.scope = scope


def wrap_middleware_stack(app: Starlette, wrap: Callable[[ASGIApp], ASGIApp]) -> None:
    """Put a middleware around everything that the application answers with.

    `FastAPI.add_middleware` makes the latest middleware the outermost, so what it adds sees
    nothing of the requests that a later one answers.
    """
    build = app.build_middleware_stack

    def build_middleware_stack() -> ASGIApp:
        stack = build()
        if app.build_middleware_stack is not build_middleware_stack and isinstance(
            stack, ServerErrorMiddleware
        ):
            # opentelemetry-instrumentation-fastapi came after us. It takes the stack apart
            # and gives up unless it finds Starlette's own middleware outermost.
            stack.app = wrap(stack.app)
            return stack
        return wrap(stack)

    setattr(app, "build_middleware_stack", build_middleware_stack)  # noqa: B010
    if app.middleware_stack is not None:
        app.middleware_stack = wrap(app.middleware_stack)
