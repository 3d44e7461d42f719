"""What `telemetry.instrument` can be told, checked when it is called."""

import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

from fastapi.params import Depends
from opentelemetry.metrics import MeterProvider

from telemetry.instrumentation.labels import Labels, RequestLabel
from telemetry.logger import get_logger
from telemetry.request_names import RequestNames, names_in

_logger = get_logger(__name__)

METRICS_PATH = "/metrics"
_METRICS_PATH = "TELEMETRY_METRICS_PATH"
_PATH = re.compile(r"(/[\w.~-]+)+", re.ASCII)


@dataclass(slots=True)
class Options:
    """The arguments of `telemetry.instrument`, and what some of them mean.

    `path` is that of the metrics, which `excluded` has as well, unless ``/metrics`` is counted.
    `bounds` are without the infinite one; `declared` is None where there are no further labels.
    """

    meter_provider: MeterProvider | None
    excluded_paths: Collection[str]
    request_metrics: str | None
    buckets: Iterable[float]
    labels: Mapping[str, str | RequestLabel]
    in_progress_by_route: bool
    body_sizes: bool
    native_histograms: bool | None
    metrics_path: str | None
    metrics_dependencies: Sequence[Depends]
    prometheus_client_metrics: bool
    path: str = field(init=False, compare=False)
    excluded: frozenset[str] = field(init=False, compare=False)
    names: RequestNames = field(init=False, compare=False)
    bounds: tuple[float, ...] = field(init=False, compare=False)
    declared: Labels | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.meter_provider, MeterProvider | None):
            raise TypeError(f"meter_provider takes a MeterProvider: {self.meter_provider!r}")
        paths: Any = self.excluded_paths
        if isinstance(paths, str) or not all(isinstance(each, str) for each in paths):
            raise TypeError(f"excluded_paths takes a list of paths: {paths!r}")
        if wrong := [each for each in paths if not each.startswith("/")]:
            raise ValueError(f"excluded_paths takes paths that begin with a slash: {wrong[0]!r}")
        self.path = _path(self.metrics_path)
        self.excluded = frozenset([*paths, self.path] if METRICS_PATH in paths else paths)
        for name in ("in_progress_by_route", "body_sizes", "prometheus_client_metrics"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} takes True or False: {getattr(self, name)!r}")
        if not isinstance(self.native_histograms, bool | None):
            raise TypeError(f"native_histograms takes True or False: {self.native_histograms!r}")
        dependencies: Any = self.metrics_dependencies
        if not isinstance(dependencies, list | tuple) or not all(
            isinstance(each, Depends) for each in dependencies
        ):
            raise TypeError(f"metrics_dependencies takes a list of Depends(...): {dependencies!r}")
        labels = Labels(self.labels)
        self.declared = labels if self.labels else None
        self.names = _names(self.request_metrics)
        self.bounds = _bounds(self.buckets)

    def differences(self, other: "Options") -> list[str]:
        """The names of the arguments that two calls differ in."""
        names = [each.name for each in fields(self) if each.compare]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


def _names(chosen: str | None) -> RequestNames:
    if chosen is None:
        return names_in(os.environ) or RequestNames.APP
    if chosen not in list(RequestNames):
        valid = ", ".join(repr(each.value) for each in RequestNames)
        raise ValueError(f"request_metrics takes one of {valid}: {chosen!r}")
    return RequestNames(chosen)


def _path(chosen: Any) -> str:
    if chosen is None:
        named = os.environ.get(_METRICS_PATH, "").strip() or METRICS_PATH
        if _PATH.fullmatch(named):
            return named
        _logger.error(
            "%s=%s: not a path such as /internal/metrics. The default is taken, %s.",
            _METRICS_PATH,
            named,
            METRICS_PATH,
        )
        return METRICS_PATH
    if not isinstance(chosen, str):
        raise TypeError(f"metrics_path takes a path: {chosen!r}")
    if not _PATH.fullmatch(chosen):
        raise ValueError(f"metrics_path takes a path such as '/internal/metrics': {chosen!r}")
    return chosen


def _bounds(buckets: Any) -> tuple[float, ...]:
    bounds: list[Any] = list(buckets) if isinstance(buckets, Iterable) else [None]
    if not all(isinstance(each, int | float) for each in bounds):
        raise TypeError(f"buckets takes a list of seconds: {buckets!r}")
    # prometheus_client's users write the last one; OpenTelemetry's histograms always have it.
    if bounds and bounds[-1] == math.inf:
        bounds.pop()
    ascending = all(a < b for a, b in pairwise(bounds))
    if not bounds or not ascending or not all(map(math.isfinite, bounds)):
        raise ValueError(f"buckets must be a non-empty, ascending list of seconds: {buckets!r}")
    return tuple(map(float, bounds))
