"""Four workers behind one port, of which each shows the sum of all: see gunicorn.conf.py."""

import asyncio
import os

from fastapi import FastAPI

import telemetry

app = FastAPI()
telemetry.instrument(app, buckets=[0.01, 0.05, 0.1, 0.5, 1, 5])


@app.get("/reports/{year}")
async def report(year: int) -> dict[str, int]:
    """Take a moment, and say which worker it was."""
    await asyncio.sleep(0.02)
    return {"year": year, "worker": os.getpid()}
