"""Who is a worker, and whose."""

import os
import subprocess
import sys

import pytest

from telemetry.sdk.workers import family as module
from telemetry.sdk.workers.family import family, is_over, started

SPAWN = """
import multiprocessing, sys
from telemetry.sdk.workers.family import family

def show():
    print(family())

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=show)
    process.start()
    process.join()
"""


def test_a_process_that_nobody_started_as_a_worker_is_none() -> None:
    assert family() is None


def test_a_process_that_a_program_starts_for_itself_is_none(tmp_path: object) -> None:
    path = f"{tmp_path}/spawns.py"
    with open(path, "w") as file:
        file.write(SPAWN)
    result = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("None\n", "")


IMPORTS = """
import gunicorn.arbiter
from telemetry.sdk.workers.family import family
print(family())
"""


def test_an_application_that_only_imports_gunicorn_is_none() -> None:
    command = [sys.executable, "-c", IMPORTS]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("None\n", "")


def test_uvicorn_starts_its_workers_with_the_function_that_we_look_for() -> None:
    from uvicorn import _subprocess

    assert (_subprocess.__name__, _subprocess.subprocess_started.__name__) == module._UVICORN


def test_the_name_is_the_parents_and_the_same_for_all_its_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_is_gunicorns", lambda: True)
    name = family()
    assert name is not None
    assert name == family()
    assert str(os.getppid()) in name
    assert not is_over(name)


def test_a_family_is_over_when_its_parent_has_ended_or_its_number_was_given_away() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = f"{module._namespace()}-{process.pid}-{started(process.pid)}"
    assert not is_over(name)
    assert is_over(f"{module._namespace()}-{process.pid}-{started(process.pid) - 1}")
    process.communicate()
    assert is_over(name)


def test_of_another_container_nothing_is_known() -> None:
    assert not is_over(f"{module._namespace() + 1}-1-1")
