"""The metrics of prometheus_client's global registry: the application's and its libraries'."""

import os
from collections.abc import Callable, Iterable
from functools import cache

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    REGISTRY,
    Metric,
)
from prometheus_client.multiprocess import MultiProcessCollector

from telemetry.compatibility import collectors_of
from telemetry.quiet import quiet_logger

_logger = quiet_logger(__name__)

_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
# What it has of the process is on the page already.
_OWN = (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR)


def registry_metrics(several: bool) -> list[Metric]:
    """The families of prometheus_client's global registry, without those of the process.

    Where ``PROMETHEUS_MULTIPROC_DIR`` is set, they are those of all workers, by
    prometheus_client's own multiprocess mode:
    https://prometheus.github.io/client_python/multiprocess/. A collector that raises costs only
    its own families, and is logged.

    Parameters:
        several: Whether the page is that of several workers.
    """
    families: list[Metric] = []
    for name, collect in _collectors():
        try:
            families += list(collect())
        except Exception as error:
            _logger.error(
                f"Metrics of prometheus_client's registry are not shown: {name} has raised "
                f"{type(error).__name__}: {error}"
            )
    if several and families and _MULTIPROCESS not in os.environ:
        _tell_that_they_are_one_workers()
    return families


def _collectors() -> Iterable[tuple[str, Callable[[], Iterable[Metric]]]]:
    if _MULTIPROCESS in os.environ:
        yield "its multiprocess mode", lambda: MultiProcessCollector(None).collect()  # type: ignore[no-untyped-call]
        return
    for collector in collectors_of(REGISTRY):
        if collector not in _OWN:
            yield f"{type(collector).__module__}.{type(collector).__name__}", collector.collect


@cache
def _tell_that_they_are_one_workers() -> None:
    _logger.warning(
        "The metrics of prometheus_client's registry are those of the worker that answers the "
        "scrape, and differ from scrape to scrape. Set %s to an empty folder to have those of "
        "all workers, or move them to OpenTelemetry, which needs no folder.",
        _MULTIPROCESS,
    )
