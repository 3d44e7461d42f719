"""A folder that belongs to one user alone, in a place where everybody may write."""

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOST_BYTES = 64 * 1024 * 1024
"""The largest file that is written or read."""

_LOCK_PATIENCE = 1.0
_LOCK = "lock"


class PrivateFolder:
    """Files that only their user can read, written whole or not at all.

    Nothing here follows a link in a file's place. What the file system raises, this raises.

    Parameters:
        path: Where the folder is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Make the folder and the one above it, where they are missing.

        Raises:
            PermissionError: One of them is not the user's alone.
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
        """Put a text in a file's place.

        Parameters:
            name: The file's name.
            text: Its new content.
            temporary: The name of a file that nobody else writes to.

        Raises:
            ValueError: The text is longer than `MOST_BYTES`.
        """
        content = text.encode()
        if len(content) > MOST_BYTES:
            raise ValueError(f"{name} would be larger than {MOST_BYTES} bytes")
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
        with open(self.open(temporary, flags), "wb") as file:
            file.write(content)
        os.replace(self.path / temporary, self.path / name)

    def read(self, name: str) -> str | None:
        """A file's text, or None where there is no such file.

        Raises:
            ValueError: It is no text.
        """
        try:
            with open(self.open(name, os.O_RDONLY), "rb") as file:
                return file.read(MOST_BYTES).decode()
        except FileNotFoundError:
            return None

    @contextmanager
    def locked(self, kind: int) -> Iterator[None]:
        """Keep other processes out, or in, for a moment.

        Parameters:
            kind: ``fcntl.LOCK_SH`` or ``fcntl.LOCK_EX``.

        Raises:
            BlockingIOError: Another process has kept this one out for a second.
        """
        lock = self.open(_LOCK, os.O_CREAT | os.O_RDWR)
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
