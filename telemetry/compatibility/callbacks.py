"""The observable instruments of OpenTelemetry's SDK, 1.45."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from telemetry.logger import limited_logger

_logger = limited_logger(__name__)


def guard_callbacks(guard: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace each callback by what `guard` returns for its instrument's name and the callback.

    Without it, a callback that raises SystemExit ends the collecting thread, and no log line names
    one that hangs.
    """
    try:
        from opentelemetry.sdk.metrics._internal.instrument import _Asynchronous
    except ImportError:
        _logger.warning("Callbacks are called without protection: the SDK has changed")
        return
    original = _Asynchronous.callback
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def callback(self: Any, options: Any) -> Any:
        if not hasattr(self, "_are_guarded"):
            self._are_guarded = True
            self._callbacks = [guard(self.name, each) for each in self._callbacks]
        return original(self, options)

    setattr(_Asynchronous, "callback", callback)  # noqa: B010
