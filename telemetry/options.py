"""What `telemetry.instrument` can be told, checked when it is called."""

import logging
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

from fastapi.params import Depends

from telemetry.instrumentation.labels import Labels, RequestLabel

_logger = logging.getLogger(__name__)

REQUEST_METRICS = "TELEMETRY_REQUEST_METRICS"
"""The environment variable that chooses where `telemetry.instrument` is not told."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class RequestNames(StrEnum):
    """Which metrics of requests an application has."""

    APP = "app"
    """This package's, ``app_*``."""
    STANDARD = "http.server"
    """Those of OpenTelemetry's semantic conventions, ``http.server.*``, which FastAPI records:
    https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#http-server."""
    BOTH = "both"


def names_in(environment: Mapping[str, str], default: RequestNames) -> RequestNames:
    """The metrics of requests that ``TELEMETRY_REQUEST_METRICS`` asks for.

    A value that there is not is logged in one line.

    Parameters:
        environment: `os.environ`.
        default: Where it asks for none.
    """
    chosen = environment.get(REQUEST_METRICS, "").strip()
    if chosen in ("", *RequestNames):
        return RequestNames(chosen) if chosen else default
    _logger.error("%s=%s: unknown; valid are %s", REQUEST_METRICS, chosen, ", ".join(RequestNames))
    return default


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of `telemetry.instrument`, which documents them.

    Raises:
        TypeError: One is of another type.
        ValueError: One has a value that it cannot have.
    """

    excluded_paths: Collection[str]
    request_metrics: str | None
    prefix: str
    buckets: Iterable[float]
    labels: Mapping[str, str | RequestLabel]
    in_progress_by_route: bool
    body_sizes: bool
    metrics_dependencies: Sequence[Depends]
    prometheus_client_metrics: bool

    def __post_init__(self) -> None:
        if isinstance(self.excluded_paths, str):
            raise TypeError(f"excluded_paths takes a list of paths: [{self.excluded_paths!r}]")
        if not isinstance(self.prefix, str) or not _NAME.fullmatch(self.prefix):
            kind = ValueError if isinstance(self.prefix, str) else TypeError
            raise kind(
                "prefix takes letters, digits and underscores, the first not a digit: "
                f"{self.prefix!r}"
            )
        for name in ("in_progress_by_route", "body_sizes", "prometheus_client_metrics"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} takes True or False: {getattr(self, name)!r}")
        dependencies: Any = self.metrics_dependencies
        if not isinstance(dependencies, list | tuple) or not all(
            isinstance(each, Depends) for each in dependencies
        ):
            raise TypeError(f"metrics_dependencies takes a list of Depends(...): {dependencies!r}")
        # What has a form of its own is made now, so that its errors come now.
        self.names()
        self.bounds()
        self.declared()

    def names(self) -> RequestNames:
        """Which metrics of requests there are to be."""
        if self.request_metrics is None:
            return names_in(os.environ, RequestNames.APP)
        if self.request_metrics not in list(RequestNames):
            valid = ", ".join(repr(each.value) for each in RequestNames)
            raise ValueError(f"request_metrics takes one of {valid}: {self.request_metrics!r}")
        return RequestNames(self.request_metrics)

    def bounds(self) -> tuple[float, ...]:
        """The upper bounds of the duration histogram, without the infinite one."""
        if isinstance(self.buckets, str) or not isinstance(self.buckets, Iterable):
            raise TypeError(f"buckets takes a list of seconds: {self.buckets!r}")
        bounds = list(self.buckets)
        if not all(isinstance(each, int | float) for each in bounds):
            raise TypeError(f"buckets takes a list of seconds: {self.buckets!r}")
        # prometheus_client's users write the last one; OpenTelemetry's histograms always have it.
        if bounds and bounds[-1] == math.inf:
            bounds.pop()
        ascending = all(a < b for a, b in pairwise(bounds))
        if not bounds or not ascending or not all(map(math.isfinite, bounds)):
            raise ValueError(f"buckets takes seconds that ascend, one at least: {self.buckets!r}")
        return tuple(map(float, bounds))

    def declared(self) -> Labels | None:
        """The further labels of requests, if any."""
        labels = Labels(self.labels)
        return labels if self.labels else None
