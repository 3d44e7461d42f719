"""A folder of our own in a place where everybody may write."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from telemetry.sdk.workers.folder import PrivateFolder, base_folder, is_private, make_private


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    name = f"fastapi-otel-metrics-{os.getuid()}"
    (tmp_path / name).symlink_to(elsewhere)
    (tmp_path / f"{name}-1").mkdir(0o777)
    (tmp_path / f"{name}-1").chmod(0o777)
    (tmp_path / f"{name}-2").write_text("no folder")
    found = base_folder()
    assert is_private(found)
    assert found.parent == tmp_path
    assert list(elsewhere.iterdir()) == []
    # All workers find the same one.
    assert base_folder() == found


def test_another_user_cannot_take_all_names(tmp_path: Path) -> None:
    name = f"fastapi-otel-metrics-{os.getuid()}"
    for suffix in ("", *(f"-{number}" for number in range(100))):
        (tmp_path / f"{name}{suffix}").write_text("")
    assert base_folder() == base_folder()


def test_a_folder_of_somebody_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    own = base_folder()
    somebody = os.getuid() + 1
    own.rename(own.with_name(f"fastapi-otel-metrics-{somebody}"))
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    # Made by the user that this test runs as, and so, for the other one, by another user.
    with pytest.raises((PermissionError, IndexError)):
        base_folder()


def test_a_disk_that_is_full_does_not_send_a_worker_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = base_folder()

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert base_folder() == found
    assert found.parent == tmp_path


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path / "own")
    make_private(folder.path)
    with pytest.raises(FileNotFoundError):
        folder.read("file")
    folder.write("file", "content", "one")
    assert folder.read("file") == "content"
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert [path.name for path in folder.path.iterdir()] == ["file"]


def test_who_is_kept_out_is_told_after_a_time(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path)
    with folder.locked() as one, folder.locked(0.05) as other:
        assert (one, other) == (True, False)
    with folder.locked() as one:
        assert one
