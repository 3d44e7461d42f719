"""The private names of the SDK's observable instruments."""

from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics._internal.instrument import _Asynchronous
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
)

from telemetry.compatibility.callbacks import guard_callbacks


@pytest.mark.parametrize("kind", ["counter", "up_down_counter", "gauge"])
def test_the_callbacks_of_an_instrument(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = getattr(_Asynchronous.callback, "__wrapped__", _Asynchronous.callback)
    monkeypatch.setattr(_Asynchronous, "callback", original)

    def guard(name: str, callback: Any) -> Any:
        return lambda options: [Observation(each.value + 1, {"of": name}) for each in callback(0)]

    for _ in range(2):
        guard_callbacks(guard)
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
    getattr(meter, f"create_observable_{kind}")("asked", [lambda _: [Observation(1)]])
    for _ in range(2):
        data = reader.get_metrics_data()
        assert data is not None
        (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        assert (getattr(point, "value", None), dict(point.attributes or {})) == (2, {"of": "asked"})
