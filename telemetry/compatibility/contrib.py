"""OpenTelemetry's instrumentations, 0.66b2."""

from typing import Any


def is_instrumented_by_contrib(app: object) -> bool:
    """Whether opentelemetry-instrumentation-fastapi has put its middleware around an app."""
    return bool(getattr(app, "_is_instrumented_by_opentelemetry", False))


def exclude_from_contrib(stack: object, *expressions: str) -> None:
    """Have contrib's middleware in a stack, if any, leave out URLs that match an expression.

    Without it, all are measured.
    """
    while stack is not None and type(stack).__name__ != "OpenTelemetryMiddleware":
        stack = getattr(stack, "app", None)
    if stack is not None:
        from opentelemetry.util.http import ExcludeList

        own = getattr(getattr(stack, "excluded_urls", None), "_excluded_urls", [])
        expressions = tuple(dict.fromkeys([*own, *expressions]))
        setattr(stack, "excluded_urls", ExcludeList(expressions))  # noqa: B010


def handler_class() -> Any:
    """OpenTelemetry's handler for Python's logging. With 0.51b0, the SDK's, deprecated since."""
    try:
        from opentelemetry.instrumentation.logging.handler import LoggingHandler
    except ImportError:
        from opentelemetry.sdk._logs import LoggingHandler as SdkLoggingHandler

        return SdkLoggingHandler
    return LoggingHandler
