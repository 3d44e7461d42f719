"""What is not worth a line in the access log."""

import logging
from typing import Any

HEALTH_CHECK = "/openapi.json"
"""What health checks ask for: a path that is not counted, either."""


class NoHealthChecks(logging.Filter):
    """Leaves health checks that succeed out of uvicorn's access log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether uvicorn's record of a request is to be logged."""
        arguments: Any = record.args
        _client, _method, path, _version, status = arguments
        return not (path == HEALTH_CHECK and status == 200)


def without_health_checks(log_config: dict[str, Any]) -> None:
    """Add the filter to uvicorn's own logging configuration."""
    log_config["filters"] = {"health_checks": {"()": NoHealthChecks}}
    # Of the logger, not of its handler: they are not exported, either.
    log_config["loggers"]["uvicorn.access"]["filters"] = ["health_checks"]
