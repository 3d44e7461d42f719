"""Putting /metrics among an application's routes."""

import logging

from fastapi import FastAPI
from starlette.routing import BaseRoute, Host, Match, Route
from starlette.types import ASGIApp, Scope

_logger = logging.getLogger(__name__)

METRICS_PATH = "/metrics"


def serve_metrics(app: FastAPI, endpoint: ASGIApp) -> None:
    """Add the route ``/metrics`` (GET and HEAD, not in the OpenAPI schema), last if it can be.

    A route that takes any path (``/{path:path}``) or a whole host does not hide it: it is put
    before that one.

    Parameters:
        app: The application, with its routes.
        endpoint: The ASGI application that answers.
    """
    routes = app.router.routes
    position = next(
        (i for i, route in enumerate(routes) if _hides_metrics(app, route)), len(routes)
    )
    route = Route(METRICS_PATH, endpoint, methods=["GET"], include_in_schema=False)
    routes.insert(position, route)


def keep_own_metrics() -> None:
    """Say that an application's own ``/metrics`` stays."""
    _logger.warning(
        "The application has a route %s of its own, which stays: telemetry's metrics are "
        "not shown there. Remove or rename that route to have them.",
        METRICS_PATH,
    )


def _hides_metrics(app: FastAPI, route: BaseRoute) -> bool:
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
