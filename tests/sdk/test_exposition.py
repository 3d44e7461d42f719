"""What a scrape gets when something is wrong, and what no Accept header can break."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.metrics import CallbackOptions, Observation

from telemetry.sdk import endpoint, exposition
from tests.support.applications import Measured, exchange
from tests.support.series import parse, values


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PATIENCE", 0.3)
    # Every test tells of its own troubles.
    for logger in (exposition._logger, logging.getLogger("telemetry.sdk.overflow")):
        for each in logger.filters:
            logger.removeFilter(each)


def hanging(measured: Measured) -> threading.Event:
    """A callback that hangs once `hang` is set, until it is cleared."""
    hang, proceed = threading.Event(), threading.Event()

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        if hang.is_set():
            proceed.wait(10)
        yield Observation(1)

    measured.provider.get_meter("x").create_observable_gauge("hangs", callbacks=[callback])
    return hang


def test_a_callback_that_hangs_leaves_the_last_text_and_all_responses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    measured = Measured()

    @measured.app.get("/")
    async def root() -> str:
        return "ok"

    measured.client.get("/")
    hang = hanging(measured)
    assert values(measured.series(), "app_requests_total") == {("GET", "/"): 1}
    hang.set()
    threads = threading.active_count()
    for _ in range(5):
        began = time.monotonic()
        series = measured.series()
        assert time.monotonic() - began < 2
        assert values(series, "app_requests_total") == {("GET", "/"): 1}
        assert measured.client.get("/").json() == "ok"
    # One thread hangs, and with it a timer; scrapes that come later wait for the same one.
    assert threading.active_count() <= threads + 3
    assert "callback or an exporter hangs" in caplog.text


def test_a_first_scrape_that_hangs_is_empty_and_answered() -> None:
    measured = Measured()
    hanging(measured).set()
    assert measured.client.get("/metrics").status_code == 200


def test_a_reader_that_raises_leaves_the_last_text(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Measured()
    measured.client.get("/nope")
    before = measured.series()

    def fail(*_: object) -> None:
        raise RuntimeError("the reader has failed")

    target = "opentelemetry.exporter.prometheus.PrometheusMetricReader._receive_metrics"
    with monkeypatch.context() as patch:
        patch.setattr(target, fail)
        assert values(measured.series(), "app_requests_total") == values(
            before, "app_requests_total"
        )
    assert "the reader has failed" in caplog.text
    measured.client.get("/nope")
    assert measured.requests() == {("GET", "unmatched"): 2}


def test_a_callback_that_raises_costs_only_its_own_metric() -> None:
    measured = Measured()

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        raise OSError("gone")

    measured.provider.get_meter("x").create_observable_gauge("raises", callbacks=[callback])
    measured.client.get("/nope")
    assert measured.requests() == {("GET", "unmatched"): 1}


def test_a_callback_that_wants_to_end_the_process_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    measured = Measured()
    ends = False

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        if ends:
            raise SystemExit(3)
        yield Observation(1)

    measured.provider.get_meter("x").create_observable_gauge("ends", callbacks=[callback])
    measured.client.get("/nope")
    measured.series()
    ends = True
    assert measured.requests() == {("GET", "unmatched"): 1}
    assert "SystemExit(3)" in caplog.text


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_a_label_that_utf8_has_no_bytes_for_costs_only_itself(accept: str) -> None:
    measured = Measured()
    counter = measured.provider.get_meter("x").create_counter("events")
    counter.add(1, {"kind": "half \ud800"})
    counter.add(2, {"kind": "whole"})
    text = measured.client.get("/metrics", headers={"accept": accept}).text
    assert 'events_total{kind="half ?"} 1.0' in text
    assert 'events_total{kind="whole"} 2.0' in text
    measured.client.get("/nope")
    assert measured.requests() == {("GET", "unmatched"): 1}


ACCEPT = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.tuples(
            st.sampled_from(["text/plain", "application/openmetrics-text", "*/*", "a/b", ""]),
            st.sampled_from(["version", "escaping", "q", ""]),
            st.one_of(st.text(max_size=20), st.sampled_from(["1.0.0", "9", "0.0.4", "dots"])),
        ),
        max_size=5,
    ).map(lambda parts: ",".join(f"{kind};{name}={value}" for kind, name, value in parts)),
)
SHARED = Measured()


@given(ACCEPT)
def test_no_accept_header_breaks_a_scrape(accept: str) -> None:
    headers = [(b"accept", accept.encode("latin-1", "replace"))]
    sent = asyncio.run(exchange(SHARED.app, "/metrics", headers=headers))
    assert sent[0]["status"] == 200
    content_type = dict(sent[0]["headers"])[b"content-type"]
    assert content_type.startswith((b"text/plain", b"application/openmetrics-text"))
    assert b"\n" not in content_type


def test_a_header_of_64_kib() -> None:
    accept = ("application/openmetrics-text;version=1.0.0," * 2000).encode()
    sent = asyncio.run(exchange(SHARED.app, "/metrics", headers=[(b"accept", accept)]))
    assert sent[0]["status"] == 200


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
