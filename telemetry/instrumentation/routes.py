"""From a request's scope to the template of its route."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from re import Pattern
from typing import Any

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import BaseRoute, Host, Mount, WebSocketRoute
from starlette.types import Scope

UNMATCHED = "unmatched"
"""The path of every request that no route matched. No template equals it: they begin with "/"."""

_MOST_UNKNOWN = 1_000
_ANYTHING = re.compile("")
_NOTHING = re.compile("(?!)")


@dataclass(frozen=True, slots=True)
class _Template:
    """One route with the mounts above it.

    `text` is what is shown, `mounts` and `pattern` match the request's path step by step,
    `methods` are the route's own (None: all), `handled_by` is what routing leaves in the scope.
    """

    text: str
    mounts: tuple[Pattern[str], ...]
    pattern: Pattern[str]
    methods: frozenset[str] | None
    handled_by: tuple[object, ...]

    def matches(self, path: str) -> bool:
        for mount in self.mounts:
            match = mount.match(path)
            if match is None:
                return False
            path = "/" + match["path"]
        return self.pattern.match(path) is not None


class RouteTemplates:
    """The templates of an application's routes, included and mounted ones among them.

    Routing has already found the route by the time a request ends, and leaves it in the
    scope; it only lacks the prefixes above it. So the templates are laid out once, by the
    route that they belong to, and looked up. Only a request that was answered before
    routing (by a middleware) is matched against the templates.

    Parameters:
        routes: The application's own list of routes. It is read when the first request
            ends, and once more when a route turns up that was not there before.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes = routes
        self._size = -1
        self._templates: list[_Template] = []
        self._by_handler: dict[int, list[_Template]] = {}
        self._unknown: dict[int, object] = {}

    def of(self, scope: Scope, status: int | None = None) -> str:
        """The template of the route that a request asked for, or `UNMATCHED`.

        Parameters:
            scope: The request's ASGI scope, as routing has left it.
            status: The status of the response where one was started.
        """
        handler = scope.get("route") or scope.get("endpoint")
        if handler is not None:
            found = self._by_handler.get(id(handler))
            if found is None:
                found = self._look_again(handler)
            if len(found) == 1:
                return found[0].text
            if found:
                path = _path_below_root(scope)
                return next((each.text for each in found if each.matches(path)), UNMATCHED)
            if status == 404:
                return UNMATCHED
        elif "router" in scope:
            return UNMATCHED
        return self._search(scope)

    def _search(self, scope: Scope) -> str:
        if len(self._routes) != self._size:
            self._read()
        path = _path_below_root(scope)
        partial = UNMATCHED
        for template in self._templates:
            if template.matches(path):
                if template.methods is None or scope["method"] in template.methods:
                    return template.text
                if partial is UNMATCHED:
                    partial = template.text
        return partial

    def _look_again(self, handler: object) -> list[_Template]:
        if id(handler) in self._unknown:
            return []
        self._read()
        found = self._by_handler.get(id(handler), [])
        if not found:
            if len(self._unknown) >= _MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[id(handler)] = handler
        return found

    def _read(self) -> None:
        templates = list(_walk(self._routes, "", (), ()))
        by_handler: dict[int, list[_Template]] = {}
        for template in templates:
            for handler in template.handled_by:
                by_handler.setdefault(id(handler), []).append(template)
        self._size = len(self._routes)
        self._templates = templates
        self._by_handler = by_handler


def _walk(
    routes: Sequence[BaseRoute],
    prefix: str,
    mounts: tuple[Pattern[str], ...],
    above: tuple[object, ...],
) -> Iterator[_Template]:
    for context in iter_route_contexts(routes):
        route = context.original_route
        if isinstance(route, Mount | Host):
            yield from _walk_below(context, prefix, mounts, above)
        elif not isinstance(route, WebSocketRoute) and hasattr(context, "path_regex"):
            yield _Template(
                text=prefix + (context.path or ""),
                mounts=mounts,
                pattern=context.path_regex,
                methods=None if context.methods is None else frozenset(context.methods),
                handled_by=(route, context.endpoint),
            )


def _walk_below(
    context: RouteContext,
    prefix: str,
    mounts: tuple[Pattern[str], ...],
    above: tuple[object, ...],
) -> Iterator[_Template]:
    pattern = _NOTHING
    if isinstance(context.original_route, Mount):
        prefix += context.path or ""
        mounts = (*mounts, context.path_regex)
        pattern = _ANYTHING
    app, routes = _routes_of(context.app)
    if any(app is each for each in above):
        return
    if routes:
        yield from _walk(routes, prefix, mounts, (*above, app))
    else:
        # Static files, or an application whose routes cannot be seen.
        yield _Template(UNMATCHED, mounts, pattern, None, (context.app,))


def _routes_of(app: Any) -> tuple[Any, Sequence[BaseRoute]]:
    """An application and its routes, looked for through the middleware that wraps it."""
    seen = set[int]()
    while not hasattr(app, "routes") and hasattr(app, "app") and id(app) not in seen:
        seen.add(id(app))
        app = app.app
    return app, getattr(app, "routes", [])


def _path_below_root(scope: Scope) -> str:
    """The path as routes see it, without the root path that the server put before it.

    Mounts move ``root_path`` on and keep what it was at first in ``app_root_path``.
    """
    path: str = scope["path"]
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    if root and (path == root or path.startswith(root.rstrip("/") + "/")):
        return path[len(root.rstrip("/")) :]
    return path
