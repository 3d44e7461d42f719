"""SIGTERM, under load and with exporters that hang."""

import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.support.processes import service
from tests.support.receivers import silent_receiver


def test_sigterm_under_load_answers_what_was_accepted_and_exits_0(tmp_path: Path) -> None:
    with service(tmp_path) as app:
        answers: list[bytes] = []

        def ask() -> None:
            with socket.create_connection(("127.0.0.1", app.port)) as connection:
                connection.sendall(b"GET /random_sleep HTTP/1.1\r\nHost: x\r\n\r\n")
                answers.append(connection.recv(1000))

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        time.sleep(0.09)
        assert app.process.stop() == 0
        for thread in threads:
            thread.join()
        assert [answer[:15] for answer in answers] == [b"HTTP/1.1 200 OK"] * 20
        assert "Traceback" not in app.process.log


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once_though_every_exporter_hangs(
    tmp_path: Path, second: signal.Signals
) -> None:
    with silent_receiver() as endpoint:
        environment = {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        }
        with service(tmp_path, environment=environment) as app:
            app.get("/health")
            app.process.popen.send_signal(signal.SIGTERM)
            time.sleep(1)
            assert app.process.popen.poll() is None
            began = time.monotonic()
            app.process.popen.send_signal(second)
            app.process.popen.wait(10)
            assert time.monotonic() - began < 2


def test_with_every_exporter_hanging_it_exits_0_within_the_bound(tmp_path: Path) -> None:
    with silent_receiver() as endpoint:
        environment = {
            "OTEL_METRICS_EXPORTER": "otlp,prometheus",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        }
        with service(tmp_path, environment=environment) as app:
            app.get("/health")
            began = time.monotonic()
            assert app.process.stop() == 0
            assert time.monotonic() - began < 7
