"""A folder of our own in a place where everybody may write."""

import fcntl
import os
import stat
import tempfile
from pathlib import Path

import pytest

from telemetry.sdk.workers import folder as module
from telemetry.sdk.workers.folder import PrivateFolder, base_folder


def test_a_planted_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    name = f"fastapi-otel-metrics-{os.getuid()}"
    (tmp_path / name).symlink_to(elsewhere)
    (tmp_path / f"{name}-1").mkdir(0o777)
    (tmp_path / f"{name}-1").chmod(0o777)
    (tmp_path / f"{name}-2").write_text("no folder")
    assert base_folder() == tmp_path / f"{name}-3"
    assert list(elsewhere.iterdir()) == []


def test_where_every_name_is_taken_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    name = f"fastapi-otel-metrics-{os.getuid()}"
    for suffix in ("", *(f"-{number}" for number in range(1, 10))):
        (tmp_path / f"{name}{suffix}").write_text("")
    with pytest.raises(PermissionError, match="all names"):
        base_folder()


def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    somebody = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    # Made by the user that this test runs as, and so, for the other one, by another user.
    with pytest.raises(PermissionError):
        base_folder()


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path / "base" / "own")
    folder.make()
    assert folder.read("file") is None
    folder.write("file", "content", "temporary")
    assert folder.read("file") == "content"
    assert stat.S_IMODE((tmp_path / "base").stat().st_mode) == 0o700
    assert [path.name for path in folder.path.iterdir()] == ["file"]


def test_who_is_kept_out_for_too_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOCK_TIMEOUT", 0.05)
    folder = PrivateFolder(tmp_path / "own")
    tmp_path.chmod(0o700)
    folder.make()
    with folder.locked(fcntl.LOCK_EX), pytest.raises(BlockingIOError), folder.locked(fcntl.LOCK_SH):
        raise AssertionError("it was not kept out")
    with folder.locked(fcntl.LOCK_SH), folder.locked(fcntl.LOCK_SH):
        pass
