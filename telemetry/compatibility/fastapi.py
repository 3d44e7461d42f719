"""FastAPI 0.165; before 0.142 it has no telemetry."""

from collections.abc import Callable
from types import SimpleNamespace

from telemetry.logger import limited_logger

_logger = limited_logger(__name__)


def switch_off_native_metrics(app: object) -> bool:
    """Keep FastAPI from recording ``http.server.*`` in an app without a meter provider of its own.

    It does so once there is a global provider, at several times the cost of `app_*`. Its spans and
    exporters stay. Returns whether ``FASTAPI_OTEL_AUTO_CONFIGURE=true`` had asked for the metrics.
    """
    native = getattr(app, "_native_telemetry", None)
    config = getattr(native, "config", None)
    if not isinstance(config, dict):
        if native is not None:
            _logger.warning("FastAPI records http.server.* as well: its configuration has moved")
        return False
    if config.get("meter_provider") is not None or not config.get("metrics"):
        return False
    setattr(native, "config", {**config, "metrics": False})  # noqa: B010
    return bool(config.get("auto_configure"))


def set_native_default(app: object, name: str, value: object) -> None:
    """Set one of the ``FastAPI(telemetry=...)`` settings, unless the application has set it."""
    config = getattr(app, "_telemetry", None)
    if isinstance(config, dict):
        config[name] = config.get(name) or value


def has_native_metrics(app: object) -> bool:
    """Whether FastAPI records ``http.server.*`` metrics of its own for an application."""
    config = getattr(getattr(app, "_native_telemetry", None), "config", None)
    return isinstance(config, dict) and config.get("metrics") is True


def flush_with_fastapi(flush: Callable[[], object]) -> None:
    """Have FastAPI call a function at the end of a lifespan that has already begun.

    There is no public hook at that time, at which FastAPI flushes its own exporters.
    """
    try:
        from fastapi.telemetry._runtime import _owned
    except ImportError:
        _logger.warning(
            "What is measured last may not be pushed: the application was instrumented while it "
            "started. Instrument it before, or use FastAPI 0.142 or later."
        )
        return
    _owned.append(SimpleNamespace(force_flush=flush, shutdown=lambda: None))
