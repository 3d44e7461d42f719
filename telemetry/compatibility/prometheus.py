"""OpenTelemetry's Prometheus exporter, 0.66b2, and prometheus_client 0.26."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from telemetry.logger import limited_logger

_logger = limited_logger(__name__)


@cache
def prometheus_names() -> tuple[Callable[[str], str], Callable[[str], str], Callable[[str], str]]:
    """The Prometheus exporter's functions for metric names, label names and units."""
    try:
        from opentelemetry.exporter.prometheus._mapping import (
            map_unit,
            sanitize_attribute,
            sanitize_full_name,
        )
    except ImportError:
        _logger.warning("Metrics are shown without their units: the Prometheus exporter has moved")

        def sanitized(name: str) -> str:
            return re.sub(r"^[0-9]|[^a-zA-Z0-9]+", "_", name)

        return sanitized, sanitized, lambda _: ""
    return sanitize_full_name, sanitize_attribute, map_unit


def is_opentelemetrys(collector: object) -> bool:
    """Whether a collector is a `PrometheusMetricReader`'s, whose metrics would be shown twice."""
    return type(collector).__module__.startswith("opentelemetry.exporter.prometheus")


def collectors_of(registry: Any) -> Sequence[Any]:
    """The collectors of a registry. Without it, one that raises costs the metrics of all."""
    return list(getattr(registry, "_collector_to_names", [registry]))
