"""The plug for ``opentelemetry-instrument`` that measures every application."""

import os
from collections.abc import Collection
from typing import Any
from weakref import WeakSet

from fastapi import FastAPI
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

import telemetry
from telemetry.instrumentation.middleware import COUNTED
from telemetry.request_names import RequestNames, names_in

# FastAPI's own builds the middleware before it calls Starlette's.
_CALLS: dict[type[Starlette], Any] = {
    FastAPI: FastAPI.__call__,
    Starlette: Starlette.__call__,
}


class FastAPIMetricsInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Calls `telemetry.instrument` for each application when it is first called.

    Only then have other instrumentations put their middleware around it, outside of which
    this one belongs. An application that is mounted in another one is left to that one, by
    opentelemetry-instrumentation-fastapi as well, which would count its requests twice.

    Registered in the entry point group ``opentelemetry_instrumentor`` as
    ``fastapi_otel_metrics``, which is its name in ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS``.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """The versions of FastAPI that this works with."""
        return ("fastapi >= 0.110, < 1, != 0.137.0, != 0.137.1",)

    def _instrument(self, **options: Any) -> None:
        provider = options.get("meter_provider")
        # FastAPI's own metrics step aside where contrib's are.
        names = names_in(os.environ) or RequestNames.BOTH
        seen: WeakSet[Starlette] = WeakSet()

        def measuring(original: Any) -> Any:
            async def call(app: Starlette, scope: Scope, receive: Receive, send: Send) -> None:
                if app not in telemetry._instrumented and app not in seen and COUNTED not in scope:
                    seen.add(app)
                    telemetry.instrument(app, meter_provider=provider, request_metrics=names)
                await original(app, scope, receive, send)

            return call

        for kind, original in _CALLS.items():
            setattr(kind, "__call__", measuring(original))  # noqa: B010

    def _uninstrument(self, **_: Any) -> None:
        for kind, original in _CALLS.items():
            setattr(kind, "__call__", original)  # noqa: B010
