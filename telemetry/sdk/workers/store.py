"""The files by which workers know of each other's numbers.

A folder for each service holds, for each worker, what it has measured (``<worker>.json``) and
a file that it keeps locked for as long as it lives (``<worker>.alive``: the kernel lets go of
the lock however the worker ends). ``ended.json`` holds the sum of what ended workers have
measured, so that there are never more files than workers.
"""

import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from threading import Lock
from uuid import uuid4

from telemetry.quiet import quiet_logger
from telemetry.sdk.workers.family import is_over
from telemetry.sdk.workers.snapshot import Snapshot

_logger = quiet_logger(__name__)

MOST_BYTES = 64 * 1024 * 1024
"""The largest file that is written or read."""

_LOCK_PATIENCE = 1.0
_ENDED = "ended.json"
_LOCK = "lock"
_SEVERAL = "several"
_LISTENER = "listener"


@dataclass(slots=True)
class Others:
    """What the other workers have measured: the living by their process ids, and the ended."""

    living: list[tuple[int, Snapshot]] = field(default_factory=list)
    ended: Snapshot = field(default_factory=Snapshot)


class Store:
    """One worker's view of its service's folder.

    Nothing here raises what the file system does: a disk that is full, a folder that was
    deleted and a file that cannot be read cost a log line and what they held.

    Parameters:
        family: The service's name, see `telemetry.sdk.workers.family`.
        base: The folder that holds the services' folders; by default one in the system's
            folder for temporary files that belongs to the user alone.
    """

    def __init__(self, family: str, base: Path | None = None) -> None:
        self.worker = f"{os.getpid()}-{uuid4().hex[:12]}"
        self._base = base or base_folder()
        self._folder = self._base / family
        self._alive: int | None = None
        self._alive_lock = Lock()
        self._ended = Snapshot()
        os.register_at_fork(after_in_child=self._forget)
        self._clean_up()

    def publish(self, snapshot: Snapshot) -> bool:
        """Let the other workers know what this one has measured so far. Whether it worked."""
        try:
            with self._alive_lock:
                self._stay_alive()
            self._write(f"{self.worker}.json", snapshot.to_json())
        except (OSError, ValueError) as error:
            _logger.warning("Other workers cannot see this one's metrics: %s", error)
            return False
        return True

    def others(self) -> Others:
        """What the other workers have measured, with those that have ended folded together."""
        others = Others(ended=self._ended)
        dead: list[str] = []
        try:
            with self._locked(fcntl.LOCK_SH):
                folded = self._read_ended()
                others.ended = Snapshot(dict(self._ended.streams))
                for name in self._workers():
                    if name == self.worker or name in folded:
                        continue
                    alive = self._is_alive(name)
                    snapshot = self._read_worker(name)
                    if alive and snapshot is not None:
                        others.living.append((int(name.split("-")[0]), snapshot))
                    elif not alive:
                        dead.append(name)
                        if snapshot is not None:
                            others.ended = _sum(others.ended, snapshot)
            if dead:
                self._fold(dead)
        except (OSError, ValueError) as error:
            _logger.warning("The metrics of other workers are missing: %s", error)
        return others

    def several(self) -> bool:
        """Whether this service has, or has had, more than one worker at a time."""
        flag = self._folder / _SEVERAL
        try:
            if flag.exists():
                return True
            others = (name for name in self._workers() if name != self.worker)
            if any(self._is_alive(name) for name in others):
                os.close(self._open(_SEVERAL, os.O_CREAT | os.O_WRONLY))
                return True
        except OSError as error:
            _logger.warning("Other workers cannot be seen: %s", error)
        return False

    def become_listener(self) -> None:
        """Note that it is this worker that serves the metrics on a port for all."""
        try:
            with self._alive_lock:
                self._stay_alive()
            self._write(_LISTENER, self.worker)
        except OSError as error:
            _logger.warning("Other workers cannot see who serves the metrics: %s", error)

    def has_listener(self) -> bool:
        """Whether a living worker serves the metrics on a port for all."""
        try:
            name = self._read(_LISTENER)
            return name is not None and self._is_alive(name)
        except (OSError, ValueError):
            return False

    def _workers(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.json") if path.name != _ENDED)

    # Files

    def _open(self, name: str, flags: int) -> int:
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._folder / name, flags, 0o600)

    def _write(self, name: str, text: str) -> None:
        content = text.encode()
        if len(content) > MOST_BYTES:
            raise ValueError(f"{name} would be larger than {MOST_BYTES} bytes")
        temporary = f".{self.worker}.tmp"
        with open(self._open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), "wb") as file:
            file.write(content)
        os.replace(self._folder / temporary, self._folder / name)

    def _read(self, name: str) -> str | None:
        try:
            with open(self._open(name, os.O_RDONLY), "rb") as file:
                return file.read(MOST_BYTES).decode()
        except FileNotFoundError:
            return None

    def _read_worker(self, name: str) -> Snapshot | None:
        try:
            text = self._read(f"{name}.json")
            return None if text is None else Snapshot.from_json(text)
        except ValueError as error:
            _logger.warning("The metrics of worker %s are missing: %s", name, error)
            return None

    def _read_ended(self) -> list[str]:
        """Note what ended workers have measured, and tell which of them it holds already."""
        try:
            text = self._read(_ENDED)
            if text is None:
                return []
            content = json.loads(text)
            self._ended = Snapshot.from_json(json.dumps(content["snapshot"]))
            return list(content["folded"])
        except (ValueError, KeyError, TypeError) as error:
            _logger.warning("The metrics of ended workers may be out of date: %s", error)
            return []

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        lock = self._open(_LOCK, os.O_CREAT | os.O_RDWR)
        try:
            deadline = time.monotonic() + _LOCK_PATIENCE
            while True:
                try:
                    fcntl.flock(lock, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.002)
            yield
        finally:
            os.close(lock)

    # Life and death

    def _stay_alive(self) -> None:
        """Hold the file that says so; in a folder that was deleted, hold it anew."""
        path = self._folder / f"{self.worker}.alive"
        if self._alive is not None:
            # Also keeps it from those who clear folders for temporary files of old ones.
            with suppress(FileNotFoundError):
                os.utime(path)
                return
            os.close(self._alive)
            self._alive = None
        _make_private(self._base)
        _make_private(self._folder)
        alive = self._open(path.name, os.O_CREAT | os.O_RDWR)
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._alive = alive

    def _is_alive(self, name: str) -> bool:
        try:
            alive = self._open(f"{name}.alive", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(alive, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(alive)
        return False

    def _forget(self) -> None:
        """In a child of this worker: its copy of the lock would outlive the worker."""
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None

    def _fold(self, dead: list[str]) -> None:
        with self._locked(fcntl.LOCK_EX):
            folded = set(self._read_ended())
            present = set(self._workers())
            ended = Snapshot(dict(self._ended.streams))
            for name in dead:
                if name in present and name not in folded:
                    snapshot = self._read_worker(name)
                    if snapshot is not None:
                        ended = _sum(ended, snapshot)
                    folded.add(name)
            # Whoever is killed between the next two steps has folded them all the same.
            content = {"folded": sorted(folded & present), "snapshot": json.loads(ended.to_json())}
            self._write(_ENDED, json.dumps(content, separators=(",", ":")))
            self._ended = ended
            for name in folded & present:
                for path in (f"{name}.json", f"{name}.alive", f".{name}.tmp"):
                    (self._folder / path).unlink(missing_ok=True)

    def _clean_up(self) -> None:
        """Remove what services that are no more have left behind."""
        try:
            for folder in self._base.iterdir():
                if folder != self._folder and folder.is_dir() and self._is_left(folder):
                    rmtree(folder, ignore_errors=True)
        except (OSError, ValueError) as error:
            _logger.warning("What earlier runs left behind stays: %s", error)

    def _is_left(self, folder: Path) -> bool:
        if not is_over(folder.name):
            return False
        for path in folder.glob("*.alive"):
            with open(path, "rb") as alive:
                try:
                    fcntl.flock(alive, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
        return True


def base_folder() -> Path:
    """A folder for temporary files that belongs to this user, made where there is none.

    Where somebody else has put something of its name in its place, the next name is taken.

    Raises:
        OSError: There is none to be had.
    """
    parent = Path(tempfile.gettempdir())
    for number in range(10):
        suffix = f"-{number}" if number else ""
        path = parent / f"fastapi-otel-metrics-{os.getuid()}{suffix}"
        try:
            _make_private(path)
        except PermissionError:
            continue
        return path
    raise PermissionError(f"in {parent} every name of a folder of our own is taken")


def _make_private(path: Path) -> None:
    """Make a folder that only this user can look into, or make sure that it is one.

    Raises:
        PermissionError: It is a link, no folder, somebody else's, or open to others.
    """
    with suppress(FileExistsError):
        path.mkdir(0o700, parents=False)
    found = path.lstat()
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not private or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{path} is not a folder of this user's alone")


def _sum(one: Snapshot, other: Snapshot) -> Snapshot:
    """The sum but for gauges, which are of the living."""
    result = Snapshot()
    result.add(one, gauges=False)
    result.add(other, gauges=False)
    return result
