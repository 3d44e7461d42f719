"""The files by which workers know of each other's numbers.

A folder for each service holds, for each worker, what it has measured (``<worker>.json``) and
a file that it keeps locked for as long as it lives (``<worker>.alive``: the kernel lets go of
the lock however the worker ends). ``ended.json`` holds the sum of what ended workers have
measured, so that there are never more files than workers.
"""

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from threading import Lock
from uuid import uuid4

from telemetry.quiet import quiet_logger
from telemetry.sdk.workers.family import is_over
from telemetry.sdk.workers.folder import PrivateFolder, base_folder
from telemetry.sdk.workers.snapshot import Snapshot

_logger = quiet_logger(__name__)

_ENDED = "ended.json"
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
        self._folder = PrivateFolder(self._base / family)
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
            self._keep_ended()
        except (OSError, ValueError) as error:
            _logger.warning("Other workers cannot see this one's metrics: %s", error)
            return False
        return True

    def others(self) -> Others:
        """What the other workers have measured, with those that have ended folded together."""
        others = Others(ended=self._ended)
        dead: list[str] = []
        try:
            with self._folder.locked(fcntl.LOCK_SH):
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
        flag = self._folder.path / _SEVERAL
        try:
            if flag.exists():
                return True
            others = (name for name in self._workers() if name != self.worker)
            if any(self._is_alive(name) for name in others):
                os.close(self._folder.open(_SEVERAL, os.O_CREAT | os.O_WRONLY))
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
            name = self._folder.read(_LISTENER)
            return name is not None and self._is_alive(name)
        except (OSError, ValueError):
            return False

    def _workers(self) -> list[str]:
        return sorted(path.stem for path in self._folder.path.glob("*.json") if path.name != _ENDED)

    def _write(self, name: str, text: str) -> None:
        self._folder.write(name, text, f".{self.worker}.tmp")

    def _read_worker(self, name: str) -> Snapshot | None:
        try:
            text = self._folder.read(f"{name}.json")
            return None if text is None else Snapshot.from_json(text)
        except ValueError as error:
            _logger.warning("The metrics of worker %s are missing: %s", name, error)
            return None

    def _keep_ended(self) -> None:
        """Know what ended workers have measured, also when the folder is deleted."""
        self._read_ended()
        if self._ended.streams and not (self._folder.path / _ENDED).exists():
            with self._folder.locked(fcntl.LOCK_EX):
                if not (self._folder.path / _ENDED).exists():
                    content = {"folded": [], "snapshot": json.loads(self._ended.to_json())}
                    self._write(_ENDED, json.dumps(content, separators=(",", ":")))

    def _read_ended(self) -> list[str]:
        """Note what ended workers have measured, and tell which of them it holds already."""
        try:
            text = self._folder.read(_ENDED)
            if text is None:
                return []
            content = json.loads(text)
            self._ended = Snapshot.from_json(json.dumps(content["snapshot"]))
            return list(content["folded"])
        except (ValueError, KeyError, TypeError) as error:
            _logger.warning("The metrics of ended workers may be out of date: %s", error)
            return []

    def _stay_alive(self) -> None:
        """Hold the file that says so; in a folder that was deleted, hold it anew."""
        path = self._folder.path / f"{self.worker}.alive"
        if self._alive is not None:
            # Also keeps it from those who clear folders for temporary files of old ones.
            with suppress(FileNotFoundError):
                os.utime(path)
                return
            os.close(self._alive)
            self._alive = None
        self._folder.make()
        alive = self._folder.open(path.name, os.O_CREAT | os.O_RDWR)
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._alive = alive

    def _is_alive(self, name: str) -> bool:
        try:
            alive = self._folder.open(f"{name}.alive", os.O_RDWR)
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
        with self._folder.locked(fcntl.LOCK_EX):
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
                    (self._folder.path / path).unlink(missing_ok=True)

    def _clean_up(self) -> None:
        """Remove what services that are no more have left behind."""
        try:
            for folder in self._base.iterdir():
                if folder != self._folder.path and folder.is_dir() and self._is_left(folder):
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


def _sum(one: Snapshot, other: Snapshot) -> Snapshot:
    """The sum but for gauges, which are of the living."""
    result = Snapshot()
    result.add(one, gauges=False)
    result.add(other, gauges=False)
    return result
