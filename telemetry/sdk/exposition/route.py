"""Putting /metrics among an application's routes."""

from collections.abc import Callable, Sequence

from fastapi import Request, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.routing import Match, Route
from starlette.types import Scope

from telemetry.logger import get_logger
from telemetry.sdk.exposition.answer import Answer
from telemetry.sdk.exposition.page import Page

_logger = get_logger(__name__)

_NO_MATCH: tuple[Match, Scope] = (Match.NONE, {})


def serve_metrics(
    app: Starlette,
    page: Page,
    path: str,
    has: Callable[[str], bool],
    dependencies: Sequence[Depends] = (),
) -> None:
    """Add the route of the metrics (GET and HEAD, not in the OpenAPI schema).

    It stands first, so that no route for any path (``/{path:path}``) or host hides it. That
    costs other requests 0.4 us, as their paths are compared before its regular expression is.
    A route or a mount of this path that the application `has` stays, and a warning says so.
    """
    if has(path):
        _logger.warning(
            "The application has a route %s of its own, which stays: telemetry's metrics are "
            "not shown there. To have them, remove or rename that route, or choose another path "
            "with metrics_path or TELEMETRY_METRICS_PATH.",
            path,
        )
        return
    answer = Answer(page)

    async def metrics(request: Request) -> Response:
        return await answer.to(request.scope)

    # Without FastAPI's own part of a route, a scrape needs less time.
    route = Route(path, answer, methods=["GET"], include_in_schema=False)
    if dependencies:
        methods = ["GET", "HEAD"]
        route = APIRoute(
            path, metrics, methods=methods, include_in_schema=False, dependencies=dependencies
        )
    matches = route.matches

    def matches_quickly(scope: Scope) -> tuple[Match, Scope]:
        return matches(scope) if scope["path"].endswith(path) else _NO_MATCH

    setattr(route, "matches", matches_quickly)  # noqa: B010
    app.router.routes.insert(0, route)
