"""Who may see the metrics."""

import hmac
import os
from collections.abc import Callable

from telemetry.quiet import quiet_logger

_logger = quiet_logger(__name__)

METRICS_TOKEN = "TELEMETRY_METRICS_TOKEN"
"""The environment variable with the token that a scrape must bring, in Prometheus's configuration
``authorization: {credentials_file: ...}``. OpenTelemetry has none for it."""

DENIED = (
    "The metrics need the header: Authorization: Bearer <the value of TELEMETRY_METRICS_TOKEN>\n"
)
"""What a scrape without the token is told, with status 401."""

CHALLENGE = {"www-authenticate": "Bearer"}
"""The header of that answer, by RFC 6750."""


def guard() -> Callable[[bytes], bool]:
    """Tells of a scrape's ``Authorization`` header whether it may see the metrics.

    Every scrape may where ``TELEMETRY_METRICS_TOKEN`` is not set, and none where it is empty:
    then a secret is missing that should have been there, and a log line says so.
    """
    setting = os.environ.get(METRICS_TOKEN)
    if setting is None:
        return lambda _: True
    # Compared as bytes: of text, only ASCII can be compared in constant time.
    token = os.fsencode(setting.strip())
    if not token:
        _logger.error(
            "%s is empty: /metrics answers 401 to everybody. Give it a token, or unset it.",
            METRICS_TOKEN,
        )
        return lambda _: False

    def allowed(authorization: bytes) -> bool:
        scheme, _, given = authorization.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token)

    return allowed
