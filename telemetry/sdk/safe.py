"""Values, names and attributes as every exporter takes them: in the text formats and in OTLP."""

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

Real = int | float

# OTLP's integers have 64 bits.
_LIMIT = 2**63


def bounded(value: Real) -> Real:
    """The same number, as a float where it is an integer of more than 64 bits."""
    return value if -_LIMIT <= value < _LIMIT else float(value)


def real(value: Any) -> Real:
    """A number of any type as an int or a float, or a TypeError where it is not a real number."""
    if type(value) is float:
        number: float = value
        return number
    try:
        return bounded(index(value))
    except TypeError:
        # Text has no __float__, although float() would read it; complex has none either.
        if not hasattr(value, "__float__"):
            raise TypeError(f"{value!r} is not a real number") from None
        return float(value)


def text(value: str | None) -> str:
    r"""The same text as valid UTF-8: half of a surrogate pair is written as ``\udc80``."""
    value = value or ""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def attributes(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Attributes with values of which every exporter makes the same labels.

    Text that is not valid and values of other types than OpenTelemetry has are written as text.
    """
    return {
        key if type(key) is str and key.isascii() else text(str(key)): (
            value if type(value) is str and value.isascii() else _attribute(value)
        )
        for key, value in (given or {}).items()
    }


def _attribute(value: Any) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -_LIMIT <= value < _LIMIT else str(value)
    if isinstance(value, Mapping):
        return attributes(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_attribute(each) for each in value]
    return text(str(value))
