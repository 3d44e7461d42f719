"""A plugin of pytest for other projects' tests, which it shares no environment with.

It instruments each application that they make, as ``opentelemetry-instrument`` does, and counts the
requests that they send by itself. At the end it prints both counts.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

import telemetry
from telemetry.instrumentor import FastAPIMetricsInstrumentor

sent = 0
FastAPIMetricsInstrumentor().instrument()
_instrumented: Any = FastAPI.__call__


async def _counting(app: FastAPI, scope: Any, receive: Any, send: Any) -> None:
    global sent
    if scope["type"] == "http" and "counted" not in scope:
        sent += scope["path"] not in telemetry.DEFAULT_EXCLUDED_PATHS
    scope["counted"] = True
    await _instrumented(app, scope, receive, send)


setattr(FastAPI, "__call__", _counting)  # noqa: B010


def pytest_unconfigure(config: object) -> None:
    page = TestClient(FastAPI()).get("/metrics").text.splitlines()
    values = [line.split()[-1] for line in page if line.startswith("app_requests_total{")]
    print(f"\nsent {sent}, shown {sum(map(float, values)):.0f}")
