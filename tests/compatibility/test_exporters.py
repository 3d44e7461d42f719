"""The private names of OpenTelemetry's exporters."""

import math
from importlib import import_module

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    InMemoryMetricReader,
    MetricExportResult,
    PeriodicExportingMetricReader,
)

from telemetry.compatibility.exporters import can_send_no_recorded_value, when_an_export_fails
from telemetry.compatibility.readers import redirect
from telemetry.sdk.push import NoRecordedValues


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_encoder_of_the_otlp_exporters(protocol: str) -> None:
    module = import_module(f"opentelemetry.exporter.otlp.proto.{protocol}.metric_exporter")
    reader = PeriodicExportingMetricReader(module.OTLPMetricExporter(), math.inf)
    provider = MeterProvider([source := InMemoryMetricReader()], shutdown_on_exit=False)
    provider.get_meter("x").create_counter("c").add(7)
    data = source.get_metrics_data()
    assert data is not None
    assert can_send_no_recorded_value(reader, NoRecordedValues)
    assert can_send_no_recorded_value(reader, NoRecordedValues)
    for given, flags in ((data, 0), (NoRecordedValues(data.resource_metrics), 1)):
        request = module.encode_metrics(given)
        (point,) = request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
        assert point.flags == flags
    console = PeriodicExportingMetricReader(ConsoleMetricExporter(), math.inf)
    assert not can_send_no_recorded_value(console, NoRecordedValues)


def test_exports_that_fail_and_where_a_reader_exports_to() -> None:
    class Exporter(ConsoleMetricExporter):
        def export(self, *_: object, **__: object) -> MetricExportResult:
            result = next(results)
            if isinstance(result, MetricExportResult):
                return result
            raise OSError

    results = iter([MetricExportResult.SUCCESS, MetricExportResult.FAILURE, None])
    reader = PeriodicExportingMetricReader(Exporter(), math.inf)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("x").create_counter("c").add(1)
    failed: list[int] = []
    when_an_export_fails(reader, lambda: failed.append(1))
    received: list[object] = []
    before = redirect(reader, lambda data, **_: received.append(data))
    for count in (0, 1, 2):
        reader.collect()
        before(received[-1])
        assert len(failed) == count
