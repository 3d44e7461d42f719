"""The request method as a label with few values, whatever clients send."""

import os

_METHODS = "CONNECT,DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT,QUERY,TRACE"


def known_methods() -> frozenset[str]:
    """The methods that are shown by their own name.

    They are those of RFC 9110, PATCH (RFC 5789) and QUERY (RFC 10008), or, where
    ``OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`` is set, exactly the methods which that
    comma-separated, case-sensitive list names. See ``http.request.method`` in
    https://opentelemetry.io/docs/specs/semconv/registry/attributes/http/.
    """

    def listed(text: str) -> frozenset[str]:
        return frozenset(name.strip() for name in text.split(",") if name.strip())

    given = os.environ.get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "")
    return listed(given) or listed(_METHODS)
