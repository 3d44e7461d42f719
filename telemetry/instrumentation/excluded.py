"""What is not to be counted."""

import logging
import os
import re
from collections.abc import Callable, Collection

from opentelemetry.util.http import parse_excluded_urls
from starlette.datastructures import URL
from starlette.types import Scope

from telemetry.instrumentation.routes import path_below

_logger = logging.getLogger(__name__)

_VARIABLES = ("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS")


def urls_excluded() -> Callable[[str], bool] | None:
    """Tells of a URL whether it is excluded, or None where no variable excludes any.

    ``OTEL_PYTHON_FASTAPI_EXCLUDED_URLS`` or, where that is not set,
    ``OTEL_PYTHON_EXCLUDED_URLS`` lists regular expressions, separated by commas, that are
    searched for in the URL; see
    https://opentelemetry.io/docs/zero-code/python/configuration/#excluded-urls. An invalid
    expression is logged in one line and excludes nothing.
    """
    variable = next((each for each in _VARIABLES if os.environ.get(each)), None)
    # An empty expression, as a comma at the end makes one, would match every URL.
    listed = os.environ[variable].split(",") if variable else []
    expressions = [each for each in listed if each.strip()]
    if variable is None or not expressions:
        return None
    try:
        return parse_excluded_urls(",".join(expressions)).url_disabled
    except re.error as error:
        _logger.error(
            "%s=%s: not a regular expression (%s); nothing is excluded",
            variable,
            os.environ[variable],
            error,
        )
        return None


def url_of(scope: Scope) -> str:
    """The URL of a request without its query, which the expressions are searched for in."""
    return str(URL(scope=scope).replace(query=""))


def excluding(
    paths: Collection[str], urls: Callable[[str], bool] | None
) -> Callable[[Scope], bool]:
    """Tells of a request that has not been routed yet whether it is excluded.

    Parameters:
        paths: Paths, without placeholders.
        urls: What `urls_excluded` returns.
    """
    paths = frozenset(paths)

    def excludes(scope: Scope) -> bool:
        if path_below(scope.get("root_path", ""), scope["path"]) in paths:
            return True
        return urls is not None and urls(url_of(scope))

    return excludes
