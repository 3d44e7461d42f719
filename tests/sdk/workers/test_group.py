"""Who is a worker, and whose."""

import os
import subprocess
import sys

import psutil
import pytest

from telemetry.sdk.workers import group as module
from telemetry.sdk.workers.group import (
    WORKER_GROUP,
    has_ended,
    is_named,
    started,
    worker_group,
)

SPAWN = """
import multiprocessing, sys
from telemetry.sdk.workers.group import worker_group

def show():
    print(worker_group())

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=show)
    process.start()
    process.join()
"""


def test_a_process_that_nobody_started_as_a_worker_is_none() -> None:
    assert worker_group() is None


def test_a_process_that_a_program_starts_for_itself_is_none(tmp_path: object) -> None:
    path = f"{tmp_path}/spawns.py"
    with open(path, "w") as file:
        file.write(SPAWN)
    result = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("None\n", "")


IMPORTS = """
import gunicorn.arbiter
from telemetry.sdk.workers.group import worker_group
print(worker_group())
"""


def test_an_application_that_only_imports_gunicorn_is_none() -> None:
    command = [sys.executable, "-c", IMPORTS]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("None\n", "")


def test_the_name_is_the_parents_and_the_same_for_all_its_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "started_as_worker", lambda: True)
    name = worker_group()
    assert name is not None
    assert name == worker_group()
    assert str(os.getppid()) in name
    assert not has_ended(name)


def test_a_group_is_over_when_its_parent_has_ended_or_its_number_was_given_away() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = f"{module._namespace()}-{process.pid}-{started(process.pid)}"
    assert not has_ended(name)
    assert has_ended(f"{module._namespace()}-{process.pid}-{started(process.pid) - 1}")
    process.communicate()
    assert has_ended(name)


def test_of_another_container_nothing_is_known() -> None:
    assert not has_ended(f"{module._namespace() + 1}-1-1")


@pytest.mark.parametrize(
    ("given", "name"),
    [("shop", "named-shop"), (" shop ", "named-shop"), ("a/../b", None), ("x" * 100, None)],
)
def test_a_name_that_is_given_holds(
    given: str, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKER_GROUP, given)
    shown = worker_group()
    assert shown is not None
    assert name in (None, shown)
    assert "/" not in shown
    assert len(shown) < 100
    assert is_named(shown)
    monkeypatch.setenv(WORKER_GROUP, given + "x")
    assert worker_group() != shown


def test_a_parent_that_cannot_be_seen_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hidden(pid: int) -> int:
        raise psutil.AccessDenied(pid)

    monkeypatch.setattr(module, "started_as_worker", lambda: True)
    monkeypatch.setattr(module, "started", hidden)
    assert worker_group() is None
    assert "Each worker shows its own metrics only" in caplog.text
    assert f"Set {WORKER_GROUP}" in caplog.text
