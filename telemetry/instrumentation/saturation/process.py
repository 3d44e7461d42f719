"""Processor time and open files of the process."""

import os
from collections.abc import Iterable

import psutil
from opentelemetry.metrics import CallbackOptions, Meter, Observation

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def observe_process(meter: Meter, prefix: str) -> None:
    """Add ``process.cpu.time``, ``process.unix.file_descriptor.count`` and its limit to a meter.

    The first two are named as OpenTelemetry's conventions say, which have nothing for the limit,
    ``app_file_descriptor_limit``: https://opentelemetry.io/docs/specs/semconv/system/process-metrics/.
    On Windows there is only the first.

    Parameters:
        meter: Where the instruments are made.
        prefix: What the limit's name begins with.
    """
    meter.create_observable_counter(
        "process.cpu.time",
        callbacks=[_observe_cpu_time],
        unit="s",
        description="Processor time of the process.",
    )
    if resource is None:
        return
    # The conventions have an up-down counter, which would be added up over the workers. It is
    # each worker by itself that runs out of them.
    meter.create_observable_gauge(
        "process.unix.file_descriptor.count",
        callbacks=[_observe_file_descriptors],
        unit="{file_descriptor}",
        description="Open file descriptors.",
    )
    meter.create_observable_gauge(
        f"{prefix}_file_descriptor_limit",
        callbacks=[_observe_limit],
        unit="{file_descriptor}",
        description="File descriptors that the process may have open.",
    )


def _observe_cpu_time(_: CallbackOptions) -> Iterable[Observation]:
    times = os.times()
    yield Observation(times.user, {"cpu.mode": "user"})
    yield Observation(times.system, {"cpu.mode": "system"})


def _observe_file_descriptors(_: CallbackOptions) -> Iterable[Observation]:
    yield Observation(psutil.Process().num_fds())


def _observe_limit(_: CallbackOptions) -> Iterable[Observation]:
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY:
        yield Observation(limit)
