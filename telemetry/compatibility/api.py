"""OpenTelemetry's API, 1.45."""

from collections.abc import Callable
from contextvars import ContextVar
from operator import methodcaller

from opentelemetry import context, trace
from opentelemetry.context import Context

from telemetry.logger import limited_logger

_logger = limited_logger(__name__)


def no_meter_provider_is_set(provider: object) -> bool:
    """Whether it is only the API's placeholder, for which there is no public check."""
    try:
        from opentelemetry.metrics._internal import _ProxyMeterProvider
    except ImportError:
        _logger.warning("It is unknown whether a meter provider was set: the API has changed")
        return type(provider).__name__.startswith("_Proxy")
    return isinstance(provider, _ProxyMeterProvider)


def context_getter() -> Callable[[], Context]:
    """A function that returns the current context, faster than the public one."""
    runtime = getattr(context, "_RUNTIME_CONTEXT", None)
    variable = getattr(runtime, "_current_context", None)
    return variable.get if isinstance(variable, ContextVar) else context.get_current


def span_getter() -> Callable[[Context], trace.Span | None]:
    """A function that returns a context's span, faster than the public one."""
    key = getattr(trace.propagation, "_SPAN_KEY", None)
    return trace.get_current_span if key is None else methodcaller("get", key)
