"""Many replicas in one process: the page of a real one for each, whose numbers move."""

import gzip
import os
import random
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.page import OPENMETRICS

INTERVAL = 15.0
"""Seconds of traffic between two scrapes of a replica, whenever they are."""
REQUESTS = 20
"""Requests a second to a replica."""
HEARTBEATS = 50
"""Delays of event loops that a replica measures in a second."""


class _Line:
    """A line of the page, and how its number moves."""

    def __init__(self, text: str, gauges: set[str]) -> None:
        self.text, _, self.value = text.rpartition(" ")
        self.name = re.split(r"[{ ]", text)[0]
        path = re.search(r'path="([^"]*)"', text)
        self.group = path[1] if path else re.sub("_(bucket|count|sum|total)$", "", self.name)
        self.kind = next(
            (
                kind
                for kind in ("created", "bucket", "count", "sum", "total")
                if self.name.endswith(f"_{kind}") and self.name not in gauges
            ),
            "gauge",
        )


class _Moving:
    """One of many replicas: the page of a real one, whose numbers move with each scrape."""

    def __init__(self, page: list[_Line | str], number: int) -> None:
        self._random = random.Random(number)
        self._page = page
        self._values = [0.0 if isinstance(each, str) else float(each.value) for each in page]
        self._id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        lines = [each for each in page if isinstance(each, _Line)]
        self._buckets = Counter(each.group for each in lines if each.kind == "bucket")
        paths = [path for path in dict.fromkeys(each.group for each in lines) if path[0] == "/"]
        # As it is with most services: few routes get most of the requests (Zipf's law).
        harmonic = sum(1 / place for place in range(1, len(paths) + 1))
        self._events = {
            path: REQUESTS * INTERVAL / place / harmonic
            for place, path in enumerate(paths, start=1)
        }
        self._events["app_event_loop_delay_seconds"] = HEARTBEATS * INTERVAL

    def _durations(self, group: str) -> tuple[int, list[int]]:
        """How many there were since the last scrape, and in how many each bucket grows."""
        mean = self._events.get(group, 3.0)
        count = max(0, round(self._random.gauss(mean, mean**0.5)))
        weights = [0.5 ** abs(place - 2) for place in range(self._buckets[group])]
        fallen = Counter(
            self._random.choices(range(len(weights)), weights, k=count) if weights else ()
        )
        return count, list(accumulate(fallen[place] for place in range(len(weights))))

    def next(self) -> bytes:
        """The page of the next scrape."""
        new: dict[str, tuple[int, Iterator[int]]] = {}
        shown = []
        for place, line in enumerate(self._page):
            if isinstance(line, str):
                shown.append(line)
                continue
            if line.group not in new:
                count, buckets = self._durations(line.group)
                new[line.group] = count, iter(buckets)
            count, fallen = new[line.group]
            if line.kind == "bucket":
                self._values[place] += next(fallen)
            elif line.kind in ("count", "total"):
                cpu = line.name == "process_cpu_time_seconds_total"
                self._values[place] += round(self._random.random(), 2) if cpu else count
            elif line.kind == "sum":
                self._values[place] += sum(self._random.expovariate(20) for _ in range(count))
            elif line.name == "app_memory_usage_bytes":
                self._values[place] += 4096 * self._random.choice(
                    (0, 0, self._random.randrange(-64, 65))
                )
            elif line.name == "app_requests_in_progress":
                self._values[place] = float(self._random.randrange(4))
            value = line.value if line.kind == "created" else repr(self._values[place])
            shown.append(f"{line.text} {value}")
        text = "\n".join([*shown, ""])
        return re.sub('(?<=service_instance_id=")[^"]*', self._id, text, count=1).encode()


def served() -> ASGIApp:
    """For uvicorn: /N/metrics is the page of replica N, made of that in ``BENCHMARK_PAGE``."""
    text = Path(os.environ["BENCHMARK_PAGE"]).read_text(encoding="utf-8")
    gauges = set(re.findall(r"^# TYPE (\S+) gauge$", text, re.M))
    page = [each if each.startswith("#") else _Line(each, gauges) for each in text.splitlines()]
    known: dict[str, _Moving] = {}

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        number = scope["path"].split("/")[1]
        body = b""
        if number.isdecimal():
            if number not in known:
                known[number] = _Moving(page, int(number))
            body = gzip.compress(known[number].next(), 6)
        headers = [
            (b"content-type", f"{OPENMETRICS}; charset=utf-8".encode()),
            (b"content-encoding", b"gzip"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
