"""Settings of a push that work alone but not together, told in one line with the cure."""

import logging
import os

from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION,
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
    OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE,
    OTEL_METRIC_EXPORT_INTERVAL,
)

_logger = logging.getLogger(__name__)

# The logger of OTLP over HTTP, and what it says of an answer: its arguments are what was sent,
# the status code and the reason.
_EXPORTER = "opentelemetry.exporter.otlp.proto.http.metric_exporter"
_FAILED = "Failed to export %s batch code: %s, reason: %s"
_MAX_INTERVAL = 30_000

_DELTAS = (
    "Prometheus takes cumulative metrics only. Unset "
    f"{OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE}, or send deltas through an OpenTelemetry "
    "Collector with the deltatocumulative processor."
)
_CURES = {
    404: "Nothing takes OTLP metrics at this address. For Prometheus, set "
    f"{OTEL_EXPORTER_OTLP_METRICS_ENDPOINT}=http://HOST:9090/api/v1/otlp/v1/metrics and start it "
    "with --web.enable-otlp-receiver.",
    500: f"If the metrics are deltas: {_DELTAS}",
}


class _Cure(logging.Filter):
    """Adds to the exporter's line about an answer what to do about it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg == _FAILED and isinstance(record.args, tuple):
            cure = _CURES.get(record.args[1])  # type: ignore[call-overload]
            if cure is not None:
                record.msg += ". %s"
                record.args = (*record.args, cure)
        return True


def advise_on_push() -> None:
    """Log a line for each variable of the environment with which a push does not do what it seems.

    The dashboards and rules of this project are what a push is judged by.
    """
    exporter = logging.getLogger(_EXPORTER)
    if not any(isinstance(each, _Cure) for each in exporter.filters):
        exporter.addFilter(_Cure())
    temporality = _value(OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE)
    endpoint = _value(OTEL_EXPORTER_OTLP_METRICS_ENDPOINT) or _value(OTEL_EXPORTER_OTLP_ENDPOINT)
    if temporality in ("delta", "lowmemory") and "/api/v1/otlp" in endpoint:
        _tell(OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE, temporality, _DELTAS)
    histogram = _value(OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION)
    if histogram == "base2_exponential_bucket_histogram":
        _tell(
            OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION,
            histogram,
            "Panels and alerts of durations stay empty: they need explicit buckets. Unset it to "
            "have them.",
        )
    interval = _value(OTEL_METRIC_EXPORT_INTERVAL) or "60000"
    if interval.isdecimal() and int(interval) > _MAX_INTERVAL:
        _tell(
            OTEL_METRIC_EXPORT_INTERVAL,
            interval,
            "Panels over one minute stay empty with less than two pushes a minute. Set it to "
            "15000, or the data source's interval in Grafana to that of the pushes.",
        )


def _value(variable: str) -> str:
    return os.environ.get(variable, "").strip().lower()


def _tell(variable: str, value: str, what: str) -> None:
    _logger.warning("%s=%s: %s", variable, value, what)
