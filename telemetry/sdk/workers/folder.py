"""A folder that belongs to one user alone, in a place where everybody may write."""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import ClassVar, NamedTuple

MAX_BYTES = 64 * 1024 * 1024
"""The largest file that is written or read."""

_LOCK = "lock"
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class _Locked:
    """The descriptors of files that this process holds locks of.

    A child has copies of them, and a lock is held until the last copy is closed: a child that
    is forked while a lock is held would keep it. So each child closes them, and none is forked
    between the opening of a file and its entry here.
    """

    descriptors: ClassVar[set[int]] = set()
    guard = Lock()

    @classmethod
    def after_fork_in_child(cls) -> None:
        for descriptor in cls.descriptors:
            os.close(descriptor)
        cls.descriptors.clear()
        cls.guard = Lock()


os.register_at_fork(
    before=lambda: _Locked.guard.acquire(),
    after_in_parent=lambda: _Locked.guard.release(),
    after_in_child=_Locked.after_fork_in_child,
)


class Version(NamedTuple):
    """What changes when a file is replaced or written to."""

    inode: int
    modified: int
    size: int


class PrivateFolder:
    """Files that only their user can read, replaced whole or not at all.

    Links are not followed, and nothing waits for a pipe in a file's place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str, owner: str) -> None:
        """Replace a file's content. One thread of each owner writes to a file at a time."""
        content = text.encode()
        if len(content) > MAX_BYTES:
            raise ValueError(f"{name} would be larger than {MAX_BYTES} bytes")
        temporary = self.path / f".{owner}.{name}"
        temporary.unlink(missing_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | _OPEN
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(content)
        os.replace(temporary, self.path / name)

    def touch(self, name: str) -> None:
        """Create a file of this name, unless there is one."""
        os.close(os.open(self.path / name, os.O_CREAT | os.O_WRONLY | _OPEN, 0o600))

    def version(self, name: str) -> Version | None:
        """What changes when a file is changed, or None if there is no such file."""
        try:
            found = (self.path / name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Version(found.st_ino, found.st_mtime_ns, found.st_size)

    def read(self, name: str) -> str:
        """A file's text, or a ValueError if it is not text, too large, or another user's."""
        with open(os.open(self.path / name, os.O_RDONLY | _OPEN), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
                raise ValueError(f"{name} is not a file of this user")
            if found.st_size > MAX_BYTES:
                raise ValueError(f"{name} is larger than {MAX_BYTES} bytes")
            return file.read(MAX_BYTES).decode()

    @contextmanager
    def locked(self, timeout: float = 0.0) -> Iterator[bool]:
        """Hold the folder's lock. Yields whether it could be taken.

        It waits for `timeout` seconds at most: the process that has the lock may be stopped.
        """
        deadline = time.monotonic() + timeout
        while (lock := self.try_lock(_LOCK)) is None and time.monotonic() < deadline:
            time.sleep(0.002)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                release(lock)

    def try_lock(self, name: str, kind: int = fcntl.LOCK_EX, *, create: bool = True) -> int | None:
        """Lock a file, for `release`, without waiting. None where another process has the lock.

        The kernel releases it however the process ends.
        """
        flags = os.O_RDWR | _OPEN | (os.O_CREAT if create else 0)
        with _Locked.guard:
            lock = os.open(self.path / name, flags, 0o600)
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return None
            except BaseException:
                os.close(lock)
                raise
            _Locked.descriptors.add(lock)
        return lock

    def is_locked(self, name: str) -> bool | None:
        """Whether a process has a file locked, or None where there is no such file."""
        try:
            lock = self.try_lock(name, fcntl.LOCK_SH, create=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            return False
        if lock is None:
            return True
        release(lock)
        return False


def release(lock: int) -> None:
    """Release a lock. In a child of the process that took it, nothing happens."""
    with _Locked.guard:
        if lock in _Locked.descriptors:
            _Locked.descriptors.remove(lock)
            os.close(lock)


def base_folder() -> Path:
    """A folder that belongs to this user, for groups of workers, created if needed.

    All processes with the same environment get the same one, also while a disk is full. If its
    name is taken, for example by another user, it gets a name that nobody can guess.
    """
    parent = _parent()
    name = f"fastapi-otel-metrics-{os.getuid()}"
    with suppress(PermissionError):
        make_private(parent / name)
        return parent / name
    # The first in alphabetical order is the one that was made first.
    if not (own := _own_folders(parent, name)):
        make_private(parent / f"{name}-{time.time_ns()}")
        own = _own_folders(parent, name)
    return own[0]


def _parent() -> Path:
    """Where temporary files are.

    `tempfile.gettempdir` names another folder while this one is full, and workers would not meet.
    """
    for name in ("TMPDIR", "TEMP", "TMP"):
        if (given := os.environ.get(name)) and Path(given).is_dir():
            return Path(given)
    places = ("/tmp", "/var/tmp", "/dev/shm")
    return Path(next((each for each in places if os.access(each, os.W_OK | os.X_OK)), places[0]))


def _own_folders(parent: Path, name: str) -> list[Path]:
    found = sorted(parent / each for each in os.listdir(parent) if each.startswith(f"{name}-"))
    return [path for path in found if is_private(path)]


def is_private(path: Path) -> bool:
    """Whether a path is a folder, not a link to one, that only this user can access."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return own and not stat.S_IMODE(found.st_mode) & 0o077


def make_private(path: Path) -> None:
    """Create a folder that only this user can access, or make sure that it is one."""
    with suppress(FileExistsError):
        path.mkdir(0o700)
    if not is_private(path):
        raise PermissionError(f"{path} is not a folder that only this user can access")
