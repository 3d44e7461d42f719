"""Which measurements may become exemplars, as ``OTEL_METRICS_EXEMPLAR_FILTER`` says."""

import os

from opentelemetry.sdk.environment_variables import OTEL_METRICS_EXEMPLAR_FILTER
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    ExemplarFilter,
    TraceBasedExemplarFilter,
)

EXEMPLAR_FILTERS: dict[str, type[ExemplarFilter]] = {
    "trace_based": TraceBasedExemplarFilter,
    "always_on": AlwaysOnExemplarFilter,
    "always_off": AlwaysOffExemplarFilter,
}


def exemplar_filter() -> ExemplarFilter:
    """The filter that the environment names, ``trace_based`` where it names none that exists.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#exemplar
    """
    chosen = os.environ.get(OTEL_METRICS_EXEMPLAR_FILTER, "").strip().lower()
    return EXEMPLAR_FILTERS.get(chosen, TraceBasedExemplarFilter)()
