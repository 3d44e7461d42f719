"""From Python's logging to the logger provider: log records that carry their span's ids."""

import logging

from opentelemetry import _logs

from telemetry.compatibility.contrib import handler_class


def export_logging() -> None:
    """Have what is logged exported, where there is a logger provider that does.

    OpenTelemetry's own instrumentation does it for what reaches the root logger. Loggers that do
    not propagate, as those of servers, are given its handler beside their own.
    https://opentelemetry-python-contrib.readthedocs.io/en/latest/instrumentation/logging/logging.html
    """
    if type(_logs.get_logger_provider()).__module__.startswith(_logs.__name__):
        # Only the API's stand-in.
        return
    handler = _handler() or _add_handler()
    if handler is None:
        # Switched off, by OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION.
        return
    root = logging.getLogger()
    if root.handlers == [handler] and logging.lastResort is not None:
        # It prints warnings only as long as there is no handler: they go on being printed.
        root.addHandler(logging.lastResort)
    for logger in list(root.manager.loggerDict.values()):
        if (
            isinstance(logger, logging.Logger)
            and logger.handlers
            and not logger.propagate
            and handler not in logger.handlers
        ):
            logger.addHandler(handler)


def _add_handler() -> logging.Handler | None:
    from opentelemetry.instrumentation.logging import LoggingInstrumentor

    instrumentor = LoggingInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        # Without the handler, by this project's distro.
        instrumentor.uninstrument()
    instrumentor.instrument()
    kind = handler_class()
    if _handler() is None and kind.__module__.startswith("opentelemetry.sdk"):
        # An instrumentation of before that adds none.
        logging.getLogger().addHandler(kind(logger_provider=_logs.get_logger_provider()))
    return _handler()


def _handler() -> logging.Handler | None:
    kind = handler_class()
    return next((each for each in logging.getLogger().handlers if isinstance(each, kind)), None)
