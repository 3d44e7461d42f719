"""Which measurements become exemplars, by OTEL_METRICS_EXEMPLAR_FILTER."""

from collections.abc import Sequence

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from telemetry.sdk.setup.exemplars import exemplar_filter

NAME = "OTEL_METRICS_EXEMPLAR_FILTER"


def kept(sampler: Sampler | None) -> Sequence[float]:
    """The exemplars of one value, recorded in a span if there is a sampler."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], exemplar_filter=exemplar_filter(), shutdown_on_exit=False)
    counter = provider.get_meter("x").create_counter("c")
    if sampler is None:
        counter.add(7)
    else:
        spans = TracerProvider(sampler, shutdown_on_exit=False)
        with spans.get_tracer("x").start_as_current_span("one"):
            counter.add(7)
    data = reader.get_metrics_data() or pytest.fail("nothing was collected")
    (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    return [each.value for each in point.exemplars]


@pytest.mark.parametrize(
    ("chosen", "sampled", "unsampled", "without"),
    [
        (None, [7], [], []),
        ("", [7], [], []),
        ("trace_based", [7], [], []),
        (" Always_On ", [7], [7], [7]),
        ("always_off", [], [], []),
        ("some", [7], [], []),
    ],
)
def test_the_filters(
    monkeypatch: pytest.MonkeyPatch,
    chosen: str | None,
    sampled: list[float],
    unsampled: list[float],
    without: list[float],
) -> None:
    if chosen is None:
        monkeypatch.delenv(NAME, raising=False)
    else:
        monkeypatch.setenv(NAME, chosen)
    assert (kept(ALWAYS_ON), kept(ALWAYS_OFF), kept(None)) == (sampled, unsampled, without)
