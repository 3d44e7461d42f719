"""Processor time and open files."""

import resource
import tempfile
import time
from contextlib import ExitStack

import psutil
import pytest

from tests.support.applications import Measured
from tests.support.series import values


def test_processor_time() -> None:
    measured = Measured()
    before = values(measured.series(), "process_cpu_time_seconds_total")
    assert set(before) == {("user",), ("system",)}
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    after = values(measured.series(), "process_cpu_time_seconds_total")
    assert sum(after.values()) >= sum(before.values()) + 0.09


def test_open_files_and_their_limit() -> None:
    measured = Measured()

    def count() -> float:
        return values(measured.series(), "process_unix_file_descriptor_count")[()]

    before = count()
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(tempfile.TemporaryFile())
        assert count() == pytest.approx(before + 50, abs=5)
    assert count() == pytest.approx(before, abs=5)
    limit = values(measured.series(), "app_file_descriptor_limit")[()]
    assert limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_a_reading_that_fails_leaves_the_other_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: psutil.Process) -> None:
        raise psutil.AccessDenied

    measured = Measured()
    monkeypatch.setattr(psutil.Process, "num_fds", denied)
    series = measured.series()
    assert values(series, "process_unix_file_descriptor_count") == {}
    assert values(series, "process_cpu_time_seconds_total")
