"""The plugs for ``opentelemetry-instrument``: its defaults and its configurator."""

import os
from importlib.metadata import EntryPoint
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]
from opentelemetry.metrics import NoOpMeterProvider

from telemetry.request_names import RequestNames, names_in
from telemetry.sdk.setup.environment import configure

# The instrumentations whose middleware records http.server.*.
_SERVERS = ("asgi", "fastapi", "starlette")


class Distro(BaseDistro):  # type: ignore[misc]
    """What holds in a run under ``opentelemetry-instrument`` unless the environment differs."""

    def _configure(self, **_: Any) -> None:
        # The stable names of the semantic conventions for what contrib measures.
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")

    def load_instrumentor(self, entry_point: EntryPoint, **options: Any) -> None:
        """Instrument one library.

        Those that record ``http.server.*`` make spans only where ``TELEMETRY_REQUEST_METRICS=app``.
        """
        # Its handler would keep warnings off the console from here on. `telemetry.sdk.setup.logs`
        # adds it where logs are exported.
        if entry_point.name == "logging":
            options["enable_log_auto_instrumentation"] = False
        if entry_point.name in _SERVERS and names_in(os.environ) is RequestNames.APP:
            options["meter_provider"] = NoOpMeterProvider()
        super().load_instrumentor(entry_point, **options)


class Configurator:
    """Sets up the SDK in a run under ``opentelemetry-instrument``."""

    def configure(self, auto_instrumentation_version: str | None = None, **_: Any) -> None:
        """Set the global providers as the environment says."""
        version = auto_instrumentation_version
        configure({"telemetry.auto.version": version} if version else None)
