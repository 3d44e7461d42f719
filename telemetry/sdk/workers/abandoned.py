"""Folders of groups of workers that have ended."""

import time
from pathlib import Path
from shutil import rmtree

from telemetry.logger import limited_logger
from telemetry.sdk.workers.folder import PrivateFolder, is_private
from telemetry.sdk.workers.group import has_ended, is_named

_logger = limited_logger(__name__)

_RESTART = 60.0
_ABANDONED = 3_600.0


def remove_abandoned(base: Path, own: Path) -> None:
    """Remove the folders of groups that have ended."""
    try:
        for path in base.iterdir():
            if path != own and is_private(path) and _is_abandoned(path):
                rmtree(path, ignore_errors=True)
    except (OSError, ValueError) as error:
        _logger.warning("Files of earlier runs are not removed: %s", error)


def _is_abandoned(path: Path) -> bool:
    alive = list(path.glob("*.alive"))
    if any(PrivateFolder(path).is_locked(each.name) for each in alive):
        return False
    # A named group may start again, and a process in another container cannot be seen: wait.
    idle = time.time() - max(each.lstat().st_mtime for each in [path, *alive])
    if is_named(path.name):
        return idle > _RESTART
    return has_ended(path.name) or idle > _ABANDONED
