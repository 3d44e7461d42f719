"""Several worker processes, one truth: real servers, killed, ended, recycled and disturbed."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.processes import free_port, get, wait_for
from tests.support.series import Series, label_names, total, values
from tests.support.workers import APP, COMMANDS, UVICORN, Load, all_up, requests, spread, workers


def listening(port: int) -> int | None:
    """The process that listens on a port."""
    for connection in psutil.net_connections("tcp"):
        address: Any = connection.laddr
        if connection.status == psutil.CONN_LISTEN and address.port == port:
            return connection.pid
    return None


def folders(folder: Path) -> list[Path]:
    return sorted((folder / "tmp").glob("fastapi-otel-metrics-*/*"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_scrape_shows_the_whole_service(tmp_path: Path, command: str) -> None:
    own = "service.instance.id=of-the-user"
    with workers(tmp_path, command=COMMANDS[command], OTEL_RESOURCE_ATTRIBUTES=own) as app:
        pids = all_up(app)
        answered = {int(app.get("/health")) for _ in range(1000)}
        assert len(answered) > 1
        assert answered <= pids
        for weight in (1, 2, 10) * 10:
            app.get(f"/weigh/{weight}")
        time.sleep(1)
        scrapes = [app.series() for _ in range(20)]
    for series in scrapes:
        assert requests(series) == 1000
        assert requests(series, "/weigh/{weight}") == 30
        assert total(series, "app_responses_total", path="/health", status_code="200") == 1000
        durations = "app_requests_processing_time_seconds_count"
        assert total(series, durations, path="/health") == 1000
        # Instruments that this project knows nothing of.
        assert total(series, "weight_kg_bucket", le="5.0") == 20
        assert total(series, "weight_kg_sum") == 130
        assert values(series, "queue_length") == {(): 130}
        assert list(values(series, "ready").values()) == [1] * 4
        assert set(values(series, "level").values()) <= {0.5, 1}
        # One series a process, told apart by its number.
        assert label_names(series, "app_memory_usage_bytes") == {("process_pid", "type")}
        assert len(values(series, "app_memory_usage_bytes")) == 8
        assert list(values(series, "app_requests_in_progress").values()) == [0] * 4
    targets = {labels for series in scrapes for name, labels in series if name == "target_info"}
    assert len(targets) == 1
    assert ("service_instance_id", "of-the-user") in targets.pop()


def counters(series: Series) -> Series:
    ends = ("_total", "_bucket", "_count", "_sum")
    # A gauge, by the name that the semantic conventions have for it.
    gauges = "process_unix_file_descriptor_count"
    return {
        (name, labels): value
        for (name, labels), value in series.items()
        if name.endswith(ends) and name != gauges
    }


def never_back(scrapes: list[Series]) -> None:
    seen: Series = {}
    for series in scrapes:
        shown = counters(series)
        back = {
            key: (value, shown.get(key)) for key, value in seen.items() if shown.get(key, 0) < value
        }
        assert not back
        seen = shown


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("command", ["uvicorn", "gunicorn"])
def test_nothing_goes_back_when_a_worker_ends_under_load(
    tmp_path: Path, command: str, how: signal.Signals
) -> None:
    scrapes: list[Series] = []
    with workers(tmp_path, command=COMMANDS[command]) as app:
        pids = all_up(app)
        gone = min(pids)
        with Load(app) as load:
            for number in range(60):
                if number == 20:
                    os.kill(gone, how)
                scrapes.append(app.series())
                time.sleep(0.05)
        time.sleep(1)
        last = app.series()
        never_back([*scrapes, last])
        assert requests(last) <= load.answered + 1
        lost = load.answered - requests(last)
        if how is signal.SIGTERM:
            assert lost <= 0
        else:
            # Its last half second of its own counts, and a request that it was at.
            assert lost <= load.answered / 3
        new = all_up(app)
        assert gone not in new


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_an_ended_worker_has_added_to_an_up_down_counter_ends_with_it(
    tmp_path: Path, how: signal.Signals
) -> None:
    with workers(tmp_path) as app:
        all_up(app)
        added: dict[int, int] = {}
        for weight in range(1, 41):
            pid = int(app.get(f"/weigh/{weight}"))
            added[pid] = added.get(pid, 0) + weight
        time.sleep(1)
        gone = max(added, key=lambda pid: added[pid])
        assert values(app.series(), "queue_length") == {(): sum(added.values())}
        os.kill(gone, how)
        remains = sum(added.values()) - added[gone]
        wait_for(lambda: values(app.series(), "queue_length") == {(): remains}, "its share is gone")
        assert total(app.series(), "weight_kg_sum") == sum(added.values())


LAUNCHER = """
import os, socket, subprocess, sys
sock = socket.socket()
sock.bind(("127.0.0.1", int(sys.argv[1])))
sock.listen(64)
sock.set_inheritable(True)
command = ["uvicorn", "--no-access-log", "--fd", str(sock.fileno()), *sys.argv[2:]]
processes = [subprocess.Popen([sys.executable, "-m", *command], close_fds=False) for _ in range(3)]
for process in processes:
    process.wait()
