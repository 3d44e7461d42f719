"""The last flush, in and out of time."""

import asyncio
import atexit
import threading
import time

import pytest
from starlette.types import Message, Receive, Scope, Send

from telemetry.sdk import shutdown


class Provider:
    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self.flushes = 0

    def force_flush(self) -> None:
        self.flushes += 1
        time.sleep(self.seconds)

    def shutdown(self) -> None:
        raise AssertionError("not at the end of a lifespan")


@pytest.fixture(autouse=True)
def nothing_owned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "_flushes", [])
    monkeypatch.setattr(shutdown, "_ends", [])
    monkeypatch.setattr(atexit, "register", lambda function: function)


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def run(provider: Provider) -> list[tuple[str, int]]:
    seen: list[tuple[str, int]] = []

    async def send(message: Message) -> None:
        seen.append((message["type"], provider.flushes))

    async def receive() -> Message:
        return {}

    app = shutdown.flushed_on_shutdown(lifespan)
    await app({"type": "lifespan"}, receive, send)
    return seen


def test_it_comes_before_the_server_learns_of_the_end() -> None:
    provider = Provider()
    shutdown.owned(provider)
    assert asyncio.run(run(provider)) == [
        ("lifespan.startup.complete", 0),
        ("lifespan.shutdown.complete", 1),
    ]


def test_one_that_hangs_is_left_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutdown, "PATIENCE", 0.2)
    healthy, hanging = Provider(), Provider(5)
    for provider in (hanging, healthy):
        shutdown.owned(provider)
    began = time.monotonic()
    shutdown.flush()
    assert time.monotonic() - began < 1
    assert healthy.flushes == 1
    assert "did not take the last" in caplog.text
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "flush")


def test_one_that_fails_costs_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Provider):
        def force_flush(self) -> None:
            raise RuntimeError("no collector")

    shutdown.owned(Failing())
    shutdown.flush()
    assert "no collector" in caplog.text


def test_where_there_is_nothing_to_flush_the_application_stays_as_it_is() -> None:
    assert shutdown.flushed_on_shutdown(lifespan) is lifespan
    shutdown.owned(object())
    assert shutdown.flushed_on_shutdown(lifespan) is lifespan
