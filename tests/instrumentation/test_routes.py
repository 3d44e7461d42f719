"""The template that a request is counted under, for each shape of routing."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from telemetry.instrumentation.routes import UNMATCHED, RouteTemplates
from telemetry.versions import routes_in_full
from tests.support.applications import Measured
from tests.support.versions import needs


async def answer() -> str:
    return "ok"


async def plain(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


def paths_of(app: FastAPI, *requests: str, method: str = "GET") -> set[str]:
    measured = Measured(app)
    for path in requests:
        measured.client.request(method, path, follow_redirects=False)
    return measured.paths()


def test_a_parameter() -> None:
    app = FastAPI()
    app.get("/items/{item_id}")(answer)
    assert paths_of(app, "/items/1", "/items/2") == {"/items/{item_id}"}


def test_a_converter_as_it_was_written() -> None:
    app = FastAPI()
    app.get("/files/{name:path}")(answer)
    app.add_route("/numbers/{n:int}", plain)
    assert paths_of(app, "/files/a/b/c", "/numbers/7") == {
        "/files/{name:path}",
        "/numbers/{n:int}",
    }


def test_nested_routers_with_parameters_in_their_prefixes() -> None:
    inner, outer, app = APIRouter(prefix="/v1"), APIRouter(), FastAPI()
    inner.get("/items/{i}")(answer)
    outer.include_router(inner, prefix="/{tenant}")
    app.include_router(outer, prefix="/api")
    assert paths_of(app, "/api/acme/v1/items/1") == {"/api/{tenant}/v1/items/{i}"}


def test_one_router_included_twice() -> None:
    router, app = APIRouter(), FastAPI()
    router.get("/items/{i}")(answer)
    router.add_route("/plain", plain)
    app.include_router(router, prefix="/v1")
    app.include_router(router, prefix="/{version}")
    assert paths_of(app, "/v1/items/1", "/v2/items/1", "/v1/plain", "/v3/plain") == {
        "/v1/items/{i}",
        "/{version}/items/{i}",
        "/v1/plain",
        "/{version}/plain",
    }


def test_one_endpoint_under_several_paths() -> None:
    app = FastAPI()
    app.get("/a/{x}")(app.get("/b/{x}")(answer))
    app.add_route("/c/{x}", plain)
    app.add_route("/d/{x}", plain)
    assert paths_of(app, "/a/1", "/b/1", "/c/1", "/d/1") == {"/a/{x}", "/b/{x}", "/c/{x}", "/d/{x}"}


def test_a_mounted_application_and_one_mounted_in_it() -> None:
    app, sub, deep = FastAPI(), FastAPI(), FastAPI()
    deep.get("/leaf/{i}")(answer)
    sub.get("/items/{i}")(answer)
    sub.mount("/deep/{region}", deep)
    app.mount("/sub", sub)
    assert paths_of(app, "/sub/items/1", "/sub/deep/eu/leaf/1") == {
        "/sub/items/{i}",
        "/sub/deep/{region}/leaf/{i}",
    }


def test_one_application_mounted_twice() -> None:
    app, sub = FastAPI(), FastAPI()
    sub.get("/items/{i}")(answer)
    app.mount("/one", sub)
    app.mount("/two/{which}", sub)
    assert paths_of(app, "/one/items/1", "/two/x/items/1") == {
        "/one/items/{i}",
        "/two/{which}/items/{i}",
    }


def test_mounts_of_starlette_of_routers_and_behind_middleware() -> None:
    app, wrapped, router = FastAPI(), FastAPI(), APIRouter()
    wrapped.get("/w/{i}")(answer)
    router.get("/r/{i}")(answer)
    app.mount("/starlette", Starlette(routes=[Route("/s/{i}", plain), Mount("/m", routes=[])]))
    app.mount("/wrapped", CORSMiddleware(wrapped, allow_origins=["*"]))
    app.mount("/router", router)
    assert paths_of(app, "/starlette/s/1", "/wrapped/w/1", "/router/r/1") == {
        "/starlette/s/{i}",
        "/wrapped/w/{i}",
        "/router/r/{i}",
    }


@needs("fastapi", "0.137.2")
def test_a_mount_in_an_included_router() -> None:
    app, sub, router = FastAPI(), FastAPI(), APIRouter()
    sub.get("/items/{i}")(answer)
    router.mount("/sub", sub)
    app.include_router(router, prefix="/{tenant}")
    assert paths_of(app, "/acme/sub/items/1") == {"/{tenant}/sub/items/{i}"}


def test_a_host_route() -> None:
    app, sub = FastAPI(), FastAPI()
    sub.get("/items/{i}")(answer)
    app.router.routes.append(Host("testserver", app=sub))
    assert paths_of(app, "/items/1") == {"/items/{i}"}


def test_a_root_path_is_not_part_of_the_template() -> None:
    app, sub = FastAPI(), FastAPI()
    app.get("/items/{i}")(answer)
    sub.get("/leaf/{i}")(answer)
    app.mount("/one", sub)
    app.mount("/two", sub)
    measured = Measured(app)
    client = TestClient(app, root_path="/behind/proxy")
    for path in ("/items/1", "/behind/proxy/items/1", "/behind/proxy/two/leaf/1"):
        assert client.get(path).status_code == 200
    assert client.get("/behind/proxy/docs").status_code == 200
    assert measured.paths() == {"/items/{i}", "/two/leaf/{i}"}


def test_405_and_422_have_the_route_that_was_asked_for() -> None:
    app = FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: int) -> int:
        return item_id

    measured = Measured(app)
    assert measured.client.post("/items/1").status_code == 405
    assert measured.client.get("/items/x").status_code == 422
    assert set(measured.responses()) == {
        ("POST", "/items/{item_id}", "405"),
        ("GET", "/items/{item_id}", "422"),
    }


def test_what_no_route_matched_is_one_constant() -> None:
    app, sub = FastAPI(), FastAPI()
    sub.get("/known")(answer)
    app.mount("/sub", sub)
    app.get("/items/")(answer)
    assert paths_of(app, "/nope", "/sub/nope", "/items", "/a/b/c/d") == {UNMATCHED}


def test_static_files_count_under_their_mount(tmp_path: Path) -> None:
    (tmp_path / "here.txt").write_text("here")
    app, sub = FastAPI(), FastAPI()
    sub.mount("/files", StaticFiles(directory=tmp_path))
    app.mount("/static", StaticFiles(directory=tmp_path))
    app.mount("/sub/{tenant}", sub)
    requests = ("/static/here.txt", "/static/nope.txt", "/sub/acme/files/here.txt")
    assert paths_of(app, *requests) == {"/static/{path}", "/sub/{tenant}/files/{path}"}


@needs("fastapi", "0.138.0")
@pytest.mark.parametrize(("at", "template"), [("/", "/{path}"), ("/ui", "/ui/{path}")])
def test_a_frontend_counts_under_its_path(tmp_path: Path, at: str, template: str) -> None:
    (tmp_path / "index.html").write_text("here")
    (tmp_path / "a.js").write_text("here")
    app, sub = FastAPI(), FastAPI()
    for each in (app, sub):
        each.get("/items")(answer)
        each.frontend(at, directory=tmp_path)
    app.mount("/sub", sub)
    base = at.rstrip("/")
    requests = (f"{base}/", f"{base}/a.js", f"{base}/b.js", f"/sub{base}/a.js", "/items")
    assert paths_of(app, *requests) == {template, f"/sub{template}", "/items"}


def test_an_application_without_visible_routes_counts_under_its_mount() -> None:
    async def opaque(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("ok", status_code=201)(scope, receive, send)

    app = FastAPI()
    app.mount("/opaque", opaque)
    app.router.routes.append(Host("elsewhere", app=opaque))
    measured = Measured(app)
    measured.client.get("/opaque/a")
    measured.client.get("/b", headers={"host": "elsewhere"})
    assert measured.responses() == {
        ("GET", "/opaque/{path}", "201"): 1,
        ("GET", "/{path}", "201"): 1,
    }


def test_a_route_that_is_added_after_the_first_request() -> None:
    app = FastAPI()
    app.get("/first")(answer)
    measured = Measured(app)
    measured.client.get("/first")
    app.get("/later/{i}")(answer)
    measured.client.get("/later/1")
    assert measured.paths() == {"/first", "/later/{i}"}


@pytest.mark.parametrize(
    ("path", "method", "template"),
    [
        ("/items/1", "GET", "/items/{i}"),
        ("/items/1", "OPTIONS", "/items/{i}"),
        ("/both", "POST", "/{anything}"),
        ("/sub/leaf/1", "GET", "/sub/leaf/{i}"),
        ("/static/x", "GET", "/static/{path}"),
        ("/socket", "GET", "/{anything}"),
        ("/a/b", "GET", UNMATCHED),
        ("/line\nbreak/x", "GET", UNMATCHED),
    ],
)
def test_a_request_that_was_answered_before_routing(
    path: str, method: str, template: str, tmp_path: Path
) -> None:
    app, sub = FastAPI(), FastAPI()
    app.get("/items/{i}")(answer)
    app.get("/both")(answer)
    app.websocket("/socket")(answer)
    sub.get("/leaf/{i}")(answer)
    app.mount("/sub", sub)
    app.mount("/static", StaticFiles(directory=tmp_path))
    app.api_route("/{anything}", methods=["GET", "POST"])(answer)
    scope: dict[str, Any] = {"type": "http", "path": path, "method": method, "headers": []}
    assert RouteTemplates(app.router).of(scope, "", 401) == template


class Denying:
    """Middleware that answers before routing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(name == b"x-deny" for name, _ in scope["headers"]):
            await PlainTextResponse("no", status_code=401)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def denied(measured: Measured, path: str, **headers: str) -> None:
    headers["x-deny"] = "1"
    assert measured.client.get(path, headers=headers).status_code == 401


