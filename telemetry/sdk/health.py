"""What telemetry itself has lost or cannot do, as metrics with the prefix ``telemetry_``."""

import os
from collections import Counter
from collections.abc import Iterable
from functools import partial

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from telemetry.logger import limited_logger
from telemetry.providers import METER, once_per_provider
from telemetry.sdk.points import Number
from telemetry.sdk.snapshot import Kind, Snapshot, Stream

_logger = limited_logger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_dropped = Counter[str]()
_failed_scrapes = Counter[str]()
_failed_pushes = Counter({"": 0})


def dropped(reason: str, points: int = 1) -> None:
    """Count points that are left out. The reason is a constant, never text of an error."""
    _dropped[reason] += points


def scrape_failed(reason: str) -> None:
    """Count a scrape that was not answered. The reason is a constant, never text of an error."""
    _failed_scrapes[reason] += 1


def push_failed() -> None:
    """Count a push that its receiver did not take, and say in a line where that should be."""
    _failed_pushes[""] += 1
    endpoints = [f"{name}={os.environ[name]}" for name in _ENDPOINTS if os.environ.get(name)]
    _logger.warning(
        "Metrics were not pushed. If nothing takes OTLP there, set another address: %s",
        (endpoints or [f"{_ENDPOINTS[1]} is not set, it is http://localhost:4318"])[0],
    )


@once_per_provider
def observe(provider: MeterProvider) -> None:
    """Create the instruments that show the counts above."""
    meter = provider.get_meter(METER)
    for name, counts, description in (
        ("telemetry.points.dropped", _dropped, "Points left out of /metrics or of a push."),
        ("telemetry.scrapes.failed", _failed_scrapes, "Scrapes not answered with the metrics."),
        ("telemetry.pushes.failed", _failed_pushes, "Pushes that the receiver did not take."),
    ):
        callback = partial(_observed, counts)
        meter.create_observable_counter(name, [callback], description=description)
    # Up-down counters of living workers are added up.
    meter.create_observable_up_down_counter(
        "telemetry.workers",
        [lambda _: [Observation(1)]],
        description="Processes whose metrics are shown together.",
    )


def add_state(snapshot: Snapshot, data_age: float, sharing_failed: bool) -> None:
    """Add what is said of a service as a whole to the sum over its workers."""
    for name, unit, value, description in (
        ("telemetry.worker.data.age", "s", data_age, "Age of the oldest worker's metrics."),
        ("telemetry.sharing.failed", "", int(sharing_failed), "1 if workers cannot share."),
    ):
        stream = Stream(METER, "", "", name, unit, description, Kind.GAUGE, ())
        stream.points["{}"] = Number(value, 0)
        snapshot.streams[stream.identity] = stream


def _observed(counts: Counter[str], _: CallbackOptions) -> Iterable[Observation]:
    return [Observation(n, {"reason": each} if each else {}) for each, n in counts.items()]
