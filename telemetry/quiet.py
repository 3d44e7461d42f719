"""The same log line at most once a minute."""

import logging
import time

_INTERVAL = 60.0
_MAX_KINDS = 1_000
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


class OncePerMinute(logging.Filter):
    """Lets a message pass if the same one has not passed within a minute.

    Two records are the same if their logger, their level and their text before arguments are.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[tuple[str, int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is the first of its kind within a minute."""
        kind = (record.name, record.levelno, str(record.msg))
        now = time.monotonic()
        if now - self._passed.get(kind, float("-inf")) < _INTERVAL:
            return False
        if len(self._passed) >= _MAX_KINDS:
            self._passed.clear()
        self._passed[kind] = now
        return True


def quiet_logger(name: str) -> logging.Logger:
    """The logger of this name, with the filter."""
    logger = logging.getLogger(name)
    if not any(isinstance(each, OncePerMinute) for each in logger.filters):
        logger.addFilter(OncePerMinute())
    return logger


def quieten() -> None:
    """Put the filter on the SDK's loggers of exporters and of callbacks."""
    for name in _LOGGERS:
        quiet_logger(name)
