"""Metrics of one name from several libraries, told apart."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.metrics.export import (
    Histogram,
    Metric,
    MetricsData,
    ScopeMetrics,
    Sum,
)

from telemetry.quiet import quiet_logger

SCOPE_LABEL = "otel_scope_name"
"""The label by which they are told apart, as the specification names it:
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/."""

_COUNTER = "counter"
_logger = quiet_logger(__name__)
_OTHERS = re.compile(r"[^a-zA-Z0-9:]+")


def without_conflicts(data: MetricsData) -> MetricsData:
    """The same metrics, so that no two of them have the same name and labels when shown.

    Series are shown without their instrumentation scope. Where two scopes have a metric of
    the same name, the series of the later one get the label `SCOPE_LABEL` and move to the
    first one, as a name has one description and one set of labels in an exposition. A metric
    that is not even of the same kind cannot be shown beside the first and is left out, with
    a log line.
    """
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
    first: dict[str, Metric] = {}
    moved: dict[str, list[Any]] = {}
    for scope in scopes:
        for metric in scope.metrics:
            name = _shown(metric)
            original = first.setdefault(name, metric)
            if original is not metric:
                points = moved.setdefault(name, [])
                if _kind(metric) == _kind(original):
                    points += _labelled(metric.data.data_points, scope.scope.name)
                else:
                    _logger.warning(
                        "The metric %s of %s is not shown: one of another kind has its name",
                        metric.name,
                        scope.scope.name,
                    )
    if not moved:
        return data

    def resolved(scope: ScopeMetrics) -> ScopeMetrics:
        own = [metric for metric in scope.metrics if first[_shown(metric)] is metric]
        return replace(scope, metrics=[_with(metric, moved.get(_shown(metric))) for metric in own])

    return MetricsData(
        [
            replace(resource, scope_metrics=[resolved(scope) for scope in resource.scope_metrics])
            for resource in data.resource_metrics
        ]
    )


def _with(metric: Metric, points: Sequence[Any] | None) -> Metric:
    if not points:
        return metric
    data: Any = metric.data
    return replace(metric, data=replace(data, data_points=[*data.data_points, *points]))


def _labelled(points: Sequence[Any], scope: str) -> list[Any]:
    return [
        replace(point, attributes={**(point.attributes or {}), SCOPE_LABEL: scope})
        for point in points
    ]


def _shown(metric: Metric) -> str:
    """What the name becomes; the unit, which the reader appends, stands as it is written."""
    name = _OTHERS.sub("_", metric.name)
    if _kind(metric) is _COUNTER:
        name = name.removesuffix("_total") + "_total"
    return f"{name} {metric.unit}"


def _kind(metric: Metric) -> str:
    match metric.data:
        case Sum(is_monotonic=True):
            return _COUNTER
        case Histogram():
            return "histogram"
        case _:
            # An up-down counter is shown as a gauge.
            return "gauge"
