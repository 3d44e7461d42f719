"""Memory, processor time, open files and start of the process."""

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import psutil
from opentelemetry.metrics import CallbackOptions, Meter, Observation

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def observe_process(meter: Meter) -> None:
    """Add the facts about the process to a meter, under OpenTelemetry's names where it has them.

    https://opentelemetry.io/docs/specs/semconv/system/process-metrics/
    """
    gauge = meter.create_observable_gauge
    described = "Memory of the process: in RAM (rss), and reserved addresses (vms)."
    gauge("app_memory_usage", [_observe_memory], "By", described)
    described = "Memory that the container may use, where it has a limit."
    gauge("app_memory_limit", [_observe_memory_limit], "By", described)
    described = "Processor time of the process."
    meter.create_observable_counter("process.cpu.time", [_observe_cpu_time], "s", described)
    if resource is None:
        return
    # The conventions have an up-down counter, which would be added up over the workers. It is
    # each worker by itself that runs out of them.
    name, unit = "process.unix.file_descriptor.count", "{file_descriptor}"
    gauge(name, [_observe_file_descriptors], unit, "Open file descriptors.")
    described = "File descriptors that the process may have open."
    gauge("app_file_descriptor_limit", [_observe_limit], unit, described)


@lru_cache(maxsize=1)
def _process(pid: int) -> psutil.Process:
    return psutil.Process(pid)


def _observe_memory(_: CallbackOptions) -> Iterable[Observation]:
    # A server may have forked since the last reading.
    memory = _process(os.getpid()).memory_info()
    yield Observation(memory.rss, {"type": "rss"})
    yield Observation(memory.vms, {"type": "vms"})


def _observe_memory_limit(_: CallbackOptions) -> Iterable[Observation]:
    # Of control groups of version 2 (the group's own, or a container's) and of version 1.
    with suppress(OSError):
        own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
        for file in (f"{own.rstrip('/')}/memory.max", "/memory/memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                # Without a limit it is "max", or more than there is.
                limit = int((_CONTROL_GROUPS / file.lstrip("/")).read_text())
                if limit < psutil.virtual_memory().total:
                    yield Observation(limit)
                    return


def _observe_cpu_time(_: CallbackOptions) -> Iterable[Observation]:
    times = os.times()
    yield Observation(times.user, {"cpu.mode": "user"})
    yield Observation(times.system, {"cpu.mode": "system"})


def _observe_file_descriptors(_: CallbackOptions) -> Iterable[Observation]:
    yield Observation(_process(os.getpid()).num_fds())


def _observe_limit(_: CallbackOptions) -> Iterable[Observation]:
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY:
        yield Observation(limit)
