"""One process: ``uvicorn main:app``, and everything is on http://localhost:8000/metrics."""

from typing import Literal

from fastapi import FastAPI
from opentelemetry import metrics

import telemetry

app = FastAPI()
telemetry.instrument(app, excluded_paths=[*telemetry.DEFAULT_EXCLUDED_PATHS, "/health"])

orders = metrics.get_meter("shop").create_counter("orders", description="Orders received.")


@app.get("/health")
async def health() -> dict[str, str]:
    """Tell that the app is up; not counted."""
    return {"status": "ok"}


@app.post("/orders/{kind}")
async def order(kind: Literal["book", "record"]) -> dict[str, str]:
    """Order something. Unknown kinds are refused, and so make no series."""
    orders.add(1, {"kind": kind})
    return {"ordered": kind}
