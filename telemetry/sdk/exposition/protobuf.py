"""Prometheus's protobuf format: the wire format, and the messages that all metrics have in common.

The numbers of the fields are those of io/prometheus/client/metrics.proto, which
https://prometheus.io/docs/instrumenting/exposition_formats/#protobuf-format names.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum


class Type(IntEnum):
    """The type of a family."""

    COUNTER = 0
    GAUGE = 1
    SUMMARY = 2
    UNTYPED = 3
    HISTOGRAM = 4


# The field of a series that has its value.
_VALUES = {
    Type.COUNTER: 3,
    Type.GAUGE: 2,
    Type.SUMMARY: 4,
    Type.UNTYPED: 5,
    Type.HISTOGRAM: 7,
}


_SHORT = tuple(bytes((number,)) for number in range(128))


def varint(number: int) -> bytes:
    """A whole number; a negative one as 64 bits."""
    if 0 <= number < 128:
        return _SHORT[number]
    number &= 0xFFFF_FFFF_FFFF_FFFF
    parts = bytearray()
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def zigzag(number: int) -> bytes:
    """A whole number that may be negative, in few bytes if it is small."""
    return varint(2 * number if number >= 0 else -2 * number - 1)


def whole(field: int, number: int) -> bytes:
    """A field with a whole number."""
    return varint(field << 3) + varint(number)


def signed(field: int, number: int) -> bytes:
    """A field with a whole number that may be negative (sint32, sint64)."""
    return varint(field << 3) + zigzag(number)


def double(field: int, number: float) -> bytes:
    """A field with a double."""
    return varint(field << 3 | 1) + struct.pack("<d", number)


def embedded(field: int, content: bytes) -> bytes:
    """A field with a message, a string or several numbers."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def text(field: int, content: str) -> bytes:
    """A field with a string."""
    return embedded(field, content.encode())


def labels(field: int, pairs: Iterable[tuple[str, str]]) -> bytes:
    """Fields with labels, in the order of their names."""
    return b"".join(
        embedded(field, text(1, name) + text(2, value)) for name, value in sorted(pairs)
    )


def timestamp(field: int, milliseconds: int) -> bytes:
    """A field with a time since the epoch."""
    seconds, rest = divmod(milliseconds, 1000)
    return embedded(field, whole(1, seconds) + whole(2, rest * 1_000_000))


def exemplar(
    field: int, pairs: Iterable[tuple[str, str]], value: float, milliseconds: int | None
) -> bytes:
    """A field with an exemplar."""
    time = b"" if milliseconds is None else timestamp(3, milliseconds)
    return embedded(field, labels(1, pairs) + double(2, value) + time)


def metric(kind: Type, pairs: bytes, value: bytes, milliseconds: int | None = None) -> bytes:
    """A series of a family, as its field, with its labels and what its type has as a value."""
    time = b"" if milliseconds is None else whole(6, milliseconds)
    return embedded(4, pairs + embedded(_VALUES[kind], value) + time)


def family(name: str, described: str, kind: Type, unit: str, metrics: Iterable[bytes]) -> bytes:
    """A family with its length before it."""
    head = text(1, name) + text(2, described) + whole(3, kind)
    content = b"".join((head, *metrics, text(5, unit) if unit else b""))
    return varint(len(content)) + content
