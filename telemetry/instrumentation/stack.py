"""Where in an application's middleware the measuring one sits: outside of all the others."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp


def wrap_middleware_stack(app: Starlette, wrap: Callable[[ASGIApp], ASGIApp]) -> None:
    """Put a middleware around everything that the application answers with.

    `FastAPI.add_middleware` makes the latest middleware the outermost, so what it adds sees
    nothing of the requests that a later one answers. The stack is built once, before the
    first request; what `wrap` returns for the whole stack takes its place.
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
