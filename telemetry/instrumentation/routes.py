"""From a request's scope to the template of its route."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from re import Pattern
from time import monotonic
from typing import Any

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Host, Mount, Router, WebSocketRoute
from starlette.types import Scope

from telemetry.versions import routes_in_full

UNMATCHED = "unmatched"
"""The path of every request that no route matched. No template equals it: they begin with "/"."""

BELOW = "/{path}"
"""What stands in a template for all that an application without visible routes has below its mount,
static files for one. FastAPI's own ``http.route`` has the same."""

_MAX_UNKNOWN = 1_000
_MAX_AGE = 1.0
_ANYTHING = re.compile("")


@dataclass(frozen=True, slots=True)
class _Template:
    """One route with the mounts above it, or the end of a mount.

    `path` is the route's full path and `text` what is shown for it; `host`, `mounts` and
    `pattern` match a request step by step; `methods` are the route's own (None: all);
    `handled_by` is what routing leaves in the scope; `last` says that the router looks no
    further once this one has matched.
    """

    path: str
    text: str
    host: Pattern[str]
    mounts: tuple[Pattern[str], ...]
    pattern: Pattern[str]
    methods: frozenset[str] | None
    handled_by: tuple[object, ...]
    last: bool = False

    def matches(self, host: str, path: str) -> bool:
        if self.host is not _ANYTHING and not self.host.match(host):
            return False
        for mount in self.mounts:
            match = mount.match(path)
            if match is None:
                return False
            path = "/" + match["path"]
        return self.pattern.match(path) is not None

    def is_below(self, other: "_Template") -> bool:
        return self.host is other.host and self.mounts[: len(other.mounts)] == other.mounts


class RouteTemplates:
    """The templates of an application's routes, included and mounted ones among them.

    Routing has already found the route by the time a request ends, and leaves it in the
    scope; it only lacks the prefixes above it. So the templates are laid out once, by the
    route that they belong to, and looked up. Only a request that was answered before
    routing (by a middleware) is matched against the templates.

    Parameters:
        router: Has the application's ``routes``. They are read when the first request ends,
            and again when there are others.
        websockets: Whether the templates are those of WebSockets instead of requests.
    """

    def __init__(self, router: Router, *, websockets: bool = False) -> None:
        self._router = router
        self._websockets = websockets
        self._size = -1
        self._read_at = float("-inf")
        self._templates: list[_Template] = []
        self._by_handler: dict[int, list[_Template]] = {}
        self._unknown: dict[int, object] = {}

    def of(self, scope: Scope, root_path: str, status: int | None = None) -> str:
        """The template of the route that a request asked for, or `UNMATCHED`.

        Parameters:
            scope: The request's ASGI scope, as routing has left it.
            root_path: The scope's ``root_path`` as it was before: mounts move it on.
            status: The status of the response where one was started.
        """
        if len(self._router.routes) != self._size:
            self._read()
        handler = scope.get("route") or scope.get("endpoint")
        if handler is not None:
            found = self._by_handler.get(id(handler))
            if found is None:
                found = self._look_again(handler)
            if len(found) == 1:
                return found[0].text
            if found:
                return _first(found, scope, root_path)
        if (frontend := _frontend(scope, root_path)) is not None:
            return frontend
        if status == 404 if handler is not None else "router" in scope:
            return UNMATCHED
        if monotonic() - self._read_at > _MAX_AGE:
            self._read()
        return _first(self._templates, scope, root_path)

    def has(self, path: str) -> bool:
        """Whether there is a route or a mount of exactly this path."""
        self._read()
        return any(template.path.rstrip("/") == path for template in self._templates)

    def _look_again(self, handler: object) -> list[_Template]:
        if id(handler) in self._unknown:
            return []
        self._read()
        found = self._by_handler.get(id(handler), [])
        if not found:
            if len(self._unknown) >= _MAX_UNKNOWN:
                self._unknown.clear()
            self._unknown[id(handler)] = handler
        return found

    def _read(self) -> None:
        routes = self._router.routes
        templates = list(_walk(routes, "", _ANYTHING, (), (), self._websockets))
        by_handler: dict[int, list[_Template]] = {}
        for template in templates:
            for handler in template.handled_by:
                by_handler.setdefault(id(handler), []).append(template)
        self._templates = templates
        self._by_handler = by_handler
        self._read_at = monotonic()
        self._size = len(routes)