def test_a_mount_is_the_end_of_the_search() -> None:
    app, sub = FastAPI(), FastAPI()
    sub.get("/items/")(answer)
    sub.post("/items/{i}")(answer)
    app.mount("/sub", sub)
    app.get("/{path:path}")(answer)
    app.add_middleware(Denying)
    measured = Measured(app)
    denied(measured, "/sub/nope")
    denied(measured, "/sub/items/1")
    denied(measured, "/else")
    measured.client.get("/sub/items", follow_redirects=False)
    assert measured.responses() == {
        ("GET", UNMATCHED, "401"): 1,
        ("GET", "/sub/items/{i}", "401"): 1,
        ("GET", "/{path:path}", "401"): 1,
        ("GET", UNMATCHED, "307"): 1,
    }


def test_a_host_route_is_for_its_host() -> None:
    one, two, app = FastAPI(), FastAPI(), FastAPI()
    one.get("/a/{one}")(answer)
    two.get("/{two}/{three}")(answer)
    app.host("one.example", one)
    app.host("two.example", two)
    app.get("/a/{main}")(answer)
    app.add_middleware(Denying)
    measured = Measured(app)
    for host in ("one.example", "TWO.example:80", "testserver"):
        denied(measured, "/a/1", host=host)
    assert measured.paths() == {"/a/{one}", "/{two}/{three}", "/a/{main}"}


