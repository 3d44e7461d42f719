"""What is not to be counted."""

import os
import re
from collections.abc import Callable, Collection

from opentelemetry.util.http import parse_excluded_urls
from starlette.datastructures import URL
from starlette.types import Scope

from telemetry.instrumentation.routes import path_below
from telemetry.logger import get_logger

_logger = get_logger(__name__)

_VARIABLES = ("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS")


class Excluded:
    """What is not counted, told before a request is routed.

    ``OTEL_PYTHON_FASTAPI_EXCLUDED_URLS`` or, where that is not set,
    ``OTEL_PYTHON_EXCLUDED_URLS`` lists regular expressions, separated by commas, that are
    searched for in the URL; see
    https://opentelemetry.io/docs/zero-code/python/configuration/#excluded-urls. An invalid
    expression is logged in one line and excludes nothing.
    """

    def __init__(self, paths: Collection[str]) -> None:
        self.paths = frozenset(paths)
        self._in_urls = _expressions()

    @property
    def by_url(self) -> Callable[[Scope], bool] | None:
        """Tells of a scope whether its URL, without the query, is excluded; None where none is."""
        in_urls = self._in_urls
        if in_urls is None:
            return None
        return lambda scope: in_urls(str(URL(scope=scope).replace(query="")))

    def __call__(self, scope: Scope) -> bool:
        """Whether a request is excluded by its path or its URL."""
        by_url = self.by_url
        return path_below(scope.get("root_path", ""), scope["path"]) in self.paths or (
            by_url is not None and by_url(scope)
        )

    def expressions(self, root_path: str = "") -> list[str]:
        """The paths as regular expressions that are searched for in a URL."""
        return [rf"//[^/]*{re.escape(root_path + path)}$" for path in self.paths]


def _expressions() -> Callable[[str], bool] | None:
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
