"""A FastAPI app with metrics: everything that it takes is on this page."""

import asyncio
import itertools
import random

from fastapi import FastAPI
from opentelemetry import metrics

import telemetry

app = FastAPI(title="FastAPI OpenTelemetry metrics", redirect_slashes=False)

# Requests, responses, durations and memory are measured from here on, and /metrics shows them.
telemetry.instrument(app)

# A metric of our own: ask for a meter, make an instrument, use it.
meter = metrics.get_meter("app")
increase_count_calls = meter.create_counter(
    "app_increase_count", description="Calls of /increase_count."
)
increase_count_calls.add(0)  # Shown as 0 before the first call, not as missing.
count = itertools.count(1)


@app.get("/")
async def read_root() -> dict[str, str]:
    """Greet."""
    return {"message": "Hello World"}


@app.get("/random_sleep")
async def random_sleep() -> dict[str, float]:
    """Sleep between 0.1 and 0.5 seconds, so that there is something to see."""
    process_time = random.uniform(0.1, 0.5)
    await asyncio.sleep(process_time)
    return {"process_time": process_time}


@app.get("/health")
async def health() -> dict[str, str]:
    """Tell that the app is up."""
    return {"status": "ok"}


@app.get("/increase_count")
async def increase_count() -> dict[str, int]:
    """Count the calls of this very endpoint."""
    increase_count_calls.add(1)
    return {"count": next(count)}
