"""The memory of the process, read at each collection."""

import os
from collections.abc import Iterable
from functools import lru_cache
from weakref import WeakKeyDictionary

import psutil
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from telemetry.instrumentation.recorder import PREFIX

_observed: WeakKeyDictionary[MeterProvider, set[str]] = WeakKeyDictionary()


def observe_memory(provider: MeterProvider, prefix: str = PREFIX) -> None:
    """Add the gauge ``app_memory_usage_bytes`` to a meter provider, once.

    It has the label ``type``: ``rss`` is the memory that the process holds in RAM, ``vms``
    the address space that it has reserved, both in bytes. Both come from one call of
    `psutil.Process.memory_info` each time the metrics are collected; no request pays for it.

    Parameters:
        provider: Where the instrument is made.
        prefix: What its name begins with in the place of ``app``.
    """
    prefixes = _observed.setdefault(provider, set())
    if prefix in prefixes:
        return
    prefixes.add(prefix)
    provider.get_meter("telemetry.instrumentation").create_observable_gauge(
        f"{prefix}_memory_usage",
        callbacks=[_read_memory],
        unit="By",
        description="Memory of the process.",
    )


@lru_cache(maxsize=1)
def _process(pid: int) -> psutil.Process:
    return psutil.Process(pid)


def _read_memory(_: CallbackOptions) -> Iterable[Observation]:
    # A server may have forked since the last reading.
    memory = _process(os.getpid()).memory_info()
    yield Observation(memory.rss, {"type": "rss"})
    yield Observation(memory.vms, {"type": "vms"})
