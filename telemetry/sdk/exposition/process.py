"""prometheus_client's own metrics of the process."""

from collections.abc import Iterable
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.registry import Collector


@cache
def _collectors() -> tuple[Collector, ...]:
    return (
        ProcessCollector(registry=None),
        PlatformCollector(registry=None),
        GCCollector(registry=CollectorRegistry()),
    )


def process_metrics() -> Iterable[Metric]:
    """The families ``process_*`` and ``python_*``, as prometheus_client collects them.

    There are no ``process_*`` where there is no ``/proc`` (macOS, Windows).
    """
    for collector in _collectors():
        yield from collector.collect()
