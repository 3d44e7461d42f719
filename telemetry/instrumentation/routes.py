"""From a request's scope to the template of its route."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from re import Pattern
from time import monotonic
from typing import Any

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Host, Mount, WebSocketRoute
from starlette.types import Scope

from telemetry.versions import routes_in_full

UNMATCHED = "unmatched"
"""The path of every request that no route matched. No template equals it: they begin with "/"."""

BELOW = "/{path}"
"""The end of a template below which no routes are visible, as for static files. FastAPI's own
``http.route`` has the same."""

_MAX_UNKNOWN = 1_000
_MAX_AGE = 1.0
_ANYTHING = re.compile("")
_OnRead = Callable[[Iterable[object]], object]


@dataclass(frozen=True, slots=True)
class _Template:
    """One route with the mounts above it, or the end of a mount.

    `text` is shown for `path`; `methods` and `websocket` are None where it takes all of them;
    `handled_by` is what routing leaves in the scope; after a match of the `last` one the router
    looks no further.
    """

    path: str
    text: str
    host: Pattern[str]
    mounts: tuple[Pattern[str], ...]
    pattern: Pattern[str]
    methods: Collection[str] | None
    handled_by: tuple[object, ...]
    websocket: bool | None = None
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
    """The templates of a router's routes, included and mounted ones among them.

    Routing leaves the route in the scope, which only lacks the prefixes above it. So the templates
    are laid out once and looked up by route. Only a request that was answered before routing (by
    a middleware) is matched against them. `mounted` are applications and where they are mounted.
    `by_route` is what others know of routes, which they look up again when the routes have changed.
    """

    def __init__(self, router: Any, on_read: _OnRead = lambda _: None) -> None:
        self._router = router
        self._on_read = on_read
        self._size = -1
        self._read_at = float("-inf")
        self._templates: list[_Template] = []
        self._by_handler: dict[int, list[_Template]] = {}
        self._unknown: dict[int, object] = {}
        self.mounted: list[tuple[Any, str]] = []
        self.by_route: dict[Any, Any] = {}

    def refresh(self) -> None:
        """Read the templates again where there are more routes, or fewer."""
        if len(self._router.routes) != self._size:
            self.read()

    def has_one_for(self, route: object) -> bool:
        """Whether a route has a single template, whatever path was asked for."""
        return len(self._by_handler.get(id(route), ())) == 1

    def of(self, scope: Scope, root_path: str, status: int | None = None) -> str:
        """The template of the route that a connection asked for, or `UNMATCHED`."""
        self.refresh()
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
            self.read()
        return _first(self._templates, scope, root_path)

    def has(self, path: str) -> bool:
        """Whether there is a route for requests, or a mount, of exactly this path."""
        self.read()
        return any(
            template.path.rstrip("/") == path
            for template in self._templates
            if not template.websocket
        )

    def read(self) -> None:
        """Lay out the templates of the routes that there are now."""
        routes = self._router.routes
        self.mounted = []
        templates = list(self._walk(routes, _Above()))
        by_handler: dict[int, list[_Template]] = {}
        for template in templates:
            for handler in template.handled_by:
                by_handler.setdefault(id(handler), []).append(template)
        self._templates = templates
        self._by_handler = by_handler
        self.by_route.clear()
        self._read_at = monotonic()
        self._size = len(routes)
        self._on_read(app for app, _ in self.mounted)

    def _look_again(self, handler: object) -> list[_Template]:
        if id(handler) in self._unknown:
            return []
        self.read()
        found = self._by_handler.get(id(handler), [])
        if not found:
            if len(self._unknown) >= _MAX_UNKNOWN:
                self._unknown.clear()
            self._unknown[id(handler)] = handler
        return found

    def _walk(self, routes: Sequence[BaseRoute], above: "_Above") -> Iterator[_Template]:
        for route, full in routes_in_full(routes):
            path = above.path + (getattr(full, "path", None) or "")
            if isinstance(route, Host):
                yield from self._walk_below(full.app, replace(above, host=full.host_regex))
            elif isinstance(route, Mount):
                mounts = (*above.mounts, full.path_regex)
                yield from self._walk_below(full.app, replace(above, path=path, mounts=mounts))
            elif hasattr(full, "path_regex"):
                yield _Template(
                    path,
                    path,
                    above.host,
                    above.mounts,
                    full.path_regex,
                    getattr(full, "methods", None),
                    (route, getattr(full, "endpoint", None)),
                    isinstance(route, WebSocketRoute),
                )

    def _walk_below(self, mounted: Any, above: "_Above") -> Iterator[_Template]:
        app, routes = _routes_of(mounted)
        if any(app is each for each in above.apps):
            return
        self.mounted.append((app, above.path))
        yield from self._walk(routes, replace(above, apps=(*above.apps, app)))
        path = above.path if above.mounts else ""
        # Without routes: static files, or an application whose routes cannot be seen.
        text, handled_by = (UNMATCHED, ()) if routes else (above.path + BELOW, (mounted,))
        yield _Template(
            path, text, above.host, above.mounts, _ANYTHING, None, handled_by, last=True
        )


class CountedPaths:
    """The path that each connection of an application is counted under, if it is counted.

    It has the prefixes of everything that the application is mounted in, measured or not.
    """

    def __init__(self, router: Any, excluded: Collection[str], on_read: _OnRead) -> None:
        self.router = router
        self.excluded = frozenset(excluded)
        self.templates = RouteTemplates(router, on_read)
        self.by_route = self.templates.by_route
        self._outer: dict[int, RouteTemplates] = {}

    def is_settled(self, scope: Scope, route: object) -> bool:
        """Whether all connections that reach this route are counted under the same path."""
        return scope.get("router") is self.router and self.templates.has_one_for(route)

    def of(self, scope: Scope, root_path: str, status: int | None = None) -> str | None:
        """The template that a connection is counted under, `UNMATCHED`, or None if excluded."""
        # Starlette leaves the outermost router there, and the root path that it was reached with.
        router = scope.get("router", self.router)
        if router is self.router:
            path = self.templates.of(scope, root_path, status)
            return None if path in self.excluded else path
        templates = self._outer.get(id(router))
        if templates is None:
            templates = self._outer[id(router)] = RouteTemplates(router)
        path = templates.of(scope, scope.get("app_root_path", root_path), status)
        prefixes = (
            at for app, at in templates.mounted if getattr(app, "router", app) is self.router
        )
        return None if any(path.removeprefix(at) in self.excluded for at in prefixes) else path


@dataclass(frozen=True, slots=True)
class _Above:
    """What stands above routes: the mounts' path and patterns, a host, and the applications."""

    path: str = ""
    host: Pattern[str] = _ANYTHING
    mounts: tuple[Pattern[str], ...] = ()
    apps: tuple[object, ...] = ()


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
    websocket = scope["type"] == "websocket"
    partial: _Template | None = None
    for template in templates:
        if template.websocket is not None and template.websocket != websocket:
            continue
        if not template.matches(host, path):
            continue
        if template.last and partial is not None and partial.is_below(template):
            return partial.text
        if template.methods is None or scope.get("method") in template.methods:
            return template.text
        partial = partial or template
    return UNMATCHED if partial is None else partial.text


def _routes_of(app: Any) -> tuple[Any, Sequence[BaseRoute]]:
    """An application and its routes, looked for through the middleware that wraps it."""
    seen = set[int]()
    while not hasattr(app, "routes") and hasattr(app, "app") and id(app) not in seen:
        seen.add(id(app))
        app = app.app
    routes = getattr(app, "routes", ())
    return app, routes if isinstance(routes, list | tuple) else ()


def path_below(root_path: str, path: str) -> str:
    """The path as routes see it, without the root path that the server put before it."""
    if root_path and path.startswith(root_path):
        below = path[len(root_path) :]
        if below == "" or below[0] == "/":
            return below
    return path
