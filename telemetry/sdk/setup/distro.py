"""The plugs for ``opentelemetry-instrument``: its defaults and its configurator."""

import os
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]

from telemetry.sdk.setup.environment import configure


class Distro(BaseDistro):  # type: ignore[misc]
    """What holds in a run under ``opentelemetry-instrument`` unless the environment differs.

    Registered in the entry point group ``opentelemetry_distro``.
    """

    def _configure(self, **_: Any) -> None:
        # The stable names of the semantic conventions for what contrib measures.
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")


class Configurator:
    """Sets up the SDK in a run under ``opentelemetry-instrument``.

    Registered in the entry point group ``opentelemetry_configurator``.
    """

    def configure(self, auto_instrumentation_version: str | None = None, **_: Any) -> None:
        """Set the global providers as the environment says.

        Parameters:
            auto_instrumentation_version: Becomes the resource's ``telemetry.auto.version``.
        """
        version = auto_instrumentation_version
        configure({"telemetry.auto.version": version} if version else None)
