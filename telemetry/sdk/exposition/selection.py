"""The samples that a scrape asks for by name: ``/metrics?name[]=app_requests_total``."""

import time
from collections.abc import Collection
from urllib.parse import parse_qs

import anyio

MAX_QUERY = 8192
"""Bytes of a query, as of a line of a request in many servers."""

_NAME = "name[]"
_BATCH = 1_000
# A tenth of what a processor can, so that a flood leaves it to the application.
_BYTES_PER_SECOND = 20_000_000


def names_in(query: bytes) -> frozenset[bytes]:
    """The names that a query asks for; without any, it asks for the whole page."""
    if b"name" not in query:
        return frozenset()
    return frozenset(name.encode() for name in parse_qs(query.decode("latin-1")).get(_NAME, ()))


class Selection:
    """Cuts pages down to the samples of some names, as prometheus_client's handlers do.

    The name of a family, such as ``app_requests``, selects nothing: its samples have others.
    """

    def __init__(self) -> None:
        self._next = 0.0

    async def of(self, page: bytes, names: Collection[bytes]) -> bytes:
        """The samples of these names, with the header lines of their families."""
        now = time.monotonic()
        at = max(now, self._next)
        self._next = at + len(page) / _BYTES_PER_SECOND
        await anyio.sleep(at - now)
        selected: list[bytes] = []
        header: list[bytes] = []
        # Not splitlines: a label's value may have a carriage return.
        for number, line in enumerate(page.split(b"\n"), 1):
            if number % _BATCH == 0:
                await anyio.sleep(0)
            if line.startswith(b"# HELP "):
                header = [line]
            elif line == b"# EOF":
                selected.append(line)
            elif line.startswith(b"# "):
                header.append(line)
            elif line.partition(b"{")[0].partition(b" ")[0] in names:
                selected += [*header, line]
                header = []
        return b"\n".join([*selected, b""])
