"""The files through which the workers of a service know of each other.

A folder for each group holds, for each worker, what it has measured (``<worker>.json``) and a
file that it keeps locked for as long as it lives (``<worker>.alive``). ``ended.json`` holds the
sum of what ended workers have measured, so that there are never more files than workers.
``leader`` is locked by the worker that does what only one should do.
"""

import fcntl
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from threading import Lock
from uuid import uuid4

from telemetry.quiet import quiet_logger
from telemetry.sdk.snapshot import Snapshot
from telemetry.sdk.workers.folder import PrivateFolder, base_folder, release
from telemetry.sdk.workers.group import begins_anew, is_over

_logger = quiet_logger(__name__)

_ENDED = "ended.json"
_INSTANCE = "instance"
_LEADER = "leader"
_SEVERAL = "several"

_Version = tuple[int, int, int]


@dataclass(slots=True)
class Others:
    """What the other workers have measured: the living by their process ids, and the ended."""

    living: list[tuple[int, Snapshot]] = field(default_factory=list)
    ended: Snapshot = field(default_factory=Snapshot)


class Store:
    """One worker's view of its group's folder.

    No error of the file system is raised from here: where the disk is full, the folder was
    deleted or a file cannot be read, what it held is missing and a log line says so.

    Parameters:
        group: The group's name, see `telemetry.sdk.workers.group`.
        base: The folder that holds the groups' folders; by default one in the system's folder
            for temporary files that only this user can access.

    Raises:
        OSError: There is no such folder, or files in it cannot be locked.
    """

    def __init__(self, group: str, base: Path | None = None) -> None:
        self.worker = f"{os.getpid()}-{uuid4().hex[:12]}"
        self._base = base or base_folder()
        self._folder = PrivateFolder(self._base / group)
        self._lock = Lock()
        self._writing = Lock()
        self._alive: int | None = None
        self._leads: int | None = None
        self._left = False
        self._seen: dict[str, _Version | None] = {}
        self._written: Snapshot | None = None
        self._instance: str | None = None
        self._ended = Snapshot()
        self._read: dict[str, tuple[_Version, str, Snapshot]] = {}
        with self._lock:
            self._stay_alive()
        found = self._workers()
        if begins_anew(group) and not any(map(self._is_alive, found)):
            # Not those that other workers write meanwhile.
            self._remove([_ENDED, *(f"{name}.json" for name in found)])
        self._clean_up()

    def publish(self, snapshot: Snapshot) -> bool:
        """Let the other workers know what this one has measured so far. Whether it worked.

        What has not changed is not written again.
        """
        try:
            self._publish(snapshot)
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
                others.ended = self._ended
                ended: list[Snapshot] = []
                self._seen = {}
                for name in self._workers():
                    if name == self.worker or name in folded:
                        continue
                    alive = self._is_alive(name)
                    self._seen[name] = self._version(f"{name}.json")
                    snapshot = self._read_worker(name)
                    if not alive:
                        dead.append(name)
                    if snapshot is not None and alive:
                        others.living.append((int(name.split("-")[0]), snapshot))
                    elif snapshot is not None:
                        ended.append(snapshot)
                if ended:
                    others.ended = _sum_of_ended([self._ended, *ended])
            if dead:
                self._fold(dead)
        except (OSError, ValueError) as error:
            _logger.warning("The metrics of other workers are missing: %s", error)
        return others

    def leave(self, snapshot: Snapshot) -> bool:
        """Publish for the last time, most likely. Whether this worker leads."""
        try:
            with self._folder.locked(fcntl.LOCK_EX):
                self._publish(snapshot)
                os.close(self._folder.open(f"{self.worker}.left", os.O_CREAT | os.O_WRONLY))
                self._left = False
                leads = self.leads()
                self._left = True
                return leads
        except (OSError, ValueError) as error:
            _logger.warning("Other workers may miss this one's last metrics: %s", error)
            return False

    def hand_over(self) -> bool | None:
        """Stop leading. Whether no other worker goes on.

        None, and this one leads on, where another one has left since `others` was asked for.
        """
        try:
            with self._folder.locked(fcntl.LOCK_EX):
                names = [name for name in self._workers() if name != self.worker]
                left = [name for name in names if (self._folder.path / f"{name}.left").exists()]
                staying = [name for name in names if name not in left and self._is_alive(name)]
                if not staying and any(
                    self._version(f"{name}.json") != self._seen.get(name) for name in left
                ):
                    return None
                if self._leads is not None:
                    release(self._leads)
                    self._leads = None
                return not staying
        except OSError as error:
            _logger.warning("Other workers cannot be seen: %s", error)
            return False

    def several(self) -> bool:
        """Whether this group has, or has had, more than one worker at a time."""
        flag = self._folder.path / _SEVERAL
        try:
            if flag.exists():
                return True
            others = (name for name in self._workers() if name != self.worker)
            if any(map(self._is_alive, others)):
                os.close(self._folder.open(_SEVERAL, os.O_CREAT | os.O_WRONLY))
                return True
        except OSError as error:
            _logger.warning("Other workers cannot be seen: %s", error)
        return False

    def leads(self) -> bool:
        """Whether this worker is the one that does what only one should do.

        It is where it asks first; when that one has ended, the next one that asks.
        """
        try:
            with self._lock:
                path = self._folder.path / _LEADER
                if self._leads is not None and not path.exists():
                    # The folder was deleted, and another worker may have the new one's lock.
                    release(self._leads)
                    self._leads = None
                if self._leads is None and not self._left:
                    self._leads = self._folder.try_lock(_LEADER)
                return self._leads is not None
        except OSError as error:
            _logger.warning("It is unknown which worker leads: %s", error)
            return False

    def instance(self, own: str) -> str:
        """The id of the service's instance, the same for all workers: the first one's.

        Parameters:
            own: This worker's.
        """
        if self._instance is None:
            self._instance = own
            try:
                with self._folder.locked(fcntl.LOCK_EX):
                    self._instance = self._folder.read(_INSTANCE) or own
                    self._write(_INSTANCE, self._instance)
            except (OSError, ValueError) as error:
                _logger.warning("Other workers may have another service.instance.id: %s", error)
        return self._instance

    def remember(self, name: str, snapshot: Snapshot) -> None:
        """Keep a snapshot in a file of this name."""
        try:
            self._write(name, snapshot.to_json())
        except (OSError, ValueError) as error:
            _logger.warning("Series that have ended may be shown for some minutes: %s", error)

    def recall(self, name: str) -> Snapshot:
        """What was remembered last under a name, or nothing."""
        try:
            found = self._read_snapshot(name)
        except (OSError, ValueError):
            found = None
        return Snapshot() if found is None else found[1]

    def _workers(self) -> list[str]:
        return sorted(path.stem for path in self._folder.path.glob("*.json") if path.name != _ENDED)

    def _publish(self, snapshot: Snapshot) -> None:
        with self._lock:
            if self._stay_alive() or snapshot != self._written:
                self._write(f"{self.worker}.json", snapshot.to_json())
                self._written = snapshot

    def _write(self, name: str, text: str) -> None:
        # A push remembers in a thread of its own.
        with self._writing:
            self._folder.write(name, text, f".{self.worker}.tmp")

    def _version(self, name: str) -> _Version | None:
        """What is other when a file has been replaced, or None where there is none."""
        try:
            found = (self._folder.path / name).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read_snapshot(self, name: str) -> tuple[str, Snapshot] | None:
        """The first line of a file and the snapshot in the second, read again when it changes."""
        version = self._version(name)
        if version is None:
            self._read.pop(name, None)
            return None
        known = self._read.get(name)
        if known is None or known[0] != version:
            head, _, text = (self._folder.read(name) or "").rpartition("\n")
            known = self._read[name] = (version, head, Snapshot.from_json(text))
        return known[1:]

    def _read_worker(self, name: str) -> Snapshot | None:
        try:
            found = self._read_snapshot(f"{name}.json")
            return None if found is None else found[1]
        except ValueError as error:
            _logger.warning("The metrics of worker %s are missing: %s", name, error)
            return None

    def _read_ended(self) -> list[str]:
        """Note what ended workers have measured, and tell which of them it holds already."""
        try:
            found = self._read_snapshot(_ENDED)
            if found is None:
                return []
            folded: list[str] = json.loads(found[0])
            self._ended = found[1]
            return folded
        except (ValueError, TypeError) as error:
            _logger.warning("The metrics of ended workers may be out of date: %s", error)
            return []

    def _write_ended(self, folded: Iterable[str], ended: Snapshot) -> None:
        self._write(_ENDED, f"{json.dumps(sorted(folded))}\n{ended.to_json()}")
        self._ended = ended

    def _keep_ended(self) -> None:
        """Know what ended workers have measured, also when the folder is deleted."""
        self._read_ended()
        if self._ended.streams and not (self._folder.path / _ENDED).exists():
            with self._folder.locked(fcntl.LOCK_EX):
                if not (self._folder.path / _ENDED).exists():
                    self._write_ended([], self._ended)

    def _stay_alive(self) -> bool:
        """Hold the file that says so. True where it was not there, as in a deleted folder."""
        path = self._folder.path / f"{self.worker}.alive"
        if self._alive is not None:
            # The new time keeps it from programs that delete old temporary files.
            with suppress(FileNotFoundError):
                os.utime(path)
                return False
            release(self._alive)
        self._folder.make()
        self._alive = self._folder.try_lock(path.name)
        return True

    def _is_alive(self, name: str) -> bool:
        try:
            lock = self._folder.try_lock(f"{name}.alive", fcntl.LOCK_SH, create=False)
        except FileNotFoundError:
            return False
        if lock is None:
            return True
        release(lock)
        return False

    def _fold(self, dead: list[str]) -> None:
        with self._folder.locked(fcntl.LOCK_EX):
            folded = set(self._read_ended())
            present = set(self._workers())
            new = [name for name in dead if name in present and name not in folded]
            found = [snapshot for name in new if (snapshot := self._read_worker(name))]
            folded |= set(new)
            # A worker that is killed between the next two steps has folded them all the same.
            self._write_ended(folded & present, _sum_of_ended([self._ended, *found]))
            for name in folded & present:
                self._remove([f"{name}.json", f"{name}.alive", f"{name}.left", f".{name}.tmp"])

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._read.pop(name, None)
            (self._folder.path / name).unlink(missing_ok=True)

    def _clean_up(self) -> None:
        """Remove what groups that have ended have left behind."""
        try:
            for folder in self._base.iterdir():
                if folder != self._folder.path and folder.is_dir() and self._is_left(folder):
                    rmtree(folder, ignore_errors=True)
        except (OSError, ValueError) as error:
            _logger.warning("Files of earlier runs are not removed: %s", error)

    def _is_left(self, path: Path) -> bool:
        if not is_over(path.name):
            return False
        folder = PrivateFolder(path)
        for each in path.glob("*.alive"):
            lock = folder.try_lock(each.name, fcntl.LOCK_SH, create=False)
            if lock is None:
                return False
            release(lock)
        return True


def _sum_of_ended(snapshots: Iterable[Snapshot]) -> Snapshot:
    total = Snapshot()
    for snapshot in sorted(snapshots, key=lambda each: each.started):
        total.add(snapshot, ended=True)
    return total
