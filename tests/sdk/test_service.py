"""Which process belongs to a service, and how it leaves."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider

import telemetry
from telemetry.sdk import service as module
from telemetry.sdk.exposition.reader import EndpointReader
from telemetry.sdk.workers.folder import PrivateFolder
from telemetry.sdk.workers.group import WORKER_GROUP
from telemetry.sdk.workers.lines import Reader
from telemetry.sdk.workers.worker import Worker
from tests.support.processes import ROOT, wait_for


@pytest.mark.parametrize("gunicorn", [True, False])
def test_a_worker_of_a_named_group_leaves_once(
    gunicorn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving: list[Callable[[], object]] = []
    monkeypatch.setenv(WORKER_GROUP, "shop")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(module, "register_for_shutdown", leaving.append)
    monkeypatch.setattr(module, "is_gunicorn_loaded", lambda: gunicorn)
    reader = EndpointReader()
    counter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x").create_counter("c")
    assert reader.service.join()
    (leave,) = leaving
    counter.add(7)
    leave()
    (written,) = tmp_path.glob("*/named-shop/*-*-*-*.json")
    assert '"c","","","counter",[],0]\n{}\t[7,' in written.read_text()


def test_a_process_that_serves_nothing_joins_when_it_has_measured_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKER_GROUP, "shop")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(module, "register_for_shutdown", lambda _: None)
    monkeypatch.setattr(module, "_POLL_INTERVAL", 0.01)
    reader = EndpointReader()
    counter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x").create_counter("c")
    assert list(tmp_path.iterdir()) == []
    counter.add(7)
    wait_for(lambda: list(tmp_path.glob("*/named-shop/*.json")), "it is a worker")


def test_a_child_of_a_process_that_has_joined_owns_nothing() -> None:
    reader = EndpointReader()
    service = reader.service
    counter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x").create_counter("c")
    counter.add(7)
    assert not service.join()
    assert service.leads
    child = os.fork()
    if child == 0:
        owns = (
            service.leads or service.join_unless_forked() or bool(service.read().snapshot.streams)
        )
        os._exit(int(owns))
    assert os.waitpid(child, 0)[1] == 0
    assert service.leads


def shared(monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[EndpointReader, MeterProvider]:
    """A worker of a group that shows its metrics, and what it measures with."""
    monkeypatch.setenv(WORKER_GROUP, "shop")
    monkeypatch.setenv("TMPDIR", str(folder))
    reader = EndpointReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    reader.service.join()
    return reader, provider


def test_a_worker_with_nothing_to_do_collects_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "start", lambda *_: None)
    reader, provider = shared(monkeypatch, tmp_path)
    meter, collected, written = provider.get_meter("x"), [0], [0]

    def changing(_: CallbackOptions) -> Iterator[Observation]:
        collected[0] += 1
        yield Observation(collected[0])

    meter.create_observable_gauge("cpu", [changing])
    histogram = meter.create_histogram("h")
    write = PrivateFolder.write

    def counting(self: PrivateFolder, *arguments: str) -> None:
        written[0] += 1
        write(self, *arguments)

    monkeypatch.setattr(PrivateFolder, "write", counting)
    for turn in range(1, 4):
        histogram.record(1)
        for _ in range(10):
            reader.service._publish()
        assert collected == written == [turn]
    monkeypatch.setattr(reader.service, "_due", 0.0)
    reader.service._publish()
    assert collected == written == [4]


def test_what_a_request_was_counted_by_is_published_at_the_next_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are recorded in batches, which the SDK knows nothing of."""
    monkeypatch.setattr(Worker, "start", lambda *_: None)
    reader, provider = shared(monkeypatch, tmp_path)
    app = FastAPI()

    @app.get("/items")
    def items() -> int:
        return 1

    telemetry.instrument(app, meter_provider=provider)
    client = TestClient(app)
    for count in range(1, 4):
        client.get("/items")
        reader.service._publish()
        (file,) = tmp_path.glob("*/named-shop/*-*-*-*.json")
        (stream,) = [
            each
            for each in Reader().read(file.read_text()).streams.values()
            if each.name == "app_requests"
        ]
        assert [point[0] for point in stream.points.values()] == [count]


OTHER = """
import sys, time
from opentelemetry.sdk.metrics import MeterProvider
from telemetry.sdk.exposition.reader import EndpointReader
reader = EndpointReader()
meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
histogram, counter = meter.create_histogram("h"), meter.create_counter("jobs")
for each in (histogram, meter.create_histogram("other")):
    for label in range(1_500):
        each.record(1, {"label": label})
counter.add(1)
reader.service.join()
time.sleep(2)
print("ready", flush=True)
for line in sys.stdin:
    for label in range(100):
        counter.add(1)
        histogram.record(1, {"label": label})
    print("counted", flush=True)
"""


def test_another_worker_shows_half_a_second_later_what_one_has_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it has thousands of histograms."""
    reader, _ = shared(monkeypatch, tmp_path)
    command = [sys.executable, "-c", OTHER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        for turn in range(10):
            other.stdin.write("count\n")
            other.stdin.flush()
            assert other.stdout.readline() == "counted\n"
            time.sleep(0.5)
            stream = reader.service.read().snapshot.streams["x", "jobs", 0]
            assert [point[0] for point in stream.points.values()] == [1 + 100 * (turn + 1)]
        other.stdin.close()
