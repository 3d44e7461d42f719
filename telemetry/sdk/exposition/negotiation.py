"""From a request's headers to the format of the answer."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

Headers = Iterable[tuple[bytes, bytes]]
"""A request's headers as ASGI has them: names in lower case, and values."""

_MESSAGE = "io.prometheus.client.MetricFamily"
_MAX_LENGTH = 4096


class Exposition(StrEnum):
    """In which form a page is written: the content type of the response."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    PROTOBUF = f"application/vnd.google.protobuf; proto={_MESSAGE}; encoding=delimited"


class Format(NamedTuple):
    """How a page is written, and whether with gzip."""

    exposition: Exposition
    compressed: bool

    @property
    def headers(self) -> dict[str, str]:
        """The response headers that describe a page of this format."""
        return {
            "content-type": self.exposition,
            "vary": "Accept, Accept-Encoding",
            **({"content-encoding": "gzip"} if self.compressed else {}),
        }


def header(headers: Headers, name: bytes) -> bytes:
    """All values of one header, as one list.

    Only the first 4,096 bytes: some servers take headers of any length, and to parse megabytes
    would hold up other requests for seconds.
    """
    return b",".join(value for each, value in headers if each == name)[:_MAX_LENGTH]


def format_for(accept: str, accept_encoding: str, *, native: bool = False) -> Format:
    """The format that the client prefers; text 0.0.4 where it names none that there is.

    There is the protobuf format where histograms are `native`.
    https://prometheus.io/docs/instrumenting/content_negotiation/
    """
    qualities = dict.fromkeys(Exposition, 0.0)
    for name, parameters, quality in _parsed(accept):
        if found := _exposition(name, parameters, native):
            qualities[found] = max(qualities[found], quality)
    # Of those that it likes as much, the one that has more.
    best = max(reversed(Exposition), key=lambda each: qualities[each])
    gzip = {name: quality for name, _, quality in _parsed(accept_encoding)}
    return Format(
        best if qualities[best] > 0 else Exposition.TEXT,
        gzip.get("gzip", gzip.get("x-gzip", gzip.get("*", 0.0))) > 0,
    )


def _exposition(name: str, parameters: Mapping[str, str], native: bool) -> Exposition | None:
    match name:
        case "application/openmetrics-text" if parameters.get("version", "1.0.0") == "1.0.0":
            return Exposition.OPENMETRICS
        case "text/plain" | "text/*" | "*/*":
            return Exposition.TEXT
        case "application/vnd.google.protobuf" if native and (
            parameters.get("proto") == _MESSAGE and parameters.get("encoding") == "delimited"
        ):
            return Exposition.PROTOBUF
    return None


def _parsed(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """The elements of a header with their parameters and their quality (RFC 9110, 12.4.2)."""
    for element in header.split(","):
        name, *rest = element.split(";")
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        yield name.strip().lower(), parameters, quality
