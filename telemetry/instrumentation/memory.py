"""The memory of the process, read when somebody asks for it."""

from collections.abc import Iterable
from weakref import WeakSet

import psutil
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

_observed: WeakSet[MeterProvider] = WeakSet()


def observe_memory(provider: MeterProvider) -> None:
    """Add the gauge ``app_memory_usage_bytes`` to a meter provider, once.

    It has the label ``type``: ``rss`` is the memory that the process holds in RAM, ``vms``
    the address space that it has reserved, both in bytes. Both come from one call of
    `psutil.Process.memory_info` each time the metrics are collected; no request pays for it.
    """
    if provider in _observed:
        return
    _observed.add(provider)
    provider.get_meter("telemetry.instrumentation").create_observable_gauge(
        "app_memory_usage",
        callbacks=[_read_memory],
        unit="By",
        description="Memory of the process.",
    )


def _read_memory(_: CallbackOptions) -> Iterable[Observation]:
    # A new Process each time: a server may have forked since the last reading.
    memory = psutil.Process().memory_info()
    yield Observation(memory.rss, {"type": "rss"})
    yield Observation(memory.vms, {"type": "vms"})
