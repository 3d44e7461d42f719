"""Which metrics of requests are recorded: this package's, the standard ones, or both."""

from collections.abc import Mapping
from enum import StrEnum

from telemetry.logger import get_logger

_logger = get_logger(__name__)

REQUEST_METRICS = "TELEMETRY_REQUEST_METRICS"
"""The environment variable that chooses where `telemetry.instrument` is not told."""


class RequestNames(StrEnum):
    """Which metrics of requests an application has."""

    APP = "app"
    """This package's, ``app_*``."""
    STANDARD = "http.server"
    """Those of OpenTelemetry's semantic conventions, ``http.server.*``, which FastAPI records:
    https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#http-server."""
    BOTH = "both"


def names_in(environment: Mapping[str, str]) -> RequestNames | None:
    """What ``TELEMETRY_REQUEST_METRICS`` asks for, if it does; an unknown value is logged."""
    chosen = environment.get(REQUEST_METRICS, "").strip()
    if chosen in ("", *RequestNames):
        return RequestNames(chosen) if chosen else None
    _logger.error("%s=%s: unknown; valid are %s", REQUEST_METRICS, chosen, ", ".join(RequestNames))
    return None
