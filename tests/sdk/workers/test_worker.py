"""The folder that workers share: who may look in, and what becomes of it when things go wrong."""

import fcntl
import multiprocessing
import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, Resource

from telemetry.logger import OncePerMinute
from telemetry.sdk.points import Number
from telemetry.sdk.snapshot import Kind, Snapshot, Stream
from telemetry.sdk.total import Part, Total
from telemetry.sdk.workers import folder as folder_module
from telemetry.sdk.workers import leadership, lines
from telemetry.sdk.workers import worker as module
from telemetry.sdk.workers.lines import Reader, Writer
from telemetry.sdk.workers.worker import Worker
from tests.support.processes import ROOT

GROUP = "0-1-1"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir(0o700)
    return folder


@pytest.fixture(autouse=True)
def _nothing_logged() -> None:
    """The same line is logged once a minute."""
    for each in (*module._logger.filters, *lines._logger.filters, *leadership._logger.filters):
        if isinstance(each, OncePerMinute):
            each._passed.clear()


def snapshot(jobs: int) -> Snapshot:
    streams = [
        Stream("scope", "", "", name, "", "", kind, (), 0, {"{}": Number(value, 0)})
        for name, kind, value in [("jobs", Kind.COUNTER, jobs), ("level", Kind.GAUGE, 1)]
    ]
    return Snapshot(0, {stream.identity: stream for stream in streams})


def joined(base: Path, group: str = GROUP) -> Worker:
    worker = Worker(group, base=base)
    worker._join()
    return worker


def others(asked: Worker) -> Snapshot:
    """What all have measured but the one that is asked, which has published nothing yet."""
    living, dead = asked._read_others()
    if dead:
        asked._fold(dead)
    ended = [asked._ended.snapshot, *dead.values()]
    parts = [*(Part(each, ended=True) for each in ended), *map(Part, living.values())]
    return Total(lambda _: 2_000).of(parts)


def jobs(total: Snapshot) -> float:
    stream = total.streams.get(("scope", "jobs", 0))
    if stream is None:
        return 0
    point = stream.points["{}"]
    assert isinstance(point, Number)
    return point.value


def end(ended: Worker) -> None:
    """What the kernel does when the process of a worker ends."""
    assert ended._alive is not None
    folder_module.release(ended._alive)


def test_a_worker_sees_the_others_and_not_itself(base: Path) -> None:
    one, two, three = (joined(base) for _ in range(3))
    for store, count in ((one, 1), (two, 2), (three, 4)):
        assert store.publish(snapshot(count))
    assert jobs(others(one)) == 6
    assert jobs(others(two)) == 5
    assert len(one._read_others()[0]) == 2


