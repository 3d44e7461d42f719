"""A worker of a group: it publishes what it has measured, and adds up what all have measured.

A folder for each group holds, for each worker, what it has measured (``<worker>.json``) and a
file that it keeps locked for as long as it lives (``<worker>.alive``). ``ended.json`` holds the
sum of what ended workers have measured, so that there are never more files than workers.
"""

import errno
import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid4, uuid5

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, Resource

from telemetry.logger import limited_logger
from telemetry.sdk.snapshot import Snapshot, Stream
from telemetry.sdk.total import Part, Total
from telemetry.sdk.workers import folder
from telemetry.sdk.workers.abandoned import remove_abandoned
from telemetry.sdk.workers.group import WORKER, has_ended, is_named, process_name
from telemetry.sdk.workers.leadership import LEASE, Leadership
from telemetry.sdk.workers.lines import Reader, Writer

_logger = limited_logger(__name__)

INTERVAL = 0.4
"""Seconds between publications. A worker that is killed loses what came after its last one."""

_LOCK_TIMEOUT = 1.0
_READ_TIMEOUT = 2.0
_MAX_FOLDED = 64

_ENDED = "ended.json"
_INSTANCE = "instance"
_SEVERAL = "several"


class _Read(NamedTuple):
    """What was read of another worker, and from which version of its file."""

    version: folder.Version | None
    snapshot: Snapshot
    reader: Reader


class _Ended(NamedTuple):
    """The sum of what ended workers have measured, their number, and the names of the last ones."""

    workers: int = 0
    folded: tuple[str, ...] = ()
    snapshot: Snapshot = Snapshot()


