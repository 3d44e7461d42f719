"""Which process belongs to a service, and how it leaves."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider

from telemetry.sdk import service as module
from telemetry.sdk.exposition.reader import EndpointReader
from telemetry.sdk.workers.group import WORKER_GROUP
from tests.support.processes import wait_for


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
