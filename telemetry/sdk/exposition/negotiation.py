"""From a request's headers to the format of the answer."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

Headers = Iterable[tuple[bytes, bytes]]
"""A request's headers as ASGI has them: names in lower case, and values."""

_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_MAX_LENGTH = 4096


class Format(NamedTuple):
    """How a page is written: in OpenMetrics 1.0 or text 0.0.4, and whether with gzip."""

    openmetrics: bool
    compressed: bool

    @property
    def headers(self) -> dict[str, str]:
        """The response headers that describe a page of this format."""
        return {
            "content-type": _OPENMETRICS if self.openmetrics else _TEXT,
            "vary": "Accept, Accept-Encoding",
            **({"content-encoding": "gzip"} if self.compressed else {}),
        }


def header(headers: Headers, name: bytes) -> bytes:
    """All values of one header, as one list.

    Only the first 4,096 bytes: some servers take headers of any length, and to parse megabytes
    would hold up other requests for seconds.
    """
    return b",".join(value for each, value in headers if each == name)[:_MAX_LENGTH]


def format_for(accept: str, accept_encoding: str) -> Format:
    """The format that the client prefers; text 0.0.4 where it names none that there is.

    https://prometheus.io/docs/instrumenting/content_negotiation/
    """
    openmetrics = text = 0.0
    for name, parameters, quality in _parsed(accept):
        if name == "application/openmetrics-text":
            if parameters.get("version", "1.0.0") == "1.0.0":
                openmetrics = max(openmetrics, quality)
        elif name in ("text/plain", "text/*", "*/*"):
            text = max(text, quality)
    gzip = {name: quality for name, _, quality in _parsed(accept_encoding)}
    return Format(
        openmetrics > 0 and openmetrics >= text,
        gzip.get("gzip", gzip.get("x-gzip", gzip.get("*", 0.0))) > 0,
    )


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
