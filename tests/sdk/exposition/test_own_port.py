"""The metrics on a port of their own."""

import gzip
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from telemetry.sdk.exposition import page as page_module
from telemetry.sdk.exposition.own_port import MetricsServer
from telemetry.sdk.exposition.page import Page


@contextmanager
def served(write: Callable[..., bytes]) -> Iterator[str]:
    server = MetricsServer(Page(write, list), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_the_page_and_nothing_else() -> None:
    with served(lambda openmetrics, _: f"page {openmetrics}".encode()) as url:
        with urllib.request.urlopen(f"{url}/metrics?x=1") as answer:
            assert answer.read() == b"page False"
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        headers = {"accept": "application/openmetrics-text", "accept-encoding": "gzip"}
        request = urllib.request.Request(f"{url}/metrics", headers=headers)
        with urllib.request.urlopen(request) as answer:
            assert gzip.decompress(answer.read()) == b"page True"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{url}/")
        caught.value.close()
        assert caught.value.code == 404


@pytest.mark.parametrize("hangs", [True, False])
def test_503_with_the_cause_where_there_is_no_page(
    hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "TIMEOUT", 0.2)

    def write(*_: object) -> bytes:
        if hangs:
            time.sleep(1)
        raise OSError("no such\ndisk")

    with served(write) as url, pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{url}/metrics")
    with caught.value as answer:
        text = answer.read().decode()
    assert answer.code == 503
    assert text.count("\n") == 1
    assert (
        "a callback, a collector or an exporter hangs" if hangs else "OSError: no such disk"
    ) in text


def test_no_resolver_is_asked_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> str:
        raise AssertionError("asked for the address's name")

    monkeypatch.setattr(socket, "getfqdn", slow)
    monkeypatch.setattr(socket, "gethostbyaddr", slow)
    with served(lambda *_: b"page") as url, urllib.request.urlopen(f"{url}/metrics") as answer:
        assert answer.status == 200
