"""Wrong settings that OpenTelemetry passes over, each told in one line with the cure."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from telemetry.logger import get_logger
from telemetry.sdk.setup.exemplars import EXEMPLAR_FILTERS

_logger = get_logger(__name__)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _has_a_scheme(value: str) -> bool:
    return "://" in value or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip() == "grpc"


_ENDPOINT = (
    _has_a_scheme,
    "has no scheme. Nothing can be pushed there; put http:// or https:// before it.",
)

# By variable: what a value must be, and what is said of one that is not.
_CHECKS: dict[str, tuple[Callable[[str], bool], str]] = {
    "OTEL_SDK_DISABLED": (
        lambda value: value.lower() in ("true", "false"),
        "only true switches the SDK off. It stays on.",
    ),
    "TELEMETRY_NATIVE_HISTOGRAMS": (
        lambda value: value.lower() in ("true", "false"),
        "only true switches native histograms on. They stay off.",
    ),
    "OTEL_METRICS_EXPORTER": (
        lambda value: bool(value.replace(",", "").strip()),
        "names no exporter. Unset it for /metrics, or set it to otlp, prometheus or none.",
    ),
    "OTEL_METRICS_EXEMPLAR_FILTER": (
        lambda value: value.lower() in EXEMPLAR_FILTERS,
        f"no such filter; valid are {', '.join(EXEMPLAR_FILTERS)}. "
        "The default is taken: trace_based.",
    ),
    "OTEL_EXPORTER_OTLP_ENDPOINT": _ENDPOINT,
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": _ENDPOINT,
    "OTEL_METRIC_EXPORT_INTERVAL": (
        _is_number,
        "takes milliseconds, such as 15000 for 15 seconds. The default is taken, 60000.",
    ),
    "OTEL_RESOURCE_ATTRIBUTES": (
        lambda value: all("=" in pair for pair in value.split(",") if pair.strip()),
        "takes key=value pairs with commas between them. What has no = is left out.",
    ),
    "PROMETHEUS_MULTIPROC_DIR": (
        lambda value: Path(value).is_dir(),
        "is not a folder. Create it before the service starts, and empty it.",
    ),
}


@cache
def check_settings() -> None:
    """Log a line for each variable of the environment whose value cannot be meant so."""
    for variable, (is_right, what) in _CHECKS.items():
        value = os.environ.get(variable, "").strip()
        if value and not is_right(value):
            _logger.error("%s=%s: %s", variable, value, what)
    pushes = "otlp" in os.environ.get("OTEL_METRICS_EXPORTER", "")
    named = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if pushes and not named and not os.environ.get("OTEL_SERVICE_NAME"):
        _logger.warning(
            "OTEL_SERVICE_NAME is not set: the metrics are pushed as those of unknown_service, as "
            "are those of every other service without a name. Set it to the service's name."
        )
