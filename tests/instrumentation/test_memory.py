"""The memory gauges: read by the scrape, not by requests."""

import psutil
import pytest

from tests.support.applications import Measured
from tests.support.series import label_names, values


def test_both_values_are_those_of_the_process() -> None:
    series = Measured().series()
    assert label_names(series, "app_memory_usage_bytes") == {("type",)}
    shown = values(series, "app_memory_usage_bytes")
    memory = psutil.Process().memory_info()
    assert shown["rss",] == pytest.approx(memory.rss, rel=0.1)
    assert shown["vms",] == pytest.approx(memory.vms, rel=0.1)


def test_a_scrape_reads_once_and_a_request_never(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = 0
    read = psutil.Process.memory_info

    def counted(process: psutil.Process) -> object:
        nonlocal readings
        readings += 1
        return read(process)

    monkeypatch.setattr(psutil.Process, "memory_info", counted)
    measured = Measured()
    for _ in range(5):
        measured.client.get("/")
    assert readings == 0
    measured.series()
    assert readings == 1


def test_a_reading_that_fails_leaves_the_other_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: psutil.Process) -> None:
        raise psutil.AccessDenied

    measured = Measured()
    measured.client.get("/nope")
    monkeypatch.setattr(psutil.Process, "memory_info", denied)
    series = measured.series()
    assert values(series, "app_memory_usage_bytes") == {}
    assert values(series, "app_requests_total") == {("GET", "unmatched"): 1}
