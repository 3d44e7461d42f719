"""The same trouble once a minute."""

import logging
import time

import pytest

from telemetry import quiet


def test_the_same_message_passes_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    logger = logging.getLogger("tests.quiet")
    logger.addFilter(quiet.OncePerMinute())
    for second in range(0, 121, 10):
        now = float(second)
        logger.warning("trouble %s", second)
        logger.warning("other trouble %s", second)
    assert [record.getMessage() for record in caplog.records] == [
        f"{what} {second}" for second in (0, 60, 120) for what in ("trouble", "other trouble")
    ]


def test_the_filter_is_put_on_once() -> None:
    quiet.quieten()
    quiet.quieten()
    filters = logging.getLogger("opentelemetry.sdk.metrics._internal.instrument").filters
    assert len([each for each in filters if isinstance(each, quiet.OncePerMinute)]) == 1


def test_what_it_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "_MAX_KINDS", 10)
    kinds = quiet.OncePerMinute()
    for number in range(100):
        kinds.filter(logging.makeLogRecord({"name": "x", "levelno": 30, "msg": f"{number}"}))
    assert len(kinds._passed) <= 10
