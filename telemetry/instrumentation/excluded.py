"""What is not to be counted."""

import os
import re
from collections.abc import Callable, Collection

from starlette.datastructures import URL
from starlette.types import Scope

from telemetry.instrumentation.routes import path_below
from telemetry.logger import get_logger

_logger = get_logger(__name__)

_VARIABLES = ("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS")


class Excluded:
    """What is not counted, told before a request is routed.

    `by_url` tells it by the URL, and is None where no environment variable lists expressions:
    https://opentelemetry.io/docs/zero-code/python/configuration/#excluded-urls.
    """

    def __init__(self, paths: Collection[str]) -> None:
        self.paths = frozenset(paths)
        self.by_url = _by_url()

    def __call__(self, scope: Scope) -> bool:
        """Whether a request is excluded by its path or its URL."""
        path = path_below(scope.get("root_path", ""), scope["path"])
        return path in self.paths or (self.by_url is not None and self.by_url(scope))

    def expressions(self, root_path: str) -> list[str]:
        """The paths as regular expressions that are searched for in a URL."""
        return [rf"//[^/]*{re.escape(root_path + path)}$" for path in self.paths]


def _by_url() -> Callable[[Scope], bool] | None:
    variable = next((each for each in _VARIABLES if os.environ.get(each)), "")
    listed = os.environ.get(variable, "")
    # An empty expression, as a comma at the end makes one, would match every URL.
    expressions = ",".join(each for each in listed.split(",") if each.strip())
    if not expressions:
        return None
    # Most list none, and need not wait for this import.
    from opentelemetry.util.http import parse_excluded_urls

    try:
        in_url = parse_excluded_urls(expressions).url_disabled
    except re.error as error:
        _logger.error(
            "%s=%s: not a regular expression (%s); nothing is excluded", variable, listed, error
        )
        return None
    return lambda scope: in_url(str(URL(scope=scope).replace(query="")))