def test_an_instrumented_application_mounted_in_one_that_is_not() -> None:
    outer, inner, router = Starlette(), Measured(), APIRouter()
    router.get("/i/{x}")(answer)
    inner.app.include_router(router, prefix="/v1")
    inner.app.include_router(router, prefix="/v2")
    inner.app.add_middleware(Denying)
    outer.mount("/sub", inner.app)
    client = TestClient(outer)
    for path in ("/sub/v1/i/1", "/sub/v2/i/1", "/sub/favicon.ico"):
        client.get(path)
    client.get("/sub/v1/i/1", headers={"x-deny": "1"})
    assert inner.responses() == {
        ("GET", "/sub/v1/i/{x}", "200"): 1,
        ("GET", "/sub/v2/i/{x}", "200"): 1,
        ("GET", "/sub/v1/i/{x}", "401"): 1,
    }


def test_one_endpoint_with_overlapping_paths_and_different_methods() -> None:
    app = FastAPI()
    app.add_route("/x/{a}", plain, methods=["GET"])
    app.add_route("/x/{b:path}", plain, methods=["POST"])
    assert paths_of(app, "/x/1", method="POST") == {"/x/{b:path}"}


def test_a_known_endpoint_under_a_path_that_is_added_later() -> None:
    app = FastAPI()
    app.add_route("/c/{x}", plain)
    measured = Measured(app)
    measured.client.get("/c/1")
    app.add_route("/d/{x}", plain)
    measured.client.get("/d/1")
    assert measured.paths() == {"/c/{x}", "/d/{x}"}


