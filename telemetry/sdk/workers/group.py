"""Which processes are workers of one service."""

import os
import re
from hashlib import sha256
from pathlib import Path

import psutil

from telemetry.compatibility.servers import started_as_worker
from telemetry.logger import limited_logger

_logger = limited_logger(__name__)

WORKER_GROUP = "TELEMETRY_WORKER_GROUP"
"""The environment variable that names the group, for process managers that are not recognised
(supervisord, systemd, circus) and for further processes of the service, as jobs are."""

WORKER = re.compile(r"\d+-\d+-\d+-[0-9a-f]{8}")
"""The name of a worker: its `process_name` and something random."""

_NAMED = "named-"


def named_group() -> str | None:
    """The group that ``TELEMETRY_WORKER_GROUP`` names, as a file name, or None."""
    given = os.environ.get(WORKER_GROUP, "").strip()
    if not given:
        return None
    if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", given):
        return _NAMED + given
    return _NAMED + sha256(given.encode("utf-8", "replace")).hexdigest()


def worker_group() -> str | None:
    """A name that the workers of one service share and that no other service has, or None.

    It is the value of the variable or, in a worker of uvicorn (with ``--workers`` or ``--reload``),
    gunicorn, hypercorn or granian, made of the id and the start time of its parent process.
    To be called in the thread that serves the application.
    """
    if (named := named_group()) or not started_as_worker():
        return named
    parent = os.getppid()
    try:
        return process_name(parent)
    except (psutil.Error, OSError) as error:
        _logger.warning(
            "Each worker shows its own metrics only: the process %d that started this one cannot "
            "be seen (%s). Set %s to the same name for all workers of the service.",
            parent,
            error,
            WORKER_GROUP,
        )
        return None


def is_named(group: str) -> bool:
    """Whether a variable names the group, so that its service has no start or end to be seen."""
    return group.startswith(_NAMED)


def process_name(pid: int) -> str:
    """A name that no later process has, even one that gets the same process id."""
    return f"{_namespace()}-{pid}-{started(pid)}"


def has_ended(name: str) -> bool:
    """Whether a process is known to have ended. The name begins with its `process_name`."""
    namespace, pid, start = name.split("-")[:3]
    if namespace != str(_namespace()):
        return False
    try:
        return started(int(pid)) != int(start)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def started(pid: int) -> int:
    """When a process started, in units and from an origin that stay the same until a reboot."""
    try:
        # psutil adds the time of boot, which moves when the clock is set.
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return int(psutil.Process(pid).create_time() * 1000)
    # The name, in parentheses, may hold spaces; proc(5) counts the start time as field 22.
    return int(stat.rpartition(")")[2].split()[19])


def _namespace() -> int:
    """The PID namespace: containers that share a folder each number processes from 1."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
