"""What a scrape gets when something is wrong: 503 and the cause, and the page as soon as it can."""

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Iterable
from functools import partial

import pytest
from opentelemetry.metrics import CallbackOptions, Observation

from telemetry.sdk import callbacks
from telemetry.sdk.exposition import page
from tests.support.applications import Measured
from tests.support.processes import wait_for
from tests.support.series import parse, values
from tests.support.versions import needs


@pytest.fixture(autouse=True)
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test logs its own errors."""
    for logger in (page._logger, callbacks._logger):
        monkeypatch.setattr(logger, "filters", [])


def refused(measured: Measured) -> str:
    """The text of a scrape that was refused, for one line of which there is a log line."""
    answer = measured.client.get("/metrics")
    assert answer.status_code == 503
    assert answer.text.startswith("The metrics could not be collected: ")
    assert answer.text.count("\n") == 1
    return answer.text


def test_a_callback_that_hangs_is_503_until_it_ends_and_no_other_request_waits(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the first page takes long, the next one would wait for longer than it may take.
    monkeypatch.setattr(page, "_COOLDOWN", 0)
    measured = Measured()

    @measured.app.get("/")
    async def root() -> str:
        return "ok"

    proceed = threading.Event()
    proceed.set()

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        proceed.wait(10)
        yield Observation(1)

    measured.provider.get_meter("x").create_observable_gauge("stuck", callbacks=[callback])
    measured.client.get("/")
    assert measured.requests() == {("GET", "/"): 1}
    proceed.clear()
    threads = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(page, "TIMEOUT", 0.3)
        for _ in range(5):
            began = time.monotonic()
            refusal = refused(measured)
            assert "hangs" in refusal
            assert measured.client.get("/").json() == "ok"
            assert time.monotonic() - began < 2
    assert "longer than 0.3 s, the callback of stuck hangs" in refusal
    # One thread hangs; scrapes that come later wait for the same one.
    assert threading.active_count() <= threads + 2
    assert "answered with status 503" in caplog.text
    proceed.set()
    scrape = partial(measured.client.get, "/metrics")
    wait_for(lambda: scrape().status_code == 200, "the page that hung is over")
    assert measured.requests() == {("GET", "/"): 6}


def test_a_reader_that_raises_is_503_with_its_kind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measured = Measured()
    measured.client.get("/nope")

    def fail(*_: object) -> None:
        raise RuntimeError("the reader\nhas failed")

    with monkeypatch.context() as patch:
        patch.setattr("telemetry.sdk.collection.Collection._assembled", fail)
        assert "RuntimeError" in (refusal := refused(measured))
    assert "the reader has failed" not in refusal
    assert "RuntimeError: the reader has failed" in caplog.text
    assert measured.requests() == {("GET", "unmatched"): 1}


def test_a_thread_that_cannot_be_started_is_503_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Measured()
    gauge = measured.provider.get_meter("x").create_observable_gauge
    gauge("asked", callbacks=[lambda _: [Observation(1)]])
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name == "metrics":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        assert "RuntimeError" in refused(measured)
    measured.series()


def test_nothing_of_the_interpreter_is_changed() -> None:
    measured = Measured()
    seen: list[object] = []

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        seen.append((gc.isenabled(), sys.getswitchinterval()))
        yield Observation(1)

    measured.provider.get_meter("x").create_observable_gauge("asks", callbacks=[callback])
    before = (gc.isenabled(), sys.getswitchinterval())
    measured.series()
    assert seen == [before]


def test_a_callback_that_raises_costs_only_its_own_metric() -> None:
    measured = Measured()

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        raise OSError("gone")

    measured.provider.get_meter("x").create_observable_gauge("raises", callbacks=[callback])
    measured.client.get("/nope")
    assert measured.requests() == {("GET", "unmatched"): 1}


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_a_callback_that_wants_to_end_the_process_does_not(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    measured = Measured()
    ends = True

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        if ends:
            raise error("at once")
        yield Observation(1)

    measured.provider.get_meter("x").create_observable_gauge("ends", callbacks=[callback])
    measured.client.get("/nope")
    series = measured.series()
    assert values(series, "app_requests_total") == {("GET", "unmatched"): 1}
    assert not values(series, "ends")
    assert "The callback of ends has failed" in caplog.text
    assert f"{error.__name__}: at once" in caplog.text
    assert "test_page.py" in caplog.text
    ends = False
    assert values(measured.series(), "ends") == {(): 1}


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_labels_that_are_not_unicode_stay_apart(accept: str) -> None:
    measured = Measured()
    counter = measured.provider.get_meter("x").create_counter("events")
    for value, kind in enumerate(("\ud800", "\ud801", "\udcff", "whole")):
        counter.add(value, {"kind": kind})
    text = measured.client.get("/metrics", headers={"accept": accept}).text
    for value, kind in enumerate((r"\\ud800", r"\\ud801", r"\\udcff", "whole")):
        assert f'events_total{{kind="{kind}"}} {value}.0' in text
    measured.client.get("/nope")
    assert measured.requests() == {("GET", "unmatched"): 1}


@needs("opentelemetry-sdk", "1.45.2")
def test_a_metric_with_too_many_series_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    measured = Measured()
    counter = measured.provider.get_meter("x").create_counter("visitors")
    for number in range(3000):
        counter.add(1, {"name": f"visitor {number}"})
    for _ in range(3):
        series = measured.series()
    shown = {key: value for key, value in series.items() if key[0] == "visitors_total"}
    assert len(shown) == 2001
    assert sum(shown.values()) == 3000
    (overflow,) = (
        value for (_, labels), value in shown.items() if ("otel_metric_overflow", "true") in labels
    )
    assert overflow == 1000
    told = [record for record in caplog.records if "visitors" in record.getMessage()]
    assert len(told) == 1
    assert parse(measured.client.get("/metrics").text)
