"""A folder that belongs to one user alone, in a place where everybody may write."""

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import ClassVar

MAX_BYTES = 64 * 1024 * 1024
"""The largest file that is written or read."""

_LOCK_TIMEOUT = 1.0
_LOCK = "lock"


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


class PrivateFolder:
    """Files that only their user can read, replaced whole or not at all.

    Nothing here follows a symbolic link in a file's place. Errors of the file system are raised
    as they are.

    Parameters:
        path: Where the folder is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Create the folder and the one above it, where they are missing.

        Raises:
            PermissionError: One of them is accessible to others, or not the user's.
        """
        _make_private(self.path.parent)
        _make_private(self.path)

    def open(self, name: str, flags: int) -> int:
        """A file's descriptor.

        Parameters:
            name: The file's name in this folder.
            flags: As for `os.open`.
        """
        return os.open(self.path / name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def write(self, name: str, text: str, temporary: str) -> None:
        """Replace a file's content.

        Parameters:
            name: The file's name.
            text: Its new content.
            temporary: The name of a file that no other process writes to.

        Raises:
            ValueError: The text is longer than `MAX_BYTES`.
        """
        content = text.encode()
        if len(content) > MAX_BYTES:
            raise ValueError(f"{name} would be larger than {MAX_BYTES} bytes")
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
        with open(self.open(temporary, flags), "wb") as file:
            file.write(content)
        os.replace(self.path / temporary, self.path / name)

    def read(self, name: str) -> str | None:
        """A file's text, or None where there is no such file.

        Raises:
            ValueError: It is not valid UTF-8.
        """
        try:
            with open(self.open(name, os.O_RDONLY), "rb") as file:
                return file.read(MAX_BYTES).decode()
        except FileNotFoundError:
            return None

    @contextmanager
    def locked(self, kind: int) -> Iterator[None]:
        """Keep other processes out for a moment, or only those that want to write.

        Parameters:
            kind: ``fcntl.LOCK_SH`` or ``fcntl.LOCK_EX``.

        Raises:
            BlockingIOError: Another process has kept this one out for a second.
        """
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while (lock := self.try_lock(_LOCK, kind)) is None:
            if time.monotonic() > deadline:
                raise BlockingIOError(f"{self.path / _LOCK} has been locked for a second")
            time.sleep(0.002)
        try:
            yield
        finally:
            release(lock)

    def try_lock(self, name: str, kind: int = fcntl.LOCK_EX, *, create: bool = True) -> int | None:
        """Lock a file, without waiting. The kernel lets go of it however the process ends.

        Parameters:
            name: The file's name.
            kind: ``fcntl.LOCK_SH`` or ``fcntl.LOCK_EX``.
            create: Whether the file is made where it is missing.

        Returns:
            A descriptor to call `release` with, or None where another one has the lock.
        """
        with _Locked.guard:
            lock = self.open(name, os.O_RDWR | (os.O_CREAT if create else 0))
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


def release(lock: int) -> None:
    """Let go of a lock. Nothing happens in a child of the process that took it.

    Parameters:
        lock: What `PrivateFolder.try_lock` has returned.
    """
    with _Locked.guard:
        if lock in _Locked.descriptors:
            _Locked.descriptors.remove(lock)
            os.close(lock)


def base_folder() -> Path:
    """A folder for temporary files that belongs to this user, created if needed.

    Where its name is taken by something that is not such a folder, the next name is tried.

    Raises:
        OSError: It cannot be created.
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
    raise PermissionError(f"all names for a private folder in {parent} are taken")


def _make_private(path: Path) -> None:
    """Create a folder that only this user can access, or make sure that it is one.

    Raises:
        PermissionError: It is a link, not a folder, another user's, or accessible to others.
    """
    with suppress(FileExistsError):
        path.mkdir(0o700, parents=False)
    found = path.lstat()
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not private or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{path} is not a folder that only this user can access")
