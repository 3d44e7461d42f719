"""An app worth a picture: most paths are fast, one is slow, and one fails for the last minutes."""

import asyncio
import os
import random
import time

from fastapi import FastAPI, HTTPException

import telemetry

BEGAN = time.monotonic()
FAILS_AFTER = float(os.environ.get("FAILS_AFTER", "inf"))

PATHS = {
    "/products": 0.02,
    "/products/{item}": 0.01,
    "/search": 0.12,
    "/cart": 0.02,
    "/cart/{item}": 0.01,
    "/checkout": 0.06,
    "/orders": 0.03,
    "/orders/{item}": 0.02,
    "/reports/monthly": 0.45,
    "/profile": 0.01,
}
"""Each path with the mean of its durations in seconds."""

app = FastAPI()
telemetry.instrument(app)


def _add(path: str, mean: float) -> None:
    @app.get(path)
    async def answer(item: int = 0) -> dict[str, int]:
        await asyncio.sleep(random.expovariate(1 / mean))
        failing = path == "/checkout" and time.monotonic() - BEGAN > FAILS_AFTER
        if random.random() < (0.7 if failing else 0.0002):
            raise HTTPException(503)
        if item > 90:
            raise HTTPException(404)
        return {"item": item}


for _path, _mean in PATHS.items():
    _add(_path, _mean)
