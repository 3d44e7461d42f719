"""What differs between the supported versions of FastAPI and the OpenTelemetry SDK.

Each name says since when its packages have it themselves; it goes when the lowest supported
version, in pyproject.toml, is that one. CI tests constraints-lowest.txt as the lowest ones.
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

from starlette.routing import BaseRoute

OTEL_CONFIG_FILE = "OTEL_CONFIG_FILE"
"""A name of ``opentelemetry.sdk.environment_variables`` since opentelemetry-sdk 1.43."""

_INSTANCE_ID = "service.instance.id"


def routes_in_full(routes: Sequence[BaseRoute]) -> Iterator[tuple[BaseRoute, Any]]:
    """Each route, of included routers as well, with what has its full path.

    FastAPI has `iter_route_contexts` since 0.137.2. Up to 0.136, `include_router` copies the
    routes, and each has its full path itself. Up to 0.143.3, the context of a mount or of one of
    Starlette's own routes has the full path in its ``starlette_route`` only.
    """
    try:
        from fastapi.routing import iter_route_contexts
    except ImportError:
        yield from ((route, route) for route in routes)
        return
    for context in iter_route_contexts(routes):
        yield context.original_route, getattr(context, "starlette_route", None) or context


def limit_of_series(limit: int) -> dict[str, Any]:
    """The argument of a View that limits series; before opentelemetry-sdk 1.45.2 there is none."""
    from opentelemetry.sdk.metrics.view import View

    name = "aggregation_cardinality_limit"
    return {name: limit} if name in inspect.signature(View).parameters else {}


def instance_id() -> dict[str, str]:
    """A ``service.instance.id`` for a resource, where the SDK makes none itself.

    opentelemetry-sdk does since 1.43. Without it, the pushes of two instances of a service are
    one series to their receiver.
    """
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create()
    return {} if _INSTANCE_ID in resource.attributes else {_INSTANCE_ID: str(uuid4())}