class Worker:
    """This process's part in its group. Only `total` raises an error of the file system.

    What was read of another worker is kept until something newer is read, or until it is in the
    sum of the ended: no counter decreases because a disk is full, a file is overwritten or a folder
    is deleted. Nothing here waits for a process that may have been stopped.
    """

    def __init__(
        self, group: str, limit: Callable[[Stream], int] = lambda _: 2_000, base: Path | None = None
    ) -> None:
        self.name = f"{process_name(os.getpid())}-{uuid4().hex[:8]}"
        # Whether the others cannot see what this worker measures now.
        self.failed = False
        # The age in seconds of the oldest data of the other workers that are alive.
        self.data_age = 0.0
        self._group = group
        self._limit = limit
        self._total = Total(limit)
        self._base = base
        self._folder = folder.PrivateFolder(Path(os.devnull))
        self._alive: int | None = None
        self._writer = Writer()
        self._published: Snapshot | None = None
        self._published_version: folder.Version | None = None
        self._others: dict[str, _Read] = {}
        self._ended = _Ended()
        self._ended_version: folder.Version | None = None
        self._several = False
        self._instance: str | None = None
        self._failing_since = 0.0
        self._given_up: set[str] = set()
        self._leadership = Leadership(self.name, self._is_alive)

    @property
    def is_alone(self) -> bool:
        """Whether this worker has tried to share with others and has never been able to."""
        known = self._published or self._others or self._ended.workers
        return self.failed and not known

    def start(self, publish: Callable[[], None]) -> None:
        """Call a function every `INTERVAL` seconds until the process ends.

        While it does not return, another worker may take over leading.
        """

        def run() -> None:
            while True:
                began = time.monotonic()
                try:
                    publish()
                # The SystemExit of a user's callback, too, must not end this thread.
                except BaseException as error:
                    _logger.warning("This worker's metrics were not published: %r", error)
                taken = time.monotonic() - began
                time.sleep(max(INTERVAL / 4, INTERVAL - taken))

        Thread(target=run, name="metrics sharing", daemon=True).start()

    def publish(self, snapshot: Snapshot) -> bool:
        """Let the other workers read what this one has measured so far. Whether it worked."""
        try:
            self._join()
            file = f"{self.name}.json"
            if snapshot != self._published or self._folder.version(file) != self._published_version:
                self._folder.write(file, self._writer.write(snapshot), self.name)
                self._published = snapshot
                self._published_version = self._folder.version(file)
            # The new time also keeps it from programs that delete old temporary files.
            os.utime(self._folder.path / f"{self.name}.alive")
            self._keep_ended()
        except (OSError, ValueError) as error:
            if not self.failed:
                self._failing_since = time.monotonic()
                _logger.warning(
                    "Other workers cannot see this one's metrics until this is mended: %s. "
                    "telemetry_sharing_failed is 1 meanwhile.",
                    error,
                )
            self.failed = True
        else:
            self.failed = False
        self._leadership.renew(self._folder.path)
        return not self.failed

    def total(self, snapshot: Snapshot) -> Snapshot:
        """What all workers have measured together.

        This one's share is what it has published last, so that no other worker shows less.
        """
        self.publish(snapshot)
        living, dead = self._read_others()
        if dead:
            self._fold(dead)
        own = self._published
        if own is not None or self.is_alone:
            living[self.name] = snapshot if own is None else own
        past = self._sum_of_ended(dead) if dead else self._ended.snapshot
        several = self.several
        # In the same order whichever worker is asked.
        ordered = sorted(living.items(), key=lambda worker: (worker[1].started, worker[0]))
        pids = [int(name.split("-")[1]) if several else None for name, _ in ordered]
        parts = [Part(each, pid=pid) for (_, each), pid in zip(ordered, pids, strict=True)]
        return self._total.of([Part(past, ended=True), *parts])

    @property
    def several(self) -> bool:
        """Whether the group has, or has had, more than one worker at a time."""
        if not self._several:
            with suppress(OSError):
                self._several = self._folder.version(_SEVERAL) is not None
                if any(self._is_alive(name) for name in self._names() if name != self.name):
                    self._several = True
                    self._folder.touch(_SEVERAL)
        return self._several

    def resource(self, own: Resource) -> Resource:
        """The service's resource: this worker's, with the instance id of the first worker."""
        if self._instance is None:
            default = str(uuid5(NAMESPACE_URL, f"fastapi-otel-metrics:{self._group}"))
            instance = str(own.attributes.get(SERVICE_INSTANCE_ID, default))
            path = self._folder.path
            with suppress(OSError, ValueError):
                self._folder.write(self.name, instance, self.name)
                with suppress(FileExistsError):
                    os.link(path / self.name, path / _INSTANCE)
                (path / self.name).unlink()
                instance = self._instance = self._folder.read(_INSTANCE)
        else:
            instance = self._instance
        return Resource({**own.attributes, SERVICE_INSTANCE_ID: instance}, own.schema_url)

    def leads(self) -> bool:
        """Whether this worker is the one that does what only one should do."""
        if self._alive is None:
            return self.is_alone and time.monotonic() - self._failing_since > LEASE
        return self._leadership.claim(self._folder.path)

    def leave(self, snapshot: Snapshot) -> bool:
        """Publish, most likely for the last time. Whether this worker leads."""
        self.publish(snapshot)
        try:
            with self._folder.locked(_LOCK_TIMEOUT):
                self._folder.touch(f"{self.name}.left")
                self._leadership.ends = False
                leads = self.leads() or self.leads()
                self._leadership.ends = True
                return leads
        except OSError as error:
            _logger.warning("Other workers may miss this one's last metrics: %s", error)
            return self.is_alone

    def hand_over(self) -> bool | None:
        """Stop leading. Whether no other worker remains.

        None if this worker goes on leading, because another one has left since `total` was called:
        nobody else would send what that one measured last.
        """
        try:
            with self._folder.locked(_LOCK_TIMEOUT):
                names = [name for name in self._names() if name != self.name]
                left = [name for name in names if self._folder.version(f"{name}.left")]
                staying = [name for name in names if name not in left and self._is_alive(name)]
                if not staying and not all(map(self._knows, left)):
                    return None
                self._leadership.give_up(self._folder.path)
                return not staying
        except OSError as error:
            _logger.warning("Other workers cannot be seen: %s", error)
            return self.is_alone

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Keep a snapshot in a file of this name, for the worker that leads after this one."""
        try:
            self._folder.write(name, Writer().write(snapshot), self.name)
        except (OSError, ValueError) as error:
            _logger.warning("Series that have ended may be shown for some minutes: %s", error)

    def saved(self, name: str) -> Snapshot:
        """What was saved last under a name, by any worker."""
        try:
            return Reader().read(self._folder.read(name))
        except (OSError, ValueError):
            return Snapshot()

    def _join(self) -> None:
        """Join the group's folder, again if it was deleted or if another one is used now."""
        if self._alive is not None:
            if self._folder.version(f"{self.name}.alive") is not None:
                return
            folder.release(self._alive)
            self._alive = None
        base = self._base or folder.base_folder()
        self._folder = folder.PrivateFolder(base / self._group)
        folder.make_private(base)
        folder.make_private(self._folder.path)
        self._alive = self._folder.try_lock(f"{self.name}.alive")
        if self._alive is None:
            raise BlockingIOError(f"{self.name}.alive is locked")
        if self._published is not None:
            return
        names = self._names()
        if is_named(self._group) and not any(map(self._is_alive, names)):
            # The last service of that name has ended. Files of workers that join now are kept.
            self._remove([_ENDED, *(file for name in names for file in self._files_of(name))])
        remove_abandoned(base, self._folder.path)

    def _names(self) -> list[str]:
        """The workers, this one among them, that have published something."""
        try:
            files = os.listdir(self._folder.path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = (each.removesuffix(".json") for each in files if each.endswith(".json"))
        return sorted(name for name in names if WORKER.fullmatch(name))

    def _read_others(self) -> tuple[dict[str, Snapshot], dict[str, Snapshot]]:
        """What the other workers have measured: those that are alive, and those that have ended.

        A worker whose file was deleted or overwritten soon writes it again, and is waited for. If
        it does not, what was read of it last stays.
        """
        deadline = time.monotonic() + _READ_TIMEOUT
        while True:
            alive, unclear = self._read_files()
            if not unclear - self._given_up:
                break
            if time.monotonic() > deadline:
                self._given_up |= unclear
            time.sleep(0.02)
        self._given_up &= unclear
        self.data_age = max([0.0, *map(self._age, alive & self._others.keys())])
        living = {name: each.snapshot for name, each in self._others.items() if name in alive}
        dead = {name: each.snapshot for name, each in self._others.items() if name not in alive}
        return living, dead

    def _read_files(self) -> tuple[set[str], set[str]]:
        """Read what is new. The workers that are alive, and those that may be read incompletely.

        It needs no lock: the sum of the ended is written before the files of the workers in it are
        removed, and read after them.
        """
        names = {*self._names(), *self._others} - {self.name}
        alive = {name for name in names if self._is_alive(name)}
        read = {name for name in names if self._read_worker(name)}
        self._read_ended()
        names.difference_update(self._ended.folded)
        for name in self._others.keys() - names:
            del self._others[name]
        # A worker that ended and was never read is not waited for: the file may be anything.
        known = self._others.keys()
        return alive & names, names & (alive | read | known) - (read & known)

    def _knows(self, name: str) -> bool:
        known = self._others.get(name)
        return known is not None and known.version == self._folder.version(f"{name}.json")

    def _read_worker(self, name: str) -> bool:
        """Read what a worker has published. Whether all of it is known now."""
        if self._knows(name):
            return True
        try:
            reader = known.reader if (known := self._others.get(name)) else Reader()
            version = self._folder.version(f"{name}.json")
            snapshot = reader.read(self._folder.read(f"{name}.json"))
            self._others[name] = _Read(version, snapshot, reader)
        except FileNotFoundError:
            return False
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            _logger.warning("The metrics of worker %s cannot be read: %s", name, error)
            return False
        return True

    def _read_ended(self) -> None:
        """Read the sum of the ended, unless it is of fewer workers than the one known."""
        version = self._folder.version(_ENDED)
        if version is None or version == self._ended_version:
            return
        try:
            head, _, text = self._folder.read(_ENDED).partition("\n")
            workers, folded = json.loads(head)
            ended = _Ended(int(workers), tuple(map(str, folded)), Reader().read(text))
            if (new := ended.workers - self._ended.workers) < 0:
                return
            if new > len(ended.folded):
                # More have ended since the last look than the file names: which ones is unknown.
                self._others.clear()
            self._ended, self._ended_version = ended, version
        except FileNotFoundError:
            return
        except (ValueError, TypeError) as error:
            _logger.warning("The metrics of ended workers may be out of date: %s", error)

    def _write_ended(self, ended: _Ended) -> None:
        head = json.dumps([ended.workers, ended.folded])
        self._folder.write(_ENDED, f"{head}\n{Writer().write(ended.snapshot)}", self.name)
        self._ended = ended
        self._ended_version = self._folder.version(_ENDED)

    def _keep_ended(self) -> None:
        """Read the sum of the ended, and restore it if it was deleted or overwritten."""
        self._read_ended()
        if self._ended.workers and self._folder.version(_ENDED) != self._ended_version:
            with self._folder.locked() as locked:
                self._read_ended()
                if locked and self._folder.version(_ENDED) != self._ended_version:
                    self._write_ended(self._ended)

    def _fold(self, dead: dict[str, Snapshot]) -> None:
        """Add ended workers to the sum of the ended, unless another worker is doing so."""
        try:
            with self._folder.locked() as locked:
                if not locked:
                    return
                self._read_ended()
                new = {name: dead[name] for name in sorted(dead.keys() - set(self._ended.folded))}
                folded = (*self._ended.folded, *new)[-_MAX_FOLDED:]
                total = self._sum_of_ended(new)
                # If this one is killed between the next two steps, they are in the sum already.
                self._write_ended(_Ended(self._ended.workers + len(new), folded, total))
                for name in dead.copy():
                    del dead[name]
                    self._others.pop(name, None)
                for name in set(self._names()) & set(folded):
                    self._remove(self._files_of(name))
        except (OSError, ValueError) as error:
            _logger.warning("Files of workers that have ended are left: %s", error)

    def _sum_of_ended(self, new: dict[str, Snapshot]) -> Snapshot:
        ended = sorted([self._ended.snapshot, *new.values()], key=lambda each: each.started)
        return Total(self._limit).of(Part(each, ended=True) for each in ended)

    def _files_of(self, name: str) -> list[str]:
        """The files of a worker, its metrics last: a worker is found by these."""
        temporary = [each.name for each in self._folder.path.glob(f".{name}.*")]
        return [*temporary, f"{name}.left", f"{name}.alive", f"{name}.json"]

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self._folder.path / name).unlink(missing_ok=True)

    def _is_alive(self, name: str) -> bool:
        locked = self._folder.is_locked(f"{name}.alive")
        # Without the file it may still be alive: the folder may have been deleted.
        return not has_ended(name) if locked is None else locked

    def _age(self, name: str) -> float:
        try:
            return time.time() - (self._folder.path / f"{name}.alive").lstat().st_mtime
        except OSError:
            return 0.0
