"""The metrics of prometheus_client's global registry: the application's and its libraries'."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from math import isfinite
from typing import Any

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    REGISTRY,
    Metric,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.samples import Sample

from telemetry.compatibility.prometheus import collectors_of, is_opentelemetrys
from telemetry.logger import limited_logger
from telemetry.sdk import health
from telemetry.sdk.callbacks import calling
from telemetry.sdk.exposition.families import names_of

_logger = limited_logger(__name__)
_warn_once = cache(_logger.warning)

MAX_SIZE = 16 * 2**20
"""Bytes that one collector may add to a page."""

_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
# What is known of the process is on the page already.
_OWN = (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR)
_NOT_IN_NAMES = re.compile(r"^[0-9]|[^a-zA-Z0-9_:]")
_NOT_IN_LABELS = re.compile(r"^[0-9]|[^a-zA-Z0-9_]")


def openmetrics_text(family: Any) -> bytes:
    """A family in OpenMetrics, with a line for its unit even if it has none: see `TextWriter`."""
    text: bytes = generate_openmetrics(family)  # type: ignore[no-untyped-call]
    described, kind, rest = text.removesuffix(b"# EOF\n").split(b"\n", 2)
    if not rest.startswith(b"# UNIT "):
        rest = b"# UNIT " + kind.split(b" ")[2] + b" \n" + rest
    return b"\n".join((described, kind, rest))


def registry_text(generate: Callable[[Any], bytes], several: bool, taken: Collection[str]) -> bytes:
    """The families of prometheus_client's global registry, each as `generate` writes it.

    Those of all workers where ``PROMETHEUS_MULTIPROC_DIR`` is set:
    https://prometheus.github.io/client_python/multiprocess/. Families whose names are taken, by
    other collectors as well, are left out. A collector that raises, that has what cannot be
    written, or more than 16 MiB, costs only its own families. All of it is logged.
    """
    page = b""
    # The page has the family target in OpenMetrics only, but it is to have the same families in
    # both formats.
    names, left_out = {*taken, "target", "target_info"}, set[str]()
    for collector, collect in _collectors():
        text, size = b"", 0
        try:
            with calling(f"the collector {collector}"):
                for metric in collect():
                    family = _Family(metric)
                    size += family.size
                    if size > MAX_SIZE:
                        raise ValueError(f"it has more than {MAX_SIZE >> 20} MiB to show")
                    if not names.isdisjoint(family.names):
                        left_out.add(family.metric.name)
                        continue
                    text += generate(family)
                    names |= family.names
            page += text
        except BaseException as error:
            health.dropped("collector_failed")
            # Not by arguments: each collector has a line of its own a minute.
            _logger.error(
                f"Metrics of prometheus_client's registry are not shown: {collector} has failed. "
                "%s: %.300s",
                type(error).__name__,
                error,
            )
    if left_out:
        health.dropped("name_taken", len(left_out))
        _warn_once(
            "Of prometheus_client these are not shown, as other metrics have their names: %s",
            ", ".join(sorted(left_out)),
        )
    if several and page and _MULTIPROCESS not in os.environ:
        _warn_once(
            "The metrics of prometheus_client's registry are those of the worker that answers the "
            "scrape, and differ from scrape to scrape. Set %s to an empty folder to have those of "
            "all workers, or move them to OpenTelemetry, which needs no folder.",
            _MULTIPROCESS,
        )
    return page


def has_collectors() -> bool:
    """Whether anything is in the registry, which may block when it is asked."""
    return any(True for _ in _collectors())


def _collectors() -> Iterator[tuple[str, Callable[[], Iterable[Metric]]]]:
    if _MULTIPROCESS in os.environ:
        yield "its multiprocess mode", lambda: MultiProcessCollector(None).collect()  # type: ignore[no-untyped-call]
        return
    for collector in collectors_of(REGISTRY):
        if collector not in _OWN and not is_opentelemetrys(collector):
            yield f"{type(collector).__module__}.{type(collector).__name__}", collector.collect


@dataclass(slots=True)
class _Family:
    """One family of a collector's, with names as they are written, and each series once."""

    metric: Metric
    names: set[str] = field(default_factory=set)
    size: int = 0

    def __post_init__(self) -> None:
        series: dict[object, Sample] = {}
        legal: dict[tuple[str, ...], tuple[str, ...]] = {}
        for sample in self.metric.samples:
            names = (sample.name, *sample.labels)
            found = legal.get(names)
            if found is None:
                found = legal[names] = _legal(names)
            if found != names:
                labels = dict(zip(found[1:], sample.labels.values(), strict=True))
                sample = sample._replace(name=found[0], labels=labels)
            series.setdefault((found[0], frozenset(sample.labels.items())), sample)
            time = 0 if sample.timestamp is None else float(sample.timestamp)
            if sample.value is None or not isfinite(time):
                raise ValueError(f"{sample.name} has no value, or a time that is none")
            self.size += len("".join(sample.labels.values()))
        if len(series) < len(self.metric.samples):
            health.dropped("duplicate", len(self.metric.samples) - len(series))
            _logger.warning(f"Some series of {self.metric.name} are there twice, and shown once")
        self.metric = copy(self.metric)
        self.metric.name = _legal((self.metric.name,))[0]
        self.metric.samples = list(series.values())
        names_of_samples = {each[0] for each in legal.values()}
        taken = names_of(self.metric.name, self.metric.type) | names_of_samples
        # As prometheus_client writes the names of samples in OpenMetrics.
        self.names = taken | {each.replace(":", "_") for each in taken}

    def collect(self) -> Iterable[Metric]:
        return [self.metric]


def _legal(names: tuple[str, ...]) -> tuple[str, ...]:
    """A metric's name and those of its labels as the formats have them."""
    name, *labels = names
    result = (_NOT_IN_NAMES.sub("_", name), *(_NOT_IN_LABELS.sub("_", each) for each in labels))
    if "" in result or len(set(labels)) > len(set(result[1:])):
        raise ValueError(f"{name} has no name, or several labels of one name")
    if any(label.startswith("__") for label in result[1:]):
        raise ValueError(f"{name} has a label with a reserved name")
    return result
