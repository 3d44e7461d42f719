"""A plugin of pytest for other projects' tests, which it shares no environment with.

It instruments each application that they make, as ``opentelemetry-instrument`` does, and counts the
requests that they send by itself, by the status of the response. At the end it prints both counts.
"""

from collections import Counter
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

import telemetry
from telemetry.instrumentor import FastAPIMetricsInstrumentor

NONE = "none"
"""The status of what is cancelled before its response, as when the client has left."""

sent = Counter[str]()
FastAPIMetricsInstrumentor().instrument()
_instrumented: Any = FastAPI.__call__


async def _counting(app: FastAPI, scope: Any, receive: Any, send: Any) -> None:
    outermost = scope["type"] == "http" and "counted" not in scope
    if not outermost or scope["path"] in telemetry.DEFAULT_EXCLUDED_PATHS:
        await _instrumented(app, scope, receive, send)
        return
    scope["counted"] = True
    status = None

    async def sending(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = str(message["status"])
        await send(message)

    try:
        await _instrumented(app, scope, receive, sending)
    except BaseException as error:
        if status is None and not isinstance(error, Exception):
            status = NONE
        raise
    finally:
        sent[status or "500"] += 1


setattr(FastAPI, "__call__", _counting)  # noqa: B010


def pytest_unconfigure(config: object) -> None:
    shown, requests = Counter[str](), 0
    for family in text_string_to_metric_families(TestClient(FastAPI()).get("/metrics").text):
        for sample in family.samples:
            if sample.name == "app_requests_total":
                requests += int(sample.value)
            elif sample.name == "app_responses_total":
                shown[sample.labels["status_code"]] += int(sample.value)
    shown[NONE] = requests - shown.total()
    print(f"\nsent {sorted((+sent).items())}\nshown {sorted((+shown).items())}")
    print(f"in all {sent.total()}")
