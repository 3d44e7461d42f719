"""WebSockets of a real uvicorn, with a real client that is polite, rude, or killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.processes import ROOT, Service, service, wait_for
from tests.support.series import total, values

APP = """
import asyncio
from fastapi import APIRouter, Depends, FastAPI, WebSocket, WebSocketException
import telemetry

app = FastAPI()
telemetry.instrument(app, excluded_paths=[*telemetry.DEFAULT_EXCLUDED_PATHS, "/excluded/{i}"])
router = APIRouter(prefix="/{tenant}")

@app.websocket("/closes/{code}")
async def closes(websocket: WebSocket, code: int) -> None:
    await websocket.accept()
    await websocket.receive_text()
    await websocket.close(code)

@router.websocket("/echo/{i}")
async def echo(websocket: WebSocket, i: int) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)

@app.websocket("/ticks")
async def ticks(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text("tick")
        await asyncio.sleep(0.01)

@app.websocket("/fails")
async def fails(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()
    raise RuntimeError("no")

@app.websocket("/fails_before")
async def fails_before(websocket: WebSocket) -> None:
    raise RuntimeError("no")

@app.websocket("/refuses")
async def refuses(websocket: WebSocket) -> None:
    await websocket.close()

@app.websocket("/excluded/{i}")
async def excluded(websocket: WebSocket, i: int) -> None:
    await websocket.accept()
    await websocket.close()

below = FastAPI()
below.add_api_websocket_route("/echo/{i}", echo)
telemetry.instrument(below)
app.mount("/below", below)
app.include_router(router)
"""
OPEN, OPENED = "app_websockets_open", "app_websockets_opened_total"
CLOSED, DURATION = "app_websockets_closed_total", "app_websockets_duration_seconds"
ECHO = "/{tenant}/echo/{i}"


@pytest.fixture(scope="module", params=["websockets", "wsproto"])
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("websockets")
    (folder / "served.py").write_text(APP)
    command = (sys.executable, "-m", "uvicorn", "--ws", request.param, "served:app")
    environment = {"PYTHONPATH": f"{ROOT}:{folder}"}
    with service(folder, command=command, environment=environment, cwd=folder) as running:
        running.url = f"http://127.0.0.1:{running.port}"
        yield running


def address(app: Service, path: str) -> str:
    return f"ws://127.0.0.1:{app.port}{path}"


def closed(app: Service, path: str) -> dict[str, float]:
    """How many have ended, by close code."""
    shown = values(app.series(), CLOSED)
    return {code: count for (code, each), count in shown.items() if each == path}


def wait_closed(app: Service, path: str, code: str, count: float = 1) -> None:
    wait_for(lambda: closed(app, path).get(code) == count, f"{path}: {count} with {code}")


def test_open_ones_by_route_and_how_long_they_were(app: Service) -> None:
    before = total(app.series(), f"{DURATION}_count", path=ECHO)
    with ExitStack() as stack:
        for i in range(3):
            connection = stack.enter_context(connect(address(app, f"/shop{i}/echo/{i}")))
            connection.send("hello")
            assert connection.recv() == "hello"
        series = app.series()
        assert total(series, OPEN, path=ECHO) == 3
        assert total(series, OPENED, path=ECHO) == before + 3
    wait_for(lambda: total(app.series(), OPEN, path=ECHO) == 0, "none is open")
    series = app.series()
    assert total(series, f"{DURATION}_count", path=ECHO) == before + 3
    assert total(series, f"{DURATION}_sum", path=ECHO) > 0
    assert closed(app, ECHO)["1000"] >= 3


@pytest.mark.parametrize(
    ("sent", "shown"), [(1000, "1000"), (1008, "1008"), (4321, "_OTHER"), (3000, "_OTHER")]
)
def test_the_code_that_the_application_closes_with(app: Service, sent: int, shown: str) -> None:
    before = closed(app, "/closes/{code}").get(shown, 0)
    with connect(address(app, f"/closes/{sent}")) as connection:
        connection.send("go")
        with pytest.raises(ConnectionClosed):
            connection.recv()
    wait_closed(app, "/closes/{code}", shown, before + 1)


def test_the_code_of_a_client_is_one_of_few(app: Service) -> None:
    before = closed(app, ECHO).get("_OTHER", 0)
    for code in (3001, 4000, 4999):
        with connect(address(app, "/shop/echo/1")) as connection:
            connection.close(code)
    wait_closed(app, ECHO, "_OTHER", before + 3)
    codes = {code for code, _ in values(app.series(), CLOSED)}
    assert codes <= {"_OTHER", "403", "500", *map(str, range(1000, 1016))}


@pytest.mark.parametrize("path", ["/ticks", "/shop/echo/1"])
def test_a_client_that_was_killed(app: Service, path: str) -> None:
    template = ECHO if "echo" in path else path
    before = sum(count for code, count in closed(app, template).items() if code in ("1005", "1006"))
    code = (
        "import sys\nfrom websockets.sync.client import connect\n"
        f"with connect({address(app, path)!r}):\n"
        "    print('open', flush=True)\n    sys.stdin.read()\n"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"open\n"
        assert total(app.series(), OPEN, path=template) == 1
        client.kill()
    wait_for(lambda: total(app.series(), OPEN, path=template) == 0, "it is not open any more")
    after = sum(count for code, count in closed(app, template).items() if code in ("1005", "1006"))
    assert after == before + 1


@pytest.mark.parametrize(
    ("path", "shown", "status"),
    [("/refuses", "403", 403), ("/fails_before", "500", 500), ("/nowhere/x", "403", 403)],
)
def test_a_refused_handshake_was_never_open(
    app: Service, path: str, shown: str, status: int
) -> None:
    template = "unmatched" if path == "/nowhere/x" else path
    before = closed(app, template).get(shown, 0)
    with pytest.raises(InvalidStatus) as refused:
        connect(address(app, path)).__enter__()
    assert refused.value.response.status_code == status
    wait_closed(app, template, shown, before + 1)
    assert total(app.series(), OPENED, path=template) == 0


def test_an_application_that_fails(app: Service) -> None:
    with connect(address(app, "/fails")) as connection:
        connection.send("go")
        with pytest.raises(ConnectionClosed):
            connection.recv()
    wait_closed(app, "/fails", "1011")
    assert total(app.series(), OPEN, path="/fails") == 0


def test_excluded_paths_are_not_counted(app: Service) -> None:
    with connect(address(app, "/excluded/1")) as connection, pytest.raises(ConnectionClosed):
        connection.recv()
    assert not [key for key in app.series() if "excluded" in str(key)]


def test_one_of_a_mounted_application_is_counted_once(app: Service) -> None:
    template = "/below/echo/{i}"
    with connect(address(app, "/below/echo/7")):
        pass
    wait_closed(app, template, "1000")
    assert values(app.series(), OPENED)[template,] == 1


def test_strangers_cannot_make_series(app: Service) -> None:
    for number in range(30):
        with pytest.raises(InvalidStatus):
            connect(address(app, f"/x{number}/y/z")).__enter__()
        with connect(address(app, f"/x{number}/echo/{number}")):
            pass
    paths = {path for _, path in values(app.series(), CLOSED)}
    assert not [path for path in paths if path.startswith("/x")]
