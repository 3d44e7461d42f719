"""Which measurements may become exemplars, as ``OTEL_METRICS_EXEMPLAR_FILTER`` says."""

import os

from opentelemetry.sdk.environment_variables import OTEL_METRICS_EXEMPLAR_FILTER
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    ExemplarFilter,
    TraceBasedExemplarFilter,
)

from telemetry.logger import get_logger

_logger = get_logger(__name__)

_FILTERS: dict[str, type[ExemplarFilter]] = {
    "trace_based": TraceBasedExemplarFilter,
    "always_on": AlwaysOnExemplarFilter,
    "always_off": AlwaysOffExemplarFilter,
}


def exemplar_filter() -> ExemplarFilter:
    """The filter that the environment names, ``trace_based`` by default.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#exemplar
    """
    chosen = os.environ.get(OTEL_METRICS_EXEMPLAR_FILTER, "").strip()
    found = _FILTERS.get(chosen.lower() or "trace_based")
    if found is None:
        _logger.error(
            "%s=%s: no such filter; valid are %s. The default is taken: trace_based.",
            OTEL_METRICS_EXEMPLAR_FILTER,
            chosen,
            ", ".join(_FILTERS),
        )
    return (found or TraceBasedExemplarFilter)()
