"""Putting /metrics among an application's routes."""

import logging
from collections.abc import Callable, Sequence

from fastapi import Request, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Host, Match, Route
from starlette.types import Scope

from telemetry.sdk.exposition.endpoint import MetricsEndpoint
from telemetry.sdk.exposition.page import Page

_logger = logging.getLogger(__name__)

METRICS_PATH = "/metrics"


def serve_metrics(
    app: Starlette,
    page: Page,
    has: Callable[[str], bool],
    dependencies: Sequence[Depends] = (),
) -> None:
    """Add the route ``/metrics`` (GET and HEAD, not in the OpenAPI schema), last if it can be.

    A route that takes any path (``/{path:path}``) or a whole host does not hide it: it is put
    before that one. A route ``/metrics`` of the application's own stays, and a warning says so.

    Parameters:
        app: The application, with its routes.
        page: What is served.
        has: Tells whether there is a route or a mount of exactly this path.
        dependencies: What a scrape must pass before it gets the page, as FastAPI's own
            ``dependencies`` of a route.
    """
    if has(METRICS_PATH):
        _logger.warning(
            "The application has a route %s of its own, which stays: telemetry's metrics are "
            "not shown there. Remove or rename that route to have them.",
            METRICS_PATH,
        )
        return
    routes = app.router.routes
    position = next(
        (i for i, route in enumerate(routes) if _hides_metrics(app, route)), len(routes)
    )
    endpoint = MetricsEndpoint(page)

    async def metrics(request: Request) -> Response:
        return await endpoint.answer(request.headers)

    routes.insert(
        position,
        APIRoute(
            METRICS_PATH,
            metrics,
            methods=["GET", "HEAD"],
            include_in_schema=False,
            dependencies=dependencies,
        )
        if dependencies
        # Without FastAPI's own part of a route, a scrape needs less time.
        else Route(METRICS_PATH, endpoint, methods=["GET"], include_in_schema=False),
    )


def _hides_metrics(app: Starlette, route: BaseRoute) -> bool:
    if isinstance(route, Host):
        return True
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": METRICS_PATH,
        "raw_path": METRICS_PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": None,
        "server": None,
        "app": app,
        "router": app.router,
    }
    try:
        return route.matches(scope)[0] is not Match.NONE
    except Exception:
        # A route of the application's own kind, which may need what only a request has.
        return False