def test_what_one_thread_remembers_does_not_spoil_what_another_one_publishes(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A push remembers while another thread of the worker publishes."""
    one, two = joined(base), joined(base)
    over = Event()

    def save() -> None:
        while not over.is_set():
            one.save("pushed-0", snapshot(0))

    thread = Thread(target=save)
    thread.start()
    try:
        for count in range(1, 2000):
            assert one.publish(snapshot(count))
            assert jobs(others(two)) == count
    finally:
        over.set()
        thread.join()
    assert not caplog.records


def test_services_do_not_see_each_other(base: Path) -> None:
    one, other = joined(base), joined(base, "0-2-1")
    one.publish(snapshot(1))
    other.publish(snapshot(2))
    assert jobs(others(one)) == jobs(others(other)) == 0
    assert not one.several


def test_a_worker_that_ended_leaves_its_counts_and_takes_its_gauges(base: Path) -> None:
    one, two = joined(base), joined(base)
    one.publish(snapshot(1))
    two.publish(snapshot(2))
    end(two)
    for _ in range(3):
        total = others(one)
        assert jobs(total) == 2
        assert ("scope", "level", 0) not in total.streams


def test_a_thousand_ended_workers_are_as_few_files_as_ten(base: Path) -> None:
    one = joined(base)
    one.publish(snapshot(0))
    files = []
    for number in range(1000):
        worker = joined(base)
        worker.publish(snapshot(1))
        end(worker)
        assert jobs(others(one)) == number + 1
        files.append(len(list((base / GROUP).iterdir())))
    assert files[-1] == files[10] <= 5
    assert (base / GROUP / "ended.json").stat().st_size < 4_000


def test_a_worker_that_is_killed_while_folding_counts_nothing_twice(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = joined(base), joined(base)
    one.publish(snapshot(1))
    two.publish(snapshot(2))
    end(two)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            others(one)
    assert jobs(others(one)) == 2
    assert jobs(others(joined(base))) == 3


def fold(base: Path, rounds: int) -> None:
    store = joined(base)
    for _ in range(rounds):
        others(store)


def test_many_that_fold_at_once_count_everybody_once(base: Path) -> None:
    """The sum is looked at all along: it never goes back and ends exact."""
    one = joined(base)
    one.publish(snapshot(0))
    folders = [
        multiprocessing.get_context("spawn").Process(target=fold, args=(base, 200))
        for _ in range(3)
    ]
    for process in folders:
        process.start()
    seen = [0.0]
    for _ in range(100):
        worker = joined(base)
        worker.publish(snapshot(1))
        end(worker)
        seen.append(jobs(others(one)))
    for process in folders:
        process.join()
        assert process.exitcode == 0
    assert seen == sorted(seen)
    assert jobs(others(one)) == 100


def test_several_is_seen_and_stays(base: Path) -> None:
    one = joined(base)
    one.publish(snapshot(1))
    assert not one.several
    two = joined(base)
    two.publish(snapshot(1))
    assert one.several
    assert two.several
    end(two)
    others(one)
    assert one.several


def test_a_worker_that_replaces_the_one_before_it_is_not_several(base: Path) -> None:
    one = joined(base)
    one.publish(snapshot(1))
    end(one)
    two = joined(base)
    two.publish(snapshot(1))
    assert not two.several
    assert jobs(others(two)) == 1


def test_folders_and_files_are_the_users_alone(base: Path) -> None:
    store = joined(base)
    store.publish(snapshot(1))
    others(store)
    folder = base / GROUP
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_planted_link_inside_is_not_followed(base: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    store = joined(base)
    store.publish(snapshot(1))
    (base / GROUP / f".{store.name}.{store.name}.json").symlink_to(victim)
    assert store.publish(snapshot(2))
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("content", [b"", b"[[", b"\xff\xfe", b"null", b'[["jobs"]]'])
def test_a_file_that_cannot_be_read_costs_only_itself(
    base: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, three = (joined(base) for _ in range(3))
    for store in (one, two, three):
        store.publish(snapshot(1))
    (base / GROUP / f"{two.name}.json").write_bytes(content)
    assert jobs(others(one)) == 1
    assert len(caplog.records) <= 1


def test_ended_workers_whose_file_is_spoiled_are_remembered(base: Path) -> None:
    one, two = joined(base), joined(base)
    one.publish(snapshot(1))
    two.publish(snapshot(2))
    end(two)
    assert jobs(others(one)) == 2
    (base / GROUP / "ended.json").write_text('{"folded')
    assert jobs(others(one)) == 2


def test_a_folder_that_was_deleted_is_made_again(base: Path) -> None:
    one, two = joined(base), joined(base)
    for store in (one, two):
        store.publish(snapshot(1))
    subprocess.run(["rm", "-r", base], check=True)
    assert jobs(others(one)) == 0
    assert one.publish(snapshot(1))
    assert two.publish(snapshot(5))
    assert jobs(others(one)) == 5


def test_ended_workers_are_remembered_by_who_never_showed_them(base: Path) -> None:
    one, two, three = (joined(base) for _ in range(3))
    for store in (one, two, three):
        store.publish(snapshot(1))
    end(three)
    assert jobs(others(one)) == 2
    two.publish(snapshot(1))
    subprocess.run(["rm", "-r", base], check=True)
    for store in (one, two):
        store.publish(snapshot(1))
    end(one)
    assert jobs(others(two)) == 2


FULL = """
import resource, sys
from pathlib import Path
from tests.sdk.workers.test_worker import joined, jobs, others, snapshot
base = Path(sys.argv[1])
one = joined(base)
assert one.publish(snapshot(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
assert not one.publish(snapshot(2))
assert jobs(others(one)) == 7
"""


def test_a_disk_that_is_full_costs_a_log_line(base: Path) -> None:
    other = joined(base)
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
    assert not joined(base).publish(snapshot(1))


def test_what_ended_services_left_behind_is_removed(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ("0-2-1", "0-3-1")
    monkeypatch.setattr("telemetry.sdk.workers.abandoned.has_ended", lambda name: name in ended)
    over, orphaned, other = (joined(base, f"0-{number}-1") for number in (2, 3, 4))
    for store in (over, orphaned, other):
        store.publish(snapshot(1))
    end(over)
    end(other)
    joined(base)
    # The orphaned one's parent has ended, but it is still at work.
    assert {path.name for path in base.iterdir()} == {GROUP, "0-3-1", "0-4-1"}


def test_a_child_of_a_worker_does_not_keep_it_alive(base: Path) -> None:
    one, two = joined(base), joined(base)
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
        assert one._read_others()[0] == {}
    finally:
        os.write(over[1], b"x")
        os.waitpid(child, 0)


def test_a_child_that_is_forked_while_a_lock_is_held_does_not_keep_it(base: Path) -> None:
    one, two = joined(base), joined(base)
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
        assert jobs(others(two)) == 0
    finally:
        os.write(over[1], b"x")
        os.waitpid(child, 0)


def test_one_worker_leads_and_when_it_has_ended_another_one(base: Path) -> None:
    one, two = joined(base), joined(base)
    assert [one.leads(), two.leads(), one.leads()] == [True, False, True]
    end(one)
    assert [two.leads(), one.leads()] == [True, False]


def test_a_group_that_was_named_begins_anew_when_its_last_worker_has_ended(base: Path) -> None:
    one, two = joined(base, "named-shop"), joined(base, "named-shop")
    for store in (one, two):
        store.publish(snapshot(1))
    end(one)
    assert jobs(others(joined(base, "named-shop"))) == 2
    end(two)
    assert jobs(others(joined(base, "named-shop"))) == 0


def test_all_workers_have_the_instance_id_of_the_first(base: Path) -> None:
    one, two = joined(base), joined(base)
    ids = [
        each.resource(Resource({SERVICE_INSTANCE_ID: own})).attributes[SERVICE_INSTANCE_ID]
        for each, own in ((one, "first"), (two, "second"), (one, "third"))
    ]
    assert ids == ["first"] * 3


def test_what_has_not_changed_is_not_written_again(base: Path) -> None:
    store = joined(base)
    path = base / GROUP / f"{store.name}.json"
    written = set()
    for count in (1, 1, 2, 2):
        store.publish(snapshot(count))
        written.add((path.stat().st_mtime_ns, path.stat().st_size))
    assert len(written) == 2


def test_older_code_that_ends_later_does_not_replace_the_newer_definition(base: Path) -> None:
    old, new, other = (joined(base) for _ in range(3))
    before, after = snapshot(1), snapshot(1)
    before.started, after.started = 1, 2
    after.streams["scope", "jobs", 0].description = "newer"
    old.publish(before)
    new.publish(after)
    for store in (new, old):
        end(store)
        ended = others(other)
    assert ended.streams["scope", "jobs", 0].description == "newer"
    assert jobs(others(other)) == 2


def test_what_was_shown_of_a_worker_whose_file_is_spoiled_stays(base: Path) -> None:
    one, two = joined(base), joined(base)
    two.publish(snapshot(2))
    assert jobs(one.total(snapshot(1))) == 3
    path = base / GROUP / f"{two.name}.json"
    path.write_bytes(b"\xff\xfe")
    assert jobs(one.total(snapshot(1))) == 3
    # It sees that its file is not what it has written.
    two.publish(snapshot(2))
    assert jobs(Reader().read(path.read_text())) == 2


def test_a_folder_that_is_deleted_takes_nothing_back(base: Path) -> None:
    one, two, three = (joined(base) for _ in range(3))
    for each in (two, three):
        each.publish(snapshot(2))
    assert jobs(one.total(snapshot(1))) == 5
    end(three)
    assert jobs(one.total(snapshot(1))) == 5
    subprocess.run(["rm", "-r", base], check=True)
    assert jobs(one.total(snapshot(1))) == 5
    two.publish(snapshot(3))
    assert jobs(one.total(snapshot(1))) == 6
    assert jobs(two.total(snapshot(3))) == 6


def test_a_worker_that_ended_with_its_folder_is_counted_once(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = (joined(base) for _ in range(3))
    for each in (two, three):
        each.publish(snapshot(2))
    for each in (one, two):
        assert jobs(each.total(snapshot(2))) == 6
    subprocess.run(["rm", "-r", base], check=True)
    monkeypatch.setattr(module, "has_ended", lambda name: name == three.name)
    for each in (one, two, one, two):
        assert jobs(each.total(snapshot(2))) == 6
    assert one._others.keys() == {two.name}


def test_a_worker_that_is_stopped_in_the_folders_lock_keeps_nobody_waiting(base: Path) -> None:
    one, two, three = (joined(base) for _ in range(3))
    for each in (two, three):
        each.publish(snapshot(2))
    with two._folder.locked() as locked:
        assert locked
        end(three)
        began = time.monotonic()
        for _ in range(5):
            assert jobs(one.total(snapshot(1))) == 5
        assert time.monotonic() - began < 0.5
    assert jobs(one.total(snapshot(1))) == 5
    assert one._others.keys() == {two.name}


def test_what_cannot_be_published_is_not_shown_before_the_others_can_see_it(
    base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = joined(base), joined(base)
    assert jobs(one.total(snapshot(1))) == 1
    assert jobs(two.total(snapshot(2))) == 3

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folder_module.PrivateFolder, "write", full)
        for count in range(5):
            assert jobs(one.total(snapshot(10 + count))) == 3
            assert jobs(two.total(snapshot(20 + count))) == 3
        assert one.failed
        assert two.failed
    assert caplog.text.count("No space left") == 1
    one.publish(snapshot(10))
    assert jobs(two.total(snapshot(20))) == jobs(one.total(snapshot(10))) == 30
    assert not one.failed


def test_who_cannot_join_shows_what_it_has_and_joins_as_soon_as_it_can(
    base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base.rmdir()
    base.write_text("taken")
    one, two = Worker(GROUP, base=base), Worker(GROUP, base=base)
    for _ in range(3):
        assert jobs(one.total(snapshot(1))) == 1
        assert one.is_alone
    assert len(caplog.records) == 1
    # Others may join in a moment.
    assert not one.leads()
    monkeypatch.setattr(module, "LEASE", 0.0)
    assert one.leads()
    monkeypatch.undo()
    base.unlink()
    assert jobs(one.total(snapshot(1))) == 1
    assert jobs(two.total(snapshot(2))) == 3
    assert jobs(one.total(snapshot(1))) == 3
    assert [one.leads(), two.leads()] == [True, False]
    assert not one.failed


def test_who_joins_while_the_disk_is_full_shows_what_the_others_do(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = joined(base)
    one.publish(snapshot(1))
    two = Worker(GROUP, base=base)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folder_module.PrivateFolder, "write", full)
        assert jobs(two.total(snapshot(2))) == 1
        assert two.failed
        assert not two.is_alone
    assert jobs(two.total(snapshot(2))) == jobs(one.total(snapshot(1))) == 3


def test_many_that_join_at_once_all_do(base: Path) -> None:
    base.rmdir()
    workers = [Worker(GROUP, base=base) for _ in range(144)]
    with ThreadPoolExecutor(len(workers)) as pool:
        joining = [pool.submit(each.publish, snapshot(1)) for each in workers]
    # Each tries again at its next turn.
    for each, tried in zip(workers, joining, strict=True):
        assert tried.result() or each.publish(snapshot(1))
    assert jobs(others(joined(base))) == 144


HOSTILE = f"{os.getpid()}-1-1-{'ab' * 4}.json"


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "huge", "nested", "other user"])
def test_hostile_files_are_left_out_and_never_waited_for(
    base: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = joined(base), joined(base)
    two.publish(snapshot(2))
    for suffix in (".json", ".alive"):
        path = base / GROUP / HOSTILE.replace(".json", suffix)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "link":
            path.symlink_to(base / GROUP / f"{two.name}{suffix}")
        elif kind == "folder":
            path.mkdir()
        else:
            nested = f"0\n\n{'[' * 10**6}\n\n."
            path.write_text(nested if kind == "nested" else Writer().write(snapshot(7)))
    if kind == "huge":
        with (base / GROUP / HOSTILE).open("ab") as file:
            file.truncate(folder_module.MAX_BYTES + 1)
    if kind == "other user":
        os.chown(base / GROUP / HOSTILE, 12345, 12345)
    began = time.monotonic()
    for _ in range(3):
        assert jobs(one.total(snapshot(1))) == 3
    assert time.monotonic() - began < 2
    assert len(caplog.records) == 1


def many(first: int, count: int) -> Snapshot:
    points = {f'{{"n":{n}}}': Number(1, n) for n in range(first, first + count)}
    stream = Stream("scope", "", "", "jobs", "", "", Kind.COUNTER, (), 0, dict(points))
    return Snapshot(first, {stream.identity: stream})


def jobs_of_all_series(stream: Stream) -> float:
    return sum(point.value for point in stream.points.values() if isinstance(point, Number))


def test_recycled_workers_keep_to_the_limit_of_one_and_lose_nothing(base: Path) -> None:
    one = Worker(GROUP, lambda _: 20, base)
    shown: set[str] = set()
    for generation in range(6):
        two = Worker(GROUP, lambda _: 20, base)
        two.publish(many(generation * 15, 15))
        for _ in range(3):
            stream = one.total(many(0, 0)).streams["scope", "jobs", 0]
            assert len(stream.points) <= 21
            assert jobs_of_all_series(stream) == (generation + 1) * 15
            assert shown <= stream.points.keys()
            shown |= stream.points.keys()
        end(two)


def test_an_older_sum_of_the_ended_does_not_take_the_place_of_a_newer_one(base: Path) -> None:
    one, two = joined(base), joined(base)
    two.publish(snapshot(2))
    end(two)
    assert jobs(one.total(snapshot(1))) == 3
    (base / GROUP / "ended.json").write_text(f"[0, []]\n{Writer().write(Snapshot())}")
    assert jobs(one.total(snapshot(1))) == 3
    # It is restored for those that have never seen it.
    assert jobs(others(joined(base))) == 3
