"""The last flush, in and out of time."""

import asyncio
import atexit
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from starlette.types import Message

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
    monkeypatch.setattr(shutdown._AtShutdown, "flushes", [])
    monkeypatch.setattr(shutdown._AtShutdown, "ends", [])
    monkeypatch.setattr(shutdown._AtShutdown, "remaining", 5.0)
    monkeypatch.setattr(atexit, "register", lambda function: function)


async def run(provider: Provider) -> list[tuple[str, int]]:
    """What the server is told, and how many flushes there had been by then."""
    seen: list[tuple[str, int]] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        shutdown.own_shutdown(provider)
        yield

    async def send(message: Message) -> None:
        seen.append((message["type"], provider.flushes))

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    shutdown.flush_after_lifespans()
    await FastAPI(lifespan=lifespan)({"type": "lifespan"}, receive, send)
    return seen


def test_it_comes_before_the_server_learns_of_the_end() -> None:
    assert asyncio.run(run(Provider())) == [
        ("lifespan.startup.complete", 0),
        ("lifespan.shutdown.complete", 1),
    ]


def test_one_that_hangs_is_left_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutdown._AtShutdown, "remaining", 0.2)
    healthy, hanging = Provider(), Provider(5)
    for provider in (hanging, healthy):
        shutdown.own_shutdown(provider)
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

    shutdown.own_shutdown(Failing())
    shutdown.flush()
    assert "no collector" in caplog.text


def test_what_is_counted_after_the_lifespan_is_sent_at_the_exit() -> None:
    ends: list[int] = []
    shutdown.register_for_shutdown(lambda: None, lambda: ends.append(1))
    shutdown.flush()
    shutdown._exit()
    assert ends == [1]


def test_all_flushes_together_take_no_longer_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown._AtShutdown, "remaining", 0.6)
    shutdown.register_for_shutdown(lambda: time.sleep(5))
    began = time.monotonic()
    shutdown.flush()
    shutdown._exit()
    assert time.monotonic() - began < 1.1
