"""Saying, once, that a metric has more series than the SDK keeps apart."""

import logging

from opentelemetry.sdk.metrics.export import MetricsData

_logger = logging.getLogger(__name__)

OVERFLOW = "otel.metric.overflow"
"""The attribute of the series that has what no other one has:
https://opentelemetry.io/docs/specs/otel/metrics/sdk/#overflow-attribute."""

_told: set[str] = set()


def tell_of_overflow(data: MetricsData) -> None:
    """Log a warning for each metric that has reached its limit, the first time it is seen.

    Parameters:
        data: What a reader has collected.
    """
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points = metric.data.data_points
                # The SDK makes this series when it can make no other, so it is the last one.
                if (
                    points
                    and OVERFLOW in (points[-1].attributes or ())
                    and metric.name not in _told
                ):
                    _told.add(metric.name)
                    _logger.warning(
                        "The metric %s has %d series and gets no more: what has other labels is "
                        "in one series with the label otel_metric_overflow. Labels should have "
                        "few values; a View with aggregation_cardinality_limit raises the limit.",
                        metric.name,
                        len(points) - 1,
                    )
