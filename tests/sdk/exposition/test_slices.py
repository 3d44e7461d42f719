"""Where a page is written: on the event loop in slices, and in a thread what may block."""

import asyncio
import threading
from collections.abc import Iterable

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from prometheus_client import REGISTRY, Metric
from prometheus_client.registry import Collector
from starlette.types import Message

from telemetry.instrumentation.recorder import recorder_of
from telemetry.sdk.exposition import page as module
from telemetry.sdk.exposition.answer import Answer
from telemetry.sdk.exposition.negotiation import Exposition
from telemetry.sdk.exposition.page import Add, Page
from telemetry.sdk.steps import Steps
from tests.support.applications import Measured, exchange
from tests.support.series import parse, values


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    monkeypatch.setattr("telemetry.compatibility.aggregations.DIRECT", True)
    # After a page that takes long, the next one waits, which it does in a thread.
    monkeypatch.setattr(module, "_COOLDOWN", 0)
    measured = Measured()
    measured.client.get("/nope")
    measured.series()
    return measured


def scrape(measured: Measured) -> list[Message]:
    return asyncio.run(exchange(measured.app, "/metrics"))


def test_nothing_needs_a_thread_where_nothing_may_block(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "Thread", fail)
    start, body = scrape(measured)
    assert start["status"] == 200
    assert values(parse(body["body"].decode()), "app_requests_total") == {("GET", "unmatched"): 1}


def test_the_callbacks_of_users_are_called_in_another_thread(measured: Measured) -> None:
    called: list[int] = []

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        called.append(threading.get_ident())
        yield Observation(1)

    measured.provider.get_meter("x").create_observable_gauge("asked", callbacks=[callback])
    _, body = scrape(measured)
    assert values(parse(body["body"].decode()), "asked") == {(): 1}
    assert called
    assert threading.get_ident() not in called


def test_so_are_the_collectors_of_prometheus_client(measured: Measured) -> None:
    called: list[int] = []

    class Own(Collector):
        def collect(self) -> Iterable[Metric]:
            called.append(threading.get_ident())
            return []

    REGISTRY.register(collector := Own())
    called.clear()
    try:
        assert scrape(measured)[0]["status"] == 200
    finally:
        REGISTRY.unregister(collector)
    assert called
    assert threading.get_ident() not in called


def test_others_get_their_turn_between_two_slices(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLICE", 0)
    counter = measured.provider.get_meter("x").create_counter("many")
    for number in range(1_500):
        counter.add(1, {"number": number})

    async def turns() -> int:
        task = asyncio.create_task(exchange(measured.app, "/metrics"))
        turns = 0
        while not task.done():
            turns += 1
            counter.add(1, {"number": 0})
            await asyncio.sleep(0)
        assert len(values(parse((await task)[1]["body"].decode()), "many_total")) == 1_500
        return turns

    assert asyncio.run(turns()) > 100


def test_so_they_do_while_what_requests_left_to_record_is_recorded(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLICE", 0)
    recorder = recorder_of(measured.provider)
    for number in range(400):
        recorder.series("GET", f"/{number}", 200).record(0.1, 0.1)

    async def turns() -> int:
        task = asyncio.create_task(exchange(measured.app, "/metrics"))
        turns = 0
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
        found = values(parse((await task)[1]["body"].decode()), "app_requests_total")
        assert len(found) == 401
        return turns

    assert asyncio.run(turns()) > 400


def test_a_page_whose_event_loop_was_closed_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write(_: Exposition, add: Add) -> Steps[None]:
        for _step in range(3):
            add([b"page\n"])
            yield False

    async def leave() -> None:
        task = asyncio.create_task(exchange(Answer(page), "/metrics"))
        await asyncio.sleep(0)
        task.cancel()

    page = Page(write)
    monkeypatch.setattr(module, "_SLICE", 0)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    assert page._writing
    loop.close()
    assert asyncio.run(exchange(Answer(page), "/metrics"))[1]["body"] == b"page\n" * 3


def test_a_thread_goes_on_alone_where_the_event_loop_was_closed() -> None:
    def write(_: Exposition, add: Add) -> Steps[None]:
        yield True
        entered.set()
        proceed.wait(10)
        add([b"page\n"])
        yield False
        add([b"end\n"])

    async def leave() -> None:
        task = asyncio.create_task(exchange(Answer(page), "/metrics"))
        await asyncio.to_thread(entered.wait, 10)
        task.cancel()

    entered, proceed = threading.Event(), threading.Event()
    page = Page(write)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    (writing,) = page._writing.values()
    loop.close()
    proceed.set()
    assert writing.content.result(10) == b"page\nend\n"
