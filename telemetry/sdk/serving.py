"""Putting /metrics among an application's routes."""

import logging

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Host, Match, Route
from starlette.types import ASGIApp, Scope

_logger = logging.getLogger(__name__)

METRICS_PATH = "/metrics"


def serve_metrics(app: FastAPI, endpoint: ASGIApp) -> None:
    """Add the route ``/metrics`` (GET and HEAD, not in the OpenAPI schema), last if it can be.

    A route that takes any path (``/{path:path}``) or a whole host does not hide it: it is put
    before that one. A ``/metrics`` that the application has itself stays, and a warning is logged.

    Parameters:
        app: The application, with its routes.
        endpoint: The ASGI application that answers.
    """
    routes = app.router.routes
    paths = ((context.path or "").rstrip("/") for context in iter_route_contexts(routes))
    if METRICS_PATH in paths:
        _logger.warning(
            "The application has a route %s of its own, which stays: telemetry's metrics are "
            "not shown there. Remove or rename that route to have them.",
            METRICS_PATH,
        )
        return
    position = next((i for i, route in enumerate(routes) if _hides_metrics(route)), len(routes))
    route = Route(METRICS_PATH, endpoint, methods=["GET"], include_in_schema=False)
    routes.insert(position, route)


def _hides_metrics(route: BaseRoute) -> bool:
    scope: Scope = {"type": "http", "method": "GET", "path": METRICS_PATH, "headers": []}
    return isinstance(route, Host) or route.matches(scope)[0] is not Match.NONE
