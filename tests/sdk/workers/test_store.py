"""The folder that workers share: who may look in, and what becomes of it when things go wrong."""

import fcntl
import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import pytest

from telemetry.sdk.points import Number
from telemetry.sdk.snapshot import COUNTER, GAUGE, Snapshot, Stream
from telemetry.sdk.workers import folder as folder_module
from telemetry.sdk.workers import store as module
from telemetry.sdk.workers.store import Others, Store
from tests.support.processes import ROOT

GROUP = "0-1-1"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir(0o700)
    return folder


def snapshot(jobs: int) -> Snapshot:
    streams = [
        Stream("scope", "", "", name, "", "", kind, (), 0, {"{}": Number(value, 0)})
        for name, kind, value in [("jobs", COUNTER, jobs), ("level", GAUGE, 1)]
    ]
    return Snapshot(0, {stream.identity: stream for stream in streams})


def jobs(others: Others) -> float:
    total = Snapshot()
    total.add(others.ended)
    for _, living in others.living:
        total.add(living)
    stream = total.streams.get(("scope", "jobs", 0))
    if stream is None:
        return 0
    point = stream.points["{}"]
    assert isinstance(point, Number)
    return point.value


def end(store: Store) -> None:
    """What the kernel does when the process of a worker ends."""
    assert store._alive is not None
    folder_module.release(store._alive)
    if store._leads is not None:
        folder_module.release(store._leads)


def test_a_worker_sees_the_others_and_not_itself(base: Path) -> None:
    one, two, three = (Store(GROUP, base) for _ in range(3))
    for store, count in ((one, 1), (two, 2), (three, 4)):
        assert store.publish(snapshot(count))
    assert jobs(one.others()) == 6
    assert jobs(two.others()) == 5
    assert len(one.others().living) == 2


