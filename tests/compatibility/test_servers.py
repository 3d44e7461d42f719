"""The private names of servers."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from telemetry.compatibility.servers import ARBITER_MODULE, WORKER_MODULES, started_as_worker


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("uvicorn._subprocess", "subprocess_started"),
        ("hypercorn.asyncio.run", "asyncio_worker"),
        ("hypercorn.trio.run", "trio_worker"),
        ("granian.server.mp", "MPServer"),
    ],
)
def test_what_servers_start_as_their_workers(module: str, function: str) -> None:
    found = getattr(import_module(module), function)
    assert found.__module__ in WORKER_MODULES


def test_a_process_of_multiprocessing_is_a_worker_by_the_module_of_its_target(
    tmp_path: Path,
) -> None:
    script = tmp_path / "starts.py"
    code = (
        "import multiprocessing, functools\n"
        "from telemetry.compatibility.servers import started_as_worker\n"
        "def show(*_):\n    print(started_as_worker())\n"
        "def worker(*_):\n"
        "    import multiprocessing\n"
        "    multiprocessing.current_process()._target.func.__module__ = 'uvicorn._subprocess'\n"
        "    print(started_as_worker())\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    for target in (show, functools.partial(worker, 1)):\n"
        "        process = context.Process(target=target)\n"
        "        process.start()\n"
        "        process.join()\n"
    )
    script.write_text(code)
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (result.stdout.split(), result.stderr) == (["False", "True"], "")


def test_gunicorns_arbiter_calls_the_application() -> None:
    arbiter = import_module(ARBITER_MODULE)
    try:
        assert hasattr(arbiter.Arbiter, "spawn_worker")
        assert not started_as_worker()
    finally:
        # Other tests' services would take this process for one of gunicorn's.
        del sys.modules[ARBITER_MODULE]


def test_multiprocessing_is_not_imported_to_find_out_who_is_a_worker() -> None:
    code = (
        "import sys\n"
        "from telemetry.sdk.workers.group import worker_group\n"
        "sys.modules.pop('multiprocessing.process', None)\n"
        "worker_group()\n"
        "print('multiprocessing.process' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False", result.stderr
