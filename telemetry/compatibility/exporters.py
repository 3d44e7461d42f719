"""OpenTelemetry's exporters: otlp-proto-http and -grpc 1.45."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from telemetry.logger import limited_logger

_logger = limited_logger(__name__)

# DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK of opentelemetry/proto/metrics/v1/metrics.proto.
_NO_RECORDED_VALUE = 1
_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.metrics._internal.export",
    "opentelemetry.sdk.metrics._internal.instrument",
)


def when_an_export_fails(reader: object, do: Callable[[], None]) -> None:
    """Have a function called when a periodic reader's exporter fails, which the reader hides."""
    exporter: Any = getattr(reader, "_exporter", None)
    if exporter is None:
        return
    export = exporter.export

    @wraps(export)
    def watched(*arguments: Any, **options: Any) -> Any:
        succeeded = False
        try:
            result = export(*arguments, **options)
            succeeded = getattr(result, "name", "") == "SUCCESS"
            return result
        finally:
            if not succeeded:
                do()

    exporter.export = watched


def limit_foreign_loggers() -> None:
    """Have exporters and the SDK log the same line at most once a minute."""
    for name in _LOGGERS:
        limited_logger(name)


def can_send_no_recorded_value(reader: object, ended: type) -> bool:
    """Have a reader's OTLP exporter set the flag for no value on points of the class `ended`.

    The SDK's data cannot express that flag, so it is set after encoding. False for other exporters.
    """
    exporter = getattr(reader, "_exporter", None)
    module = sys.modules.get(type(exporter).__module__)
    encode = getattr(module, "encode_metrics", None)
    if encode is None:
        if "otlp" in type(exporter).__module__:
            _logger.warning("Series that have ended are shown for minutes: the encoder has moved")
        return False
    if hasattr(encode, "__wrapped__"):
        return True

    @wraps(encode)
    def encoded(data: Any) -> Any:
        request = encode(data)
        if isinstance(data, ended):
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        for point in getattr(metric, metric.WhichOneof("data")).data_points:
                            point.flags |= _NO_RECORDED_VALUE
        return request

    setattr(module, "encode_metrics", encoded)  # noqa: B010
    return True