def test_routes_that_are_replaced_as_a_whole() -> None:
    measured = Measured()
    measured.app.router.routes = list(measured.app.router.routes[:2])
    measured.app.get("/i/{x}")(answer)
    measured.client.get("/i/1")
    assert measured.paths() == {"/i/{x}"}


@needs("fastapi", "0.137.2")
def test_a_nested_route_that_is_added_later_and_answered_before_routing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telemetry.instrumentation.routes._MAX_AGE", -1)
    app, router = FastAPI(), APIRouter()
    router.get("/i/{x}")(answer)
    app.include_router(router, prefix="/v1")
    app.add_middleware(Denying)
    measured = Measured(app)
    denied(measured, "/v1/i/1")
    router.get("/late/{x}")(answer)
    denied(measured, "/v1/late/1")
    assert measured.paths() == {"/v1/i/{x}", "/v1/late/{x}"}


def test_a_mounted_application_with_routes_of_another_kind() -> None:
    class Alien:
        def routes(self) -> list[str]:
            return []

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await PlainTextResponse("ok")(scope, receive, send)

    app = FastAPI()
    app.get("/i/{x}")(answer)
    app.mount("/alien", Alien())
    assert paths_of(app, "/i/1", "/alien/1") == {"/i/{x}", "/alien/{path}"}


def test_routes_are_walked_once_and_not_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    walks = 0

    def counted(routes: Any) -> Any:
        nonlocal walks
        walks += 1
        return routes_in_full(routes)

    monkeypatch.setattr("telemetry.instrumentation.routes.routes_in_full", counted)
    app = FastAPI()
    app.get("/items/{i}")(answer)
    measured = Measured(app)
    measured.client.get("/items/0")
    at_first = walks
    for path in ("/items/1", "/items/2", "/nope", "/nope/2", "/items/3"):
        measured.client.get(path)
        measured.client.post(path)
    assert walks == at_first > 0


def test_unknown_handlers_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.instrumentation.routes._MAX_UNKNOWN", 10)
    templates = RouteTemplates(APIRouter())
    for _ in range(100):
        scope = {"type": "http", "path": "/", "method": "GET", "headers": [], "endpoint": object()}
        assert templates.of(scope, "", 200) == UNMATCHED
    assert len(templates._unknown) <= 10


@pytest.mark.parametrize("status", [200, 404])
def test_a_middleware_that_copies_the_scope_does_not_lose_the_template(status: int) -> None:
    class Rewriting:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                scope = {**scope, "path": scope["path"].removeprefix("/v1")}
            await self.app(scope, receive, send)

    app, router = FastAPI(), APIRouter()

    @router.get("/items/{i}")
    async def item(i: int) -> PlainTextResponse:
        return PlainTextResponse("ok", status_code=status)

    app.include_router(router, prefix="/one")
    app.include_router(router, prefix="/two")
    app.add_middleware(Rewriting)
    measured = Measured(app)
    for path in ("/v1/one/items/1", "/v1/two/items/1", "/v1/one/items/2"):
        measured.client.get(path)
    assert measured.requests() == {
        ("GET", "/one/items/{i}"): 2,
        ("GET", "/two/items/{i}"): 1,
    }
