"""The labels of request metrics that clients have a say in, each with few values."""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

OTHER = "_OTHER"
"""What every value is called that was not declared, as the semantic conventions call methods."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_TAKEN = frozenset({"method", "path", "status_code", "le", "job", "instance", "process_pid"})

# Those of RFC 9110, PATCH (RFC 5789) and QUERY (RFC 10008).
_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)

Pairs = tuple[tuple[str, str], ...]
"""Labels as names and values, to be counted by."""


@dataclass(frozen=True, slots=True)
class RequestLabel:
    """A label whose value differs from request to request.

    Parameters:
        values: All values that it may take. Anything else, nothing at all included, is shown as
            ``_OTHER``, so that no client can make series.
        header: The request header that it is read from. Without one, an endpoint sets it with
            `telemetry.set_label`; it may do so with a header as well.
    """

    values: Collection[str]
    header: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not all(isinstance(each, str) for each in self.values):
            raise TypeError(f"values takes a list of strings: {self.values!r}")
        if self.header is not None and not isinstance(self.header, str):
            raise TypeError(f"header takes the name of a request header: {self.header!r}")


class Labels:
    """The labels that an application declares; those that are constant are its own as well."""

    def __init__(self, declared: Mapping[str, "str | RequestLabel"]) -> None:
        if not isinstance(declared, Mapping):
            raise TypeError(f"labels takes a mapping of names to values: {declared!r}")
        self.constant: Pairs = ()
        self._declared: dict[str, frozenset[str]] = {}
        self._headers: dict[bytes, str] = {}
        for name, value in declared.items():
            if not isinstance(name, str) or not isinstance(value, str | RequestLabel):
                raise TypeError(
                    f"labels[{name!r}] takes a string or telemetry.RequestLabel: {value!r}"
                )
            if not _NAME.fullmatch(name) or name.startswith("__"):
                raise ValueError(f"labels: {name!r} is not the name of a Prometheus label")
            if name in _TAKEN:
                raise ValueError(f"labels: {name!r} is taken; choose another name")
            if isinstance(value, str):
                self.constant += ((name, value),)
                continue
            self._declared[name] = frozenset(value.values)
            if value.header is not None:
                self._headers[value.header.lower().encode("latin-1")] = name
        self._others = dict.fromkeys(self._declared, OTHER)

    def of(self, headers: Collection[tuple[bytes, bytes]], given: Mapping[str, str]) -> Pairs:
        """The labels of one request."""
        if not self._declared:
            return self.constant
        found = self._others.copy()
        for header, value in headers:
            if (name := self._headers.get(header)) is not None:
                text = value.decode("latin-1")
                found[name] = text if text in self._declared[name] else OTHER
        found.update(given)
        return self.constant + tuple(found.items())

    def checked(self, name: str, value: Any) -> str:
        """A value that an endpoint sets, or ``_OTHER``; a ValueError if there is no such label."""
        values = self._declared.get(name)
        if values is None:
            declared = ", ".join(self._declared) or "none"
            raise ValueError(
                f"{name!r} was not declared in telemetry.instrument(labels=...) as a "
                f"RequestLabel; declared are: {declared}"
            )
        return value if isinstance(value, str) and value in values else OTHER


def known_methods() -> frozenset[str]:
    """The methods that are shown by their own name, as the environment may list them.

    See ``http.request.method`` in
    https://opentelemetry.io/docs/specs/semconv/registry/attributes/http/.
    """
    given = os.environ.get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "")
    return frozenset(name.strip() for name in given.split(",") if name.strip()) or _METHODS
