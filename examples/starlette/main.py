"""Starlette without FastAPI: ``uvicorn main:app --workers 2``, and /metrics has the sum of both."""

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

import telemetry


async def item(request: Request) -> JSONResponse:
    """Answer with what was asked for."""
    return JSONResponse({"item": request.path_params["name"]})


async def clock(socket: WebSocket) -> None:
    """Send three ticks, and close."""
    await socket.accept()
    for tick in range(3):
        await socket.send_json(tick)
        await asyncio.sleep(0.1)
    await socket.close()


app = Starlette(
    routes=[
        Mount("/v1", routes=[Route("/items/{name}", item)]),
        WebSocketRoute("/clock", clock),
    ]
)
telemetry.instrument(app)
