"""Which worker of a group does what only one should do."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from telemetry.logger import limited_logger
from telemetry.sdk.workers.group import WORKER

_logger = limited_logger(__name__)

LEASE = 5.0
"""Seconds after which another worker takes over from a leader that shows no sign of life."""

_LINK = "leader"


class Leadership:
    """A worker's claim to lead its group: the link ``leader`` in the folder names the leader.

    The first worker that asks leads. Once it has ended, the next one that asks takes over. If it
    has only failed to publish for `LEASE` seconds, the next one leads from its second call on.
    """

    def __init__(self, worker: str, is_alive: Callable[[str], bool]) -> None:
        # A worker that is about to end does not take over.
        self.ends = False
        self._worker = worker
        self._is_alive = is_alive
        self._seen: tuple[object, float] = (None, 0.0)

    def claim(self, folder: Path) -> bool:
        """Whether this worker leads now."""
        link = folder / _LINK
        try:
            with suppress(FileNotFoundError):
                leader = os.readlink(link)
                if not WORKER.fullmatch(leader):
                    raise ValueError(f"{_LINK} is a link to {leader}")
                if leader == self._worker or self.ends:
                    return leader == self._worker
                alive = self._is_alive(leader)
                if alive and not self._is_stale(link):
                    return False
                # In one step, so that of two that do so at once only one goes on leading.
                following = folder / f".{self._worker}.{_LINK}"
                following.unlink(missing_ok=True)
                following.symlink_to(self._worker)
                following.replace(link)
                # A leader that hangs gets a moment to see that it does not lead any more.
                return not alive
            if not self.ends:
                link.symlink_to(self._worker)
                return True
        except FileExistsError:
            return False
        except (OSError, ValueError) as error:
            _logger.warning("It is unknown which worker leads: %s", error)
        return False

    def renew(self, folder: Path) -> None:
        """Show that this worker is able to lead, if it does."""
        link = folder / _LINK
        with suppress(OSError):
            if os.readlink(link) == self._worker:
                os.utime(link, follow_symlinks=False)

    def give_up(self, folder: Path) -> None:
        """Stop leading, if this worker leads."""
        if self.claim(folder):
            (folder / _LINK).unlink(missing_ok=True)

    def _is_stale(self, link: Path) -> bool:
        """Whether the leader has shown no sign of life for `LEASE` seconds of this process."""
        sign = link.lstat().st_mtime_ns
        now = time.monotonic()
        if self._seen[0] != sign:
            self._seen = (sign, now)
        return now - self._seen[1] > LEASE
