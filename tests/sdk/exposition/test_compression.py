"""Compressed pages, with and without the faster library."""

import gzip
import sys
import zlib
from collections.abc import Iterator
from types import ModuleType

import pytest

from telemetry.sdk.exposition import compression
from tests.support.applications import Measured

PAGE = b"".join(b'series_total{path="/items/%d"} %d.0\n' % (n, n % 7) for n in range(10_000))


@pytest.fixture(params=["isal", "zlib"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        # What it is for an import of a package that is not there.
        monkeypatch.setitem(sys.modules, "isal", None)
    compression._library.cache_clear()
    yield request.param
    compression._library.cache_clear()


def test_which_library_it_is(library: str) -> None:
    found: ModuleType = compression._library()
    assert found.__name__ == {"isal": "isal.isal_zlib", "zlib": "zlib"}[library]


def compressed(page: bytes, size: int = 30_000) -> bytes:
    made = compression.compressor()
    parts = [page[start : start + size] for start in range(0, len(page), size)]
    return b"".join([*map(made.compress, parts), made.flush()])


def test_a_page_in_parts_and_as_a_whole(library: str) -> None:
    assert gzip.decompress(compressed(PAGE)) == PAGE
    assert gzip.decompress(compressed(PAGE, len(PAGE))) == PAGE
    assert len(compressed(PAGE)) < 1.2 * len(gzip.compress(PAGE, 1))
    assert gzip.decompress(compressed(b"")) == b""


def test_another_implementation_reads_it(library: str) -> None:
    reader = zlib.decompressobj(wbits=31)
    assert reader.decompress(compressed(PAGE)) == PAGE
    assert reader.eof
    assert reader.unused_data == b""


def test_a_scrape(library: str) -> None:
    measured = Measured()
    measured.client.get("/nope")
    plain = measured.client.get("/metrics", headers={"accept-encoding": "identity"})
    packed = measured.client.get("/metrics", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert "app_requests_total" in packed.text
