"""The metrics of prometheus_client's global registry: the application's and its libraries'."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    REGISTRY,
    Metric,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from telemetry.compatibility import collectors_of, is_opentelemetrys
from telemetry.quiet import quiet_logger
from telemetry.sdk import health
from telemetry.sdk.callbacks import calling
from telemetry.sdk.exposition.text import names_of

_logger = quiet_logger(__name__)

MAX_SIZE = 16 * 2**20
"""Bytes that one collector may add to a page."""

_Generate = Callable[[Any], bytes]

_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
# What is known of the process is on the page already.
_OWN = (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR)

# What the name of a family of these types ends with in the text format.
_IN_TEXT = {"counter": "_total", "info": "_info"}

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*"'
_LABELS = rf"\{{(?:{_LABEL},?)*\}}"
_LINE = re.compile(rf"({_NAME})({_LABELS})? \S+(?: \S+)?(?: # {_LABELS} \S+(?: \S+)?)?")
_PAIR = re.compile(r'([a-zA-Z0-9_]+)="((?:[^"\\]|\\.)*)"')


def registry_text(openmetrics: bool, several: bool, taken: Collection[str]) -> bytes:
    """The families of prometheus_client's global registry, as that library writes them.

    Where ``PROMETHEUS_MULTIPROC_DIR`` is set, they are those of all workers, by
    prometheus_client's own multiprocess mode:
    https://prometheus.github.io/client_python/multiprocess/. Families whose names are taken, by
    other collectors as well, are left out. A collector that raises, that has what cannot be
    written, or more than 16 MiB, costs only its own families. All of it is logged.

    Parameters:
        openmetrics: Whether the format is OpenMetrics.
        several: Whether the page is that of several workers.
        taken: The names that are on the page already.
    """
    generate: _Generate = generate_openmetrics if openmetrics else generate_latest
    page = b""
    # The page has the family target in OpenMetrics only, but it is to have the same families in
    # both formats.
    names, left_out = {*taken, "target", "target_info"}, set[str]()
    for collector, collect in _collectors():
        text, size = b"", 0
        try:
            with calling(f"the collector {collector}"):
                for family in collect():
                    size += _size_of(family)
                    if size > MAX_SIZE:
                        raise ValueError(f"it has more than {MAX_SIZE >> 20} MiB to show")
                    written, own = _written(family, generate)
                    if names.isdisjoint(own):
                        text += written
                        names |= own
                    else:
                        left_out.add(family.name)
            page += text
        except BaseException as error:
            health.dropped("collector_failed")
            # Not by arguments: each collector has a line of its own a minute.
            _logger.error(
                f"Metrics of prometheus_client's registry are not shown: {collector} has failed. "
                "%s: %s",
                type(error).__name__,
                error,
            )
    if left_out:
        health.dropped("name_taken", len(left_out))
        _tell_taken(", ".join(sorted(left_out)))
    if several and page and _MULTIPROCESS not in os.environ:
        _tell_that_they_are_one_workers()
    return page


def _collectors() -> Iterator[tuple[str, Callable[[], Iterable[Metric]]]]:
    if _MULTIPROCESS in os.environ:
        yield "its multiprocess mode", lambda: MultiProcessCollector(None).collect()  # type: ignore[no-untyped-call]
        return
    for collector in collectors_of(REGISTRY):
        if collector not in _OWN and not is_opentelemetrys(collector):
            yield f"{type(collector).__module__}.{type(collector).__name__}", collector.collect


def _size_of(family: Metric) -> int:
    """About as many characters as a family takes on the page."""
    return sum(
        len(sample.name) + sum(map(len, sample.labels)) + sum(map(len, sample.labels.values()))
        for sample in family.samples
    )


def _written(family: Metric, generate: _Generate) -> tuple[bytes, set[str]]:
    """A family as it is written, each series once, and the names that it has then.

    Raises:
        Exception: It cannot be written.
    """
    text = generate(_Collected(family)).decode().removesuffix("# EOF\n")
    lines, names, seen = list[str](), set[str](), set[object]()
    for line in text.split("\n"):
        if line.startswith("# TYPE "):
            name = line.split(" ")[2]
            suffix = _IN_TEXT.get(family.type, "")
            names |= {name, *names_of(name.removesuffix(suffix), family.type)}
        elif line and not line.startswith("#"):
            found = _LINE.fullmatch(line)
            if found is None:
                raise ValueError(f"{family.name} cannot be written: {line:.100}")
            pairs = _PAIR.findall(found[2] or "")
            series = (found[1], frozenset(pair for pair in pairs if pair[1]))
            if len({label for label, _ in pairs}) < len(pairs):
                raise ValueError(f"{family.name} has labels of one name: {line:.100}")
            if series in seen:
                health.dropped("duplicate")
                _logger.warning(f"Of {family.name} a series is there twice, and shown once")
                continue
            seen.add(series)
            names.add(found[1])
        lines.append(line)
    return "\n".join(lines).encode(), names


@dataclass(frozen=True, slots=True)
class _Collected:
    family: Metric

    def collect(self) -> Iterable[Metric]:
        return [self.family]


@cache
def _tell_taken(names: str) -> None:
    _logger.warning(
        "Of prometheus_client these are not shown, as other metrics have their names: %s", names
    )


@cache
def _tell_that_they_are_one_workers() -> None:
    _logger.warning(
        "The metrics of prometheus_client's registry are those of the worker that answers the "
        "scrape, and differ from scrape to scrape. Set %s to an empty folder to have those of "
        "all workers, or move them to OpenTelemetry, which needs no folder.",
        _MULTIPROCESS,
    )
