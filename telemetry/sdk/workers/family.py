"""Which processes are workers of one service."""

import inspect
import multiprocessing
import os
import sys
from pathlib import Path

import psutil

# The function that uvicorn starts its workers with. Nothing public tells a worker of
# uvicorn's from a process that a program has started for itself.
# tests/sdk/workers/test_family.py fails when it moves.
_UVICORN = ("uvicorn._subprocess", "subprocess_started")


def family() -> str | None:
    """A name that the workers of one service share and that no other service ever has.

    It is made of the process that started the workers, and of when that one started. None in
    a process that is nobody's worker: the service is this process alone.

    Workers are those of ``uvicorn --workers`` and ``--reload``, and of gunicorn. To be asked
    in the thread that serves the application.
    """
    if not (_is_uvicorns() or _is_gunicorns()):
        return None
    parent = os.getppid()
    return f"{_namespace()}-{parent}-{started(parent)}"


def is_over(name: str) -> bool:
    """Whether the process that started a family has ended, as far as this one can tell."""
    namespace, parent, start = name.split("-")
    if namespace != str(_namespace()):
        return False
    try:
        return started(int(parent)) != int(start)
    except psutil.NoSuchProcess:
        return True


def started(pid: int) -> int:
    """When a process started, in units and from an origin that stay the same until a reboot.

    Raises:
        psutil.NoSuchProcess: There is no such process.
    """
    try:
        # psutil adds the time of boot, which moves when the clock is set.
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return int(psutil.Process(pid).create_time() * 1000)
    # The name, in parentheses, may hold spaces; proc(5) counts the start time as field 22.
    return int(stat.rpartition(")")[2].split()[19])


def _is_uvicorns() -> bool:
    target = getattr(multiprocessing.current_process(), "_target", None)
    return (getattr(target, "__module__", None), getattr(target, "__name__", None)) == _UVICORN


def _is_gunicorns() -> bool:
    """Whether gunicorn's arbiter has called what is running: it forks in the midst of it."""
    if "gunicorn.arbiter" not in sys.modules:
        return False
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "gunicorn.arbiter":
            return True
        frame = frame.f_back
    return False


def _namespace() -> int:
    """Containers that share a folder number their processes each from 1."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