def _frontend(scope: Scope, root_path: str) -> str | None:
    """The template of the files that `FastAPI.frontend` serves, if it has answered."""
    below = (scope.get("fastapi") or {}).get("frontend_path")
    if below is None:
        return None
    path = path_below(root_path, scope["path"])
    return path[: len(path) - len(below)].rstrip("/") + BELOW


def _first(templates: Sequence[_Template], scope: Scope, root_path: str) -> str:
    """What a router would choose: the first for the path and the method, or for the path."""
    path = path_below(root_path, scope["path"])
    host = Headers(scope=scope).get("host", "").rsplit(":", 1)[0].lower()
    partial: _Template | None = None
    for template in templates:
        if not template.matches(host, path):
            continue
        if template.last and partial is not None and partial.is_below(template):
            return partial.text
        if template.methods is None or scope["method"] in template.methods:
            return template.text
        partial = partial or template
    return UNMATCHED if partial is None else partial.text


def _walk(
    routes: Sequence[BaseRoute],
    prefix: str,
    host: Pattern[str],
    mounts: tuple[Pattern[str], ...],
    above: tuple[object, ...],
    websockets: bool,
) -> Iterator[_Template]:
    for route, full in routes_in_full(routes):
        path = prefix + (getattr(full, "path", None) or "")
        if isinstance(route, Host):
            yield from _walk_below(full.app, prefix, full.host_regex, mounts, above, websockets)
        elif isinstance(route, Mount):
            below = (*mounts, full.path_regex)
            yield from _walk_below(full.app, path, host, below, above, websockets)
        elif isinstance(route, WebSocketRoute) == websockets and hasattr(full, "path_regex"):
            methods = getattr(full, "methods", None)
            known = None if methods is None else frozenset(methods)
            handled_by = (route, getattr(full, "endpoint", None))
            yield _Template(path, path, host, mounts, full.path_regex, known, handled_by)


def _walk_below(
    mounted: Any,
    prefix: str,
    host: Pattern[str],
    mounts: tuple[Pattern[str], ...],
    above: tuple[object, ...],
    websockets: bool,
) -> Iterator[_Template]:
    app, routes = _routes_of(mounted)
    if any(app is each for each in above):
        return
    yield from _walk(routes, prefix, host, mounts, (*above, app), websockets)
    path = prefix if mounts else ""
    if routes:
        yield _Template(path, UNMATCHED, host, mounts, _ANYTHING, None, (), last=True)
    else:
        # Static files, or an application whose routes cannot be seen.
        yield _Template(path, prefix + BELOW, host, mounts, _ANYTHING, None, (mounted,), last=True)


def _routes_of(app: Any) -> tuple[Any, Sequence[BaseRoute]]:
    """An application and its routes, looked for through the middleware that wraps it."""
    seen = set[int]()
    while not hasattr(app, "routes") and hasattr(app, "app") and id(app) not in seen:
        seen.add(id(app))
        app = app.app
    routes = getattr(app, "routes", ())
    return app, routes if isinstance(routes, list | tuple) else ()


def path_below(root_path: str, path: str) -> str:
    """The path as routes see it, without the root path that the server put before it.

    Parameters:
        root_path: The scope's ``root_path``.
        path: The scope's ``path``, which need not begin with it:
            https://asgi.readthedocs.io/en/latest/specs/www.html#http-connection-scope.
    """
    if root_path and path.startswith(root_path):
        below = path[len(root_path) :]
        if below == "" or below[0] == "/":
            return below
    return path
