"""Which exceptions an application has not handled."""

import re
from collections.abc import Callable

from opentelemetry.metrics import MeterProvider
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from telemetry.instrumentation.labels import OTHER, Pairs
from telemetry.logger import limited_logger
from telemetry.providers import METER, once_per_provider

_logger = limited_logger(__name__)

# Classes may be made at run time, under any name.
_MAX_TYPES = 100
_NAME = re.compile(r"\w[\w.<>]{0,199}")


class ExceptionCounter:
    """Counts exceptions by type: of the first hundred types each, and all others together."""

    def __init__(self, provider: MeterProvider) -> None:
        self._names = set[str]()
        self._counter = provider.get_meter(METER).create_counter(
            "app_exceptions", description="Exceptions that the application has not handled."
        )

    def count(self, error: BaseException, labels: Callable[[], Pairs | None]) -> None:
        """Count an exception with these labels, unless it is told from outside or there are none.

        A request that is cancelled and a client that leaves are no faults of the application.
        """
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if not isinstance(error, Exception) or isinstance(
            error, ClientDisconnect | WebSocketDisconnect
        ):
            return
        try:
            pairs = labels()
            if pairs is not None:
                self._counter.add(1, {**dict(pairs), "error.type": self._type(type(error))})
        except Exception:
            _logger.exception("An exception of the application could not be counted")

    def _type(self, kind: type[Exception]) -> str:
        """The qualified name, of which a metaclass may make anything."""
        try:
            name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        except Exception:
            return OTHER
        if name not in self._names:
            if len(self._names) >= _MAX_TYPES or not _NAME.fullmatch(name):
                return OTHER
            self._names.add(name)
        return name


exceptions_of = once_per_provider(ExceptionCounter)