def test_what_one_thread_remembers_does_not_spoil_what_another_one_publishes(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A push remembers while another thread of the worker publishes."""
    one, two = Store(GROUP, base), Store(GROUP, base)
    over = Event()

    def remember() -> None:
        while not over.is_set():
            one.remember("pushed-0", snapshot(0))

    thread = Thread(target=remember)
    thread.start()
    try:
        for count in range(1, 2000):
            assert one.publish(snapshot(count))
            assert jobs(two.others()) == count
    finally:
        over.set()
        thread.join()
    assert not caplog.records


def test_services_do_not_see_each_other(base: Path) -> None:
    one, other = Store(GROUP, base), Store("0-2-1", base)
    one.publish(snapshot(1))
    other.publish(snapshot(2))
    assert jobs(one.others()) == jobs(other.others()) == 0
    assert not one.several()


def test_a_worker_that_ended_leaves_its_counts_and_takes_its_gauges(base: Path) -> None:
    one, two = Store(GROUP, base), Store(GROUP, base)
    one.publish(snapshot(1))
    two.publish(snapshot(2))
    end(two)
    for _ in range(3):
        others = one.others()
        assert jobs(others) == 2
        assert others.living == []
        assert ("scope", "level", 0) not in others.ended.streams


def test_a_thousand_ended_workers_are_as_few_files_as_ten(base: Path) -> None:
    one = Store(GROUP, base)
    one.publish(snapshot(0))
    files = []
    for number in range(1000):
        worker = Store(GROUP, base)
        worker.publish(snapshot(1))
        end(worker)
        assert jobs(one.others()) == number + 1
        files.append(len(list((base / GROUP).iterdir())))
    assert files[-1] == files[10] <= 5
    assert (base / GROUP / "ended.json").stat().st_size < 1000


def test_a_worker_that_is_killed_while_folding_counts_nothing_twice(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Store(GROUP, base), Store(GROUP, base)
    one.publish(snapshot(1))
    two.publish(snapshot(2))
    end(two)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            one.others()
    assert jobs(one.others()) == 2
    assert jobs(Store(GROUP, base).others()) == 3


def fold(base: Path, rounds: int) -> None:
    store = Store(GROUP, base)
    for _ in range(rounds):
        store.others()


def test_many_that_fold_at_once_count_everybody_once(base: Path) -> None:
    """The sum is looked at all along: it never goes back and ends exact."""
    one = Store(GROUP, base)
    one.publish(snapshot(0))
    folders = [
        multiprocessing.get_context("spawn").Process(target=fold, args=(base, 200))
        for _ in range(3)
    ]
    for process in folders:
        process.start()
    seen = [0.0]
    for _ in range(100):
        worker = Store(GROUP, base)
        worker.publish(snapshot(1))
        end(worker)
        seen.append(jobs(one.others()))
    for process in folders:
        process.join()
        assert process.exitcode == 0
    assert seen == sorted(seen)
    assert jobs(one.others()) == 100


def test_several_is_seen_and_stays(base: Path) -> None:
    one = Store(GROUP, base)
    one.publish(snapshot(1))
    assert not one.several()
    two = Store(GROUP, base)
    two.publish(snapshot(1))
    assert one.several()
    assert two.several()
    end(two)
    one.others()
    assert one.several()


def test_a_worker_that_replaces_the_one_before_it_is_not_several(base: Path) -> None:
    one = Store(GROUP, base)
    one.publish(snapshot(1))
    end(one)
    two = Store(GROUP, base)
    two.publish(snapshot(1))
    assert not two.several()
    assert jobs(two.others()) == 1


def test_folders_and_files_are_the_users_alone(base: Path) -> None:
    store = Store(GROUP, base)
    store.publish(snapshot(1))
    store.others()
    folder = base / GROUP
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_planted_link_inside_is_not_followed(base: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    store = Store(GROUP, base)
    store.publish(snapshot(1))
    (base / GROUP / f".{store.worker}.tmp").symlink_to(victim)
    assert not store.publish(snapshot(2))
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("content", [b"", b"[[", b"\xff\xfe", b"null", b'[["jobs"]]'])
def test_a_file_that_cannot_be_read_costs_only_itself(
    base: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, three = (Store(GROUP, base) for _ in range(3))
    for store in (one, two, three):
        store.publish(snapshot(1))
    (base / GROUP / f"{two.worker}.json").write_bytes(content)
    assert jobs(one.others()) == 1
    assert len(caplog.records) <= 1


def test_ended_workers_whose_file_is_spoiled_are_remembered(base: Path) -> None:
    one, two = Store(GROUP, base), Store(GROUP, base)
    one.publish(snapshot(1))
    two.publish(snapshot(2))
    end(two)
    assert jobs(one.others()) == 2
    (base / GROUP / "ended.json").write_text('{"folded')
    assert jobs(one.others()) == 2


def test_a_folder_that_was_deleted_is_made_again(base: Path) -> None:
    one, two = Store(GROUP, base), Store(GROUP, base)
    for store in (one, two):
        store.publish(snapshot(1))
    subprocess.run(["rm", "-r", base], check=True)
    assert jobs(one.others()) == 0
    assert one.publish(snapshot(1))
    assert two.publish(snapshot(5))
    assert jobs(one.others()) == 5


def test_ended_workers_are_remembered_by_who_never_showed_them(base: Path) -> None:
    one, two, three = (Store(GROUP, base) for _ in range(3))
    for store in (one, two, three):
        store.publish(snapshot(1))
    end(three)
    assert jobs(one.others()) == 2
    two.publish(snapshot(1))
    subprocess.run(["rm", "-r", base], check=True)
    for store in (one, two):
        store.publish(snapshot(1))
    end(one)
    assert jobs(two.others()) == 2


FULL = """
import resource, sys
from pathlib import Path
from tests.sdk.workers.test_store import GROUP, Store, jobs, snapshot
base = Path(sys.argv[1])
one = Store(GROUP, base)
assert one.publish(snapshot(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
assert not one.publish(snapshot(2))
assert jobs(one.others()) == 7
"""


def test_a_disk_that_is_full_costs_a_log_line(base: Path) -> None:
    other = Store(GROUP, base)
    other.publish(snapshot(7))
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(base)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr
    assert "Other workers cannot see this one's metrics" in result.stderr


def test_what_is_too_large_is_not_written(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "MAX_BYTES", 50)
    assert not Store(GROUP, base).publish(snapshot(1))


def test_what_ended_services_left_behind_is_removed(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "is_over", lambda name: name != "0-4-1")
    over, orphaned, other = (Store(f"0-{number}-1", base) for number in (2, 3, 4))
    for store in (over, orphaned, other):
        store.publish(snapshot(1))
    end(over)
    end(other)
    Store(GROUP, base)
    # The orphaned one's parent has ended, but it is still at work.
    assert {path.name for path in base.iterdir()} == {GROUP, "0-3-1", "0-4-1"}


def test_a_child_of_a_worker_does_not_keep_it_alive(base: Path) -> None:
    one, two = Store(GROUP, base), Store(GROUP, base)
    one.publish(snapshot(1))
    two.publish(snapshot(2))
    ready, over = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(over[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        end(two)
        assert one.others().living == []
    finally:
        os.write(over[1], b"x")
        os.waitpid(child, 0)


def test_a_child_that_is_forked_while_a_lock_is_held_does_not_keep_it(base: Path) -> None:
    one, two = Store(GROUP, base), Store(GROUP, base)
    ready, over = os.pipe(), os.pipe()
    with one._folder.locked(fcntl.LOCK_EX):
        assert one.leads()
        child = os.fork()
        if child == 0:
            os.write(ready[1], b"x")
            os.read(over[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
    try:
        assert two.publish(snapshot(1))
        end(one)
        assert two.leads()
        assert jobs(two.others()) == 0
    finally:
        os.write(over[1], b"x")
        os.waitpid(child, 0)


def test_one_worker_leads_and_when_it_has_ended_another_one(base: Path) -> None:
    one, two = Store(GROUP, base), Store(GROUP, base)
    assert [one.leads(), two.leads(), one.leads()] == [True, False, True]
    end(one)
    assert two.leads()


def test_a_group_that_was_named_begins_anew_when_its_last_worker_has_ended(base: Path) -> None:
    one, two = Store("named-shop", base), Store("named-shop", base)
    for store in (one, two):
        store.publish(snapshot(1))
    end(one)
    assert jobs(Store("named-shop", base).others()) == 2
    end(two)
    assert jobs(Store("named-shop", base).others()) == 0


def test_all_workers_have_the_instance_id_of_the_first(base: Path) -> None:
    one, two = Store(GROUP, base), Store(GROUP, base)
    assert [one.instance("first"), two.instance("second")] == ["first", "first"]


def test_what_has_not_changed_is_not_written_again(base: Path) -> None:
    store = Store(GROUP, base)
    path = base / GROUP / f"{store.worker}.json"
    written = set()
    for count in (1, 1, 2, 2):
        store.publish(snapshot(count))
        written.add(path.stat().st_ino)
    assert len(written) == 2


def test_older_code_that_ends_later_does_not_replace_the_newer_definition(base: Path) -> None:
    old, new, other = (Store(GROUP, base) for _ in range(3))
    before, after = snapshot(1), snapshot(1)
    before.started, after.started = 1, 2
    after.streams["scope", "jobs", 0].description = "newer"
    old.publish(before)
    new.publish(after)
    for store in (new, old):
        end(store)
        ended = other.others().ended
    assert ended.streams["scope", "jobs", 0].description == "newer"
    assert jobs(other.others()) == 2
