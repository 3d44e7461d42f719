"""The same trouble once a minute."""

import logging
import subprocess
import sys
import time
from importlib import import_module

import pytest

from telemetry import logger
from telemetry.compatibility.exporters import _LOGGERS, limit_foreign_loggers
from tests.support.versions import needs


def test_the_same_message_passes_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    log = logging.getLogger("tests.logger")
    log.addFilter(logger.OncePerMinute())
    for second in range(0, 121, 10):
        now = float(second)
        log.warning("trouble %s", second)
        log.warning("other trouble %s", second)
    assert [record.getMessage() for record in caplog.records] == [
        f"{what} {second}" for second in (0, 60, 120) for what in ("trouble", "other trouble")
    ]


def test_the_filter_is_put_on_once() -> None:
    limit_foreign_loggers()
    limit_foreign_loggers()
    filters = logging.getLogger("opentelemetry.sdk.metrics._internal.instrument").filters
    assert len([each for each in filters if isinstance(each, logger.OncePerMinute)]) == 1


def test_what_it_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logger, "_MAX_KINDS", 10)
    kinds = logger.OncePerMinute()
    for number in range(100):
        kinds.filter(logging.makeLogRecord({"name": "x", "levelno": 30, "msg": f"{number}"}))
    assert len(kinds._passed) <= 10


def test_a_line_says_where_it_comes_from_also_without_any_handler() -> None:
    code = (
        "import logging, sys\n"
        "from telemetry.logger import get_logger\n"
        "get_logger('telemetry.x').error('%s is wrong', 7)\n"
        "logging.basicConfig(format='%(name)s | %(message)s', stream=sys.stderr)\n"
        "get_logger('telemetry.x').error('%s is wrong', 7)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr.splitlines() == ["telemetry.x: 7 is wrong", "telemetry.x | 7 is wrong"]


@needs("opentelemetry-sdk", "1.45.2")
@pytest.mark.parametrize("name", _LOGGERS)
def test_the_loggers_of_others_are_still_there(name: str) -> None:
    module = import_module(name)
    assert any(isinstance(each, logging.Logger) for each in vars(module).values())
