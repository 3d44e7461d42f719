"""Memory, processor time, open files and starts: read by the scrape, not by requests."""

import os
import resource
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from opentelemetry.metrics import CallbackOptions

from telemetry.instrumentation.saturation import process, saturation_of
from tests.support.applications import Measured
from tests.support.series import label_names, values


def test_memory_is_that_of_the_process() -> None:
    series = Measured().series()
    assert label_names(series, "app_memory_usage_bytes") == {("type",)}
    shown = values(series, "app_memory_usage_bytes")
    memory = psutil.Process().memory_info()
    assert shown["rss",] == pytest.approx(memory.rss, rel=0.1)
    assert shown["vms",] == pytest.approx(memory.vms, rel=0.1)


@pytest.mark.parametrize(
    ("file", "text", "shown"),
    [
        ("memory.max", "104857600\n", {(): 104857600}),
        ("memory.max", "max\n", {}),
        ("memory/memory.limit_in_bytes", "104857600\n", {(): 104857600}),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", {}),
        ("nothing", "", {}),
    ],
)
def test_the_limit_of_a_container(
    file: str, text: str, shown: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2].strip("/")
    path = tmp_path / ("" if "/" in file else own) / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    monkeypatch.setattr(process, "_CONTROL_GROUPS", tmp_path)
    assert values(Measured().series(), "app_memory_limit_bytes") == shown


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


def test_a_start_is_counted_where_the_application_is_served() -> None:
    measured = Measured()
    saturation = saturation_of(measured.provider)
    assert not list(saturation._observe_start(CallbackOptions()))
    for _ in range(2):
        assert values(measured.series(), "app_worker_starts_total") == {(): 1}
    process = os.fork()
    if process == 0:
        os._exit(len(list(saturation._observe_start(CallbackOptions()))))
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


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


@pytest.mark.parametrize(
    ("reading", "metric"),
    [
        ("num_fds", "process_unix_file_descriptor_count"),
        ("memory_info", "app_memory_usage_bytes"),
    ],
)
def test_a_reading_that_fails_leaves_the_other_metrics(
    monkeypatch: pytest.MonkeyPatch, reading: str, metric: str
) -> None:
    def denied(_: psutil.Process) -> None:
        raise psutil.AccessDenied

    measured = Measured()
    monkeypatch.setattr(psutil.Process, reading, denied)
    series = measured.series()
    assert values(series, metric) == {}
    assert values(series, "process_cpu_time_seconds_total")
