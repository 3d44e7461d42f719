"""What is made once for each meter provider, however many applications share it."""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import ref

from opentelemetry.metrics import MeterProvider

METER = "telemetry.instrumentation"
"""The name of the meter that all instruments of this package belong to, which views match."""

_Parameters = ParamSpec("_Parameters")
_Made = TypeVar("_Made")

# By identity: providers of others need not be hashable, and may equal each other.
_made: dict[int, dict[Any, Any]] = {}


def behind(provider: MeterProvider) -> MeterProvider:
    """The provider that does the work, where the given one only stands in front of it.

    The global provider that Logfire sets is such a one.
    """
    inner = getattr(provider, "provider", None)
    return behind(inner) if isinstance(inner, MeterProvider) else provider


def once_per_provider(
    make: Callable[Concatenate[MeterProvider, _Parameters], _Made],
) -> Callable[Concatenate[MeterProvider, _Parameters], _Made]:
    """Have a function called once for each meter provider, and its result given ever after."""

    def made(
        provider: MeterProvider, /, *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> _Made:
        provider = behind(provider)
        key = id(provider)
        if key not in _made:
            _made[key] = {ref: ref(provider, lambda _: _made.pop(key, None))}
        own = _made[key]
        if make not in own:
            own[make] = make(provider, *args, **kwargs)
        result: _Made = own[make]
        return result

    return made
