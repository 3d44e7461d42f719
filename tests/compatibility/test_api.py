"""The private names of OpenTelemetry's API."""

import subprocess
import sys

from opentelemetry import context, metrics, trace

from telemetry.compatibility.api import context_getter, no_meter_provider_is_set, span_getter


def test_the_current_context_is_a_context_variables_value() -> None:
    assert context_getter() != context.get_current
    assert context_getter()() == context.get_current()


def test_the_span_of_a_context_has_a_key() -> None:
    span = trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)
    assert span_getter() != trace.get_current_span
    assert span_getter()(trace.set_span_in_context(span)) is span


def test_the_apis_stand_in_for_a_meter_provider() -> None:
    code = (
        "from opentelemetry import metrics\n"
        "from telemetry.compatibility.api import no_meter_provider_is_set as unset\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "print(unset(metrics.get_meter_provider()))\n"
        "metrics.set_meter_provider(MeterProvider())\n"
        "print(unset(metrics.get_meter_provider()))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["True", "False"]
    assert not no_meter_provider_is_set(metrics.NoOpMeterProvider())
