"""The metrics on a port of their own."""

import gzip
import logging
import os
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack

import psutil
import pytest

from telemetry.sdk.exposition import own_port
from telemetry.sdk.exposition import page as page_module
from telemetry.sdk.exposition.negotiation import Exposition
from telemetry.sdk.exposition.own_port import MAX_CONNECTIONS, listen
from tests.support.pages import page_of
from tests.support.processes import wait_for

ADDRESS = "127.0.0.1"


def served(write: Callable[[Exposition], bytes]) -> str:
    return f"http://{ADDRESS}:{listen(page_of(write), ADDRESS, 0)}"


def connect(url: str) -> socket.socket:
    return socket.create_connection((ADDRESS, int(url.rpartition(":")[2])), timeout=10)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_the_page_and_nothing_else() -> None:
    url = served(lambda exposition: f"page {exposition.name}".encode())
    with urllib.request.urlopen(f"{url}/metrics?x=1") as answer:
        assert answer.read() == b"page TEXT"
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    headers = {"accept": "application/openmetrics-text", "accept-encoding": "gzip"}
    request = urllib.request.Request(f"{url}/metrics", headers=headers)
    with urllib.request.urlopen(request) as answer:
        assert gzip.decompress(answer.read()) == b"page OPENMETRICS"
    request = urllib.request.Request(f"{url}/metrics", method="HEAD")
    with urllib.request.urlopen(request) as answer:
        assert answer.read() == b""
        assert answer.headers["content-length"] == "9"
    assert status(f"{url}/") == 404


def test_some_samples_only() -> None:
    url = served(lambda _: b"a 1\nb 2\n")
    with urllib.request.urlopen(f"{url}/metrics?name[]=b") as answer:
        assert answer.read() == b"b 2\n"


@pytest.mark.parametrize("hangs", [True, False])
def test_503_with_the_kind_of_error_where_there_is_no_page(
    hangs: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(page_module, "TIMEOUT", 0.2)
    monkeypatch.setattr(page_module._logger, "filters", [])

    def write(_: Exposition) -> bytes:
        if hangs:
            time.sleep(1)
        raise OSError("no such disk at\ntcp://me:secret@host")

    url = served(write)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{url}/metrics")
    with caught.value as answer:
        text = answer.read().decode()
    assert answer.code == 503
    assert text.count("\n") == 1
    assert ("a callback, a collector or an exporter hangs" if hangs else "OSError") in text
    assert "secret" not in text
    assert hangs or "no such disk at tcp://me:secret@host" in caplog.text


def test_no_resolver_is_asked_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> str:
        raise AssertionError("asked for the address's name")

    monkeypatch.setattr(socket, "getfqdn", slow)
    monkeypatch.setattr(socket, "gethostbyaddr", slow)
    assert status(served(lambda _: b"page") + "/metrics") == 200


def test_half_requests_keep_few_descriptors_and_nobody_out() -> None:
    url = served(lambda _: b"page")
    before = psutil.Process().num_fds()
    with ExitStack() as stack:
        for _ in range(3 * MAX_CONNECTIONS):
            stack.enter_context(connect(url)).sendall(b"GET /met")
            time.sleep(0.002)
        assert status(f"{url}/metrics") == 200
        # One end of each connection is this test's.
        most = before + 4 * MAX_CONNECTIONS + 2
        wait_for(lambda: psutil.Process().num_fds() <= most, "few descriptors are taken")


def test_a_request_that_trickles_in_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_port, "TIMEOUT", 0.5)
    with connect(served(lambda _: b"page")) as slow:
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            while time.monotonic() - began < 5:
                slow.sendall(b"G")
                time.sleep(0.05)
    assert time.monotonic() - began < 2


def test_one_connection_is_one_request() -> None:
    """Else clients that stay would keep the places of others."""
    with connect(served(lambda _: b"page")) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(4096), b""))
    assert b"connection: close" in received
    assert received.endswith(b"page")


def test_headers_are_bounded_and_nobody_waits_for_them() -> None:
    url = served(lambda _: b"page")
    flood = b"".join(b"Accept: " + b"," * 65_000 + b"\r\n" for _ in range(98))
    with connect(url) as connection:
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n" + flood + b"\r\n")
            connection.recv(100)
            connection.sendall(flood)
            connection.recv(100)
        assert time.monotonic() - began < 2
    assert status(f"{url}/metrics") == 200


def test_resets_and_rubbish_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for logger in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(logger).addHandler(caplog.handler)
    url = served(lambda _: b"page")
    reset = struct.pack("ii", 1, 0)
    for request in [b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"] * 25:
        connection = connect(url)
        connection.sendall(request)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        connection.close()
    assert status(f"{url}/metrics") == 200
    # Rubbish is told once a minute.
    assert [record.getMessage() for record in caplog.records] in (
        [],
        ["Invalid HTTP request received."],
    )


def test_the_port_is_free_again_when_another_worker_is_to_have_it() -> None:
    goes_on = True
    page = page_of(lambda _: b"page")
    port = listen(page, ADDRESS, 0, lambda: goes_on)
    url = f"http://{ADDRESS}:{port}/metrics"
    assert status(url) == 200
    with pytest.raises(OSError, match="in use"):
        listen(page, ADDRESS, port)
    goes_on = False
    wait_for(lambda: not has_listening_socket(port), "the port is free")
    assert listen(page, ADDRESS, port) == port
    assert status(url) == 200


def has_listening_socket(port: int) -> bool:
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as found:
                if found.getsockname()[1] == port:
                    return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        except (OSError, IndexError):
            # Something else, or a socket without a port.
            continue
    return False


def test_a_child_does_not_keep_the_port() -> None:
    port = listen(page_of(lambda _: b"page"), ADDRESS, 0)
    assert has_listening_socket(port)
    child = os.fork()
    if child == 0:
        try:
            os._exit(has_listening_socket(port))
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