"""


def test_processes_that_are_given_the_name_of_a_group_are_its_workers(tmp_path: Path) -> None:
    """As supervisord, systemd and circus start them, with a socket that they share."""
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    command = ("python", str(tmp_path / "launcher.py"), "{port}")
    with workers(tmp_path, command=command, TELEMETRY_WORKER_GROUP="shop") as app:
        all_up(app, 3)
        answered = spread(app)
        time.sleep(1)
        assert [requests(app) for _ in range(10)] == [answered] * 10


def test_recycled_workers_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    sizes: list[int] = []
    with workers(tmp_path, "--limit-max-requests", "20", command=UVICORN) as app:
        all_up(app)
        answered = failed = 0
        before = requests(app)
        scrapes: list[Series] = []
        deadline = time.monotonic() + 120
        while answered < 400 and time.monotonic() < deadline:
            try:
                app.get("/health")
                answered += 1
                if answered % 10 == 0:
                    scrapes.append(app.series())
                    sizes.append(len(list(folders(tmp_path)[0].iterdir())))
            except OSError:
                # It may have been counted: a worker that leaves closes connections.
                failed += 1
                time.sleep(0.05)
        assert answered == 400
        never_back(scrapes)
        shown = lambda: 400 <= requests(app) - before <= 400 + failed  # noqa: E731
        wait_for(shown, "all 400 are shown", patience=10)
    # Workers, their locks, the sum of the ended, the lock, the flag, and one being written.
    assert max(sizes) <= 2 * 8 + 4


def test_reload_loses_nothing(tmp_path: Path) -> None:
    reloading = ("uvicorn", "--no-access-log", "--reload", "--reload-dir", str(tmp_path))
    with workers(tmp_path, command=reloading) as app:
        pid = app.get("/health")
        app.get("/weigh/1")
        time.sleep(0.6)
        changed = APP.replace("advisory=[5.0]", "advisory=[7.0]").replace(
            'create_up_down_counter("queue.length")',
            'create_counter("queue.length", description="changed")',
        )
        (tmp_path / "served.py").write_text(changed)

        wait_for(lambda: app.get("/health") != pid, "a new worker answers")
        series = app.series()
        assert requests(series) >= 2
        # What the code says now: an instrument of another kind, a histogram with other bounds.
        assert not values(series, "queue_length")
        app.get("/weigh/2")
        series = app.series()
        assert "# HELP queue_length_total changed" in app.get("/metrics")
        assert values(series, "queue_length_total") == {(): 2}
        assert values(series, "weight_kg_bucket") == {("7.0",): 1, ("+Inf",): 1}
        # One at a time: told apart by nothing, and the process is the service.
        assert label_names(series, "app_memory_usage_bytes") == {("type",)}
        assert total(series, "process_cpu_time_seconds_total") > 0


def test_services_side_by_side_and_one_after_the_other(tmp_path: Path) -> None:
    with workers(tmp_path) as one, workers(tmp_path) as other:
        all_up(one)
        all_up(other)
        for _ in range(50):
            one.get("/health")
        time.sleep(1)
        assert [requests(one) for _ in range(5)] == [50] * 5
        assert [requests(other) for _ in range(5)] == [0] * 5
        assert len(folders(tmp_path)) == 2
    with workers(tmp_path) as again:
        all_up(again)
        assert requests(again) == 0
        assert len(folders(tmp_path)) == 1


def test_a_service_that_was_killed_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    with workers(tmp_path) as app:
        all_up(app)
        app.get("/health")
        app.process.kill()
    with workers(tmp_path) as again:
        all_up(again)
        assert requests(again) == 0
        assert len(folders(tmp_path)) == 1


def test_one_worker_alone_pays_nothing(tmp_path: Path) -> None:
    with workers(tmp_path, command=("uvicorn", "--no-access-log")) as app:
        app.get("/health")
        series = app.series()
        tasks = Path(f"/proc/{app.process.popen.pid}/task")
        names = {(task / "comm").read_text().strip() for task in tasks.iterdir()}
        assert "metrics sharing"[:15] not in names
    assert label_names(series, "app_memory_usage_bytes") == {("type",)}
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("harm", ["delete the folder", "spoil a file", "take the rights"])
def test_what_happens_to_the_folder_costs_no_scrape(tmp_path: Path, harm: str) -> None:
    with workers(tmp_path) as app:
        all_up(app)
        for _ in range(40):
            app.get("/health")
        time.sleep(1)
        (folder,) = folders(tmp_path)
        if harm == "delete the folder":
            # In one step: workers go on writing to it.
            shutil.rmtree(folder.rename(tmp_path / "deleted"))
        elif harm == "spoil a file":
            next(folder.glob("[0-9]*.json")).write_bytes(b'[["half')
        else:
            folder.chmod(0o777)
        for _ in range(10):
            app.series()
        folder.chmod(0o700)
        # Living workers publish all that they have, again and again.
        wait_for(lambda: requests(app) == 40, "all is shown again")


def test_the_port_of_their_own_shows_the_whole_service(tmp_path: Path) -> None:
    port = str(free_port())
    variables = {
        "OTEL_EXPORTER_PROMETHEUS_PORT": port,
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
    }
    with workers(tmp_path, **variables) as app:
        url = f"http://127.0.0.1:{port}/metrics"
        answered = spread(app)
        wait_for(lambda: f'path="/health"}} {answered}.0' in get(url), "the port shows all")
        assert app.status("/metrics") == 404
        leader = listening(int(port))
        assert leader is not None
        os.kill(leader, signal.SIGKILL)
        wait_for(lambda: listening(int(port)) not in (None, leader), "another takes over")
        assert f'path="/health"}} {answered}.0' in get(url)
        time.sleep(3)
        assert "cannot listen" not in app.process.log
