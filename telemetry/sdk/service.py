"""What the whole service has measured: this process, or all workers of its group."""

import os
import sys
import time
from collections.abc import Callable
from threading import Lock, Thread, get_ident
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from telemetry import batches
from telemetry.compatibility.aggregations import (
    forget_measurements,
    has_measured,
    has_measured_lately,
    series_limits,
)
from telemetry.compatibility.series import aggregations_of
from telemetry.compatibility.servers import is_gunicorn_loaded, is_gunicorns_arbiter
from telemetry.forked import when_forked
from telemetry.logger import limited_logger
from telemetry.sdk import health
from telemetry.sdk.collection import Collection
from telemetry.sdk.shutdown import flush, register_for_shutdown
from telemetry.sdk.snapshot import Snapshot, Stream
from telemetry.sdk.steps import Steps, result_of
from telemetry.sdk.workers.group import named_group, worker_group

if TYPE_CHECKING:
    from telemetry.sdk.workers.worker import Worker

_logger = limited_logger(__name__)

_POLL_INTERVAL = 0.5
# While nothing is recorded: seconds between two collections, for what callbacks tell, the share of
# a processor for these, and seconds after which the others must see that the worker lives.
_REST = 5.0
_MAX_SHARE = 0.005
_CHECK = 1.0
_ATTEMPTS = 10
_SERIES = 2_000


class Reading(NamedTuple):
    """What was measured, what it is about, whether that is more than one process, and when."""

    snapshot: Snapshot
    resource: Resource
    several: bool
    time_ns: int


class Pushing(Protocol):
    """A way on which readings leave the service without being asked for."""

    def flush(self, reading: Reading) -> None:
        """Send a reading."""

    def end(self, reading: Reading) -> None:
        """Tell the receiver that the service has ended."""


class Service:
    """Reads a metric reader's meter provider, and what the other workers of the group share.

    A process belongs to the service once it has joined. What such a process forks shows, pushes and
    flushes nothing that it has inherited; where it measures something itself, it joins as well.

    The reader hands what it collects to `receive`. The suffix tells its group apart from that of
    another reader of the same provider.
    """

    def __init__(self, reader: MetricReader, suffix: str = "") -> None:
        # As it was before the process was forked: the SDK gives each child another
        # service.instance.id, even in the place of a user's own.
        self.resource: Resource | None = None
        # What is flushed when the process ends.
        self.pushing: list[Pushing] = []
        self._suffix = suffix
        self._reader = reader
        self._collection = Collection()
        self._latest = Snapshot()
        self._due = self._shown = 0.0
        self._gauges: dict[Any, Any] = {}
        self._received: MetricsData | None = None
        self._collecting: int | None = None
        self._incomplete = False
        self._owner: int | None = None
        self._group: str | None = None
        self._worker: Worker | None = None
        self._saved: dict[str, Snapshot] = {}
        self._limits: dict[tuple[str, str], int] = {}
        self._duties: list[Callable[[], None]] = []
        self._lock = Lock()
        when_forked(self._forked)
        self._call_callbacks: Callable[[], None] = lambda: None
        self._leaves = False
        if named_group() and not is_gunicorn_loaded():
            self._watch()
            self._leave_at_the_end()

    @property
    def is_collecting(self) -> bool:
        """Whether it is this service that makes the reader collect, in the present thread."""
        return self._collecting == get_ident()

    @property
    def leads(self) -> bool:
        """Whether this process is the one of the service that does what only one should do."""
        return self._has_joined and (self._worker is None or self._worker.leads())

    @property
    def _has_joined(self) -> bool:
        return self._owner == os.getpid()

    def receive(self, data: MetricsData) -> None:
        """Take what the reader has collected."""
        self._received = data

    def read(self) -> Reading:
        """What the service has measured so far."""
        with self._lock:
            now = time.time_ns()
            snapshot, resource = self._collect_all()
            worker = self._worker
            if worker is None:
                return _reading(snapshot, resource, now)
            snapshot = worker.total(snapshot)
            if not worker.is_alone:
                resource = worker.resource(self.resource or resource)
            return _reading(snapshot, resource, now, worker)

    def steps(self) -> Steps[Reading]:
        """The same in steps, of which those may block that call what is not of this package."""
        directly = aggregations_of(self._reader) is not None and not self._incomplete
        if self._worker is not None or not directly:
            yield True
            return self.read()
        now = time.time_ns()
        snapshot, resource = yield from self._collect()
        return _reading(snapshot, resource, now)

    def join(self) -> bool:
        """Have this process, which serves, belong to the service. Whether it is in a group."""
        with self._lock:
            if not self._has_joined:
                self._call_callbacks()
                self._join(worker_group())
        return self._worker is not None

    def join_unless_forked(self) -> bool:
        """Join in a process that serves nothing but pushes. Whether this process has joined.

        One that was forked does not, nor does the one that only forks gunicorn's workers.
        """
        if is_gunicorns_arbiter():
            # It may have joined before it was known to be one.
            self._owner = self._worker = None
        elif self._owner is None:
            self.join()
        return self._has_joined

    def when_leading(self, duty: Callable[[], None]) -> None:
        """Call a function that returns soon from time to time in the worker that leads."""
        self._duties.append(duty)

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Keep a snapshot under a name, for the worker that leads after this one as well."""
        if self._worker is None:
            self._saved[name] = snapshot
        else:
            self._worker.save(name, snapshot)

    def saved(self, name: str) -> Snapshot:
        """What was saved last under a name, by any worker."""
        if self._worker is None:
            return self._saved.get(name, Snapshot())
        return self._worker.saved(name)

    def flush(self) -> None:
        """Let nothing be lost of what was measured, as the process may be about to end.

        Of the workers that leave together, the last one sends what all have measured.
        """
        # gunicorn's arbiter may have loaded the application for its workers.
        if not self._has_joined and (is_gunicorn_loaded() or not self.join_unless_forked()):
            return
        if self._worker is None:
            if self.pushing:
                self._end(self._send())
            return
        with self._lock:
            leads = self._worker.leave(self._collect_all()[0])
        if not leads or not self.pushing:
            return
        for _ in range(_ATTEMPTS):
            reading = self._send()
            if (last := self._worker.hand_over()) is not None:
                break
        if last:
            self._end(reading)

    def _send(self) -> Reading:
        reading = self.read()
        for each in self.pushing:
            each.flush(reading)
        return reading

    def _end(self, reading: Reading) -> None:
        for each in self.pushing:
            each.end(reading)

    def _join(self, group: str | None) -> None:
        self._owner = os.getpid()
        self._group = group
        if group is None:
            return
        try:
            from telemetry.sdk.workers.worker import Worker
        except ImportError as error:
            _logger.error("Each worker shows its own metrics only: %s", error)
            return
        self._worker = Worker(group + self._suffix, self._limit)
        self._worker.start(self._publish)
        self._leave_at_the_end()

    def _leave_at_the_end(self) -> None:
        def leave() -> None:
            # What is pushed is flushed with its provider.
            if not self.pushing and (self._has_joined or has_measured(self._reader)):
                self.flush()

        if not self._leaves:
            self._leaves = True
            register_for_shutdown(leave)

    def _publish(self) -> None:
        if self._worker is None:
            return
        with self._lock:
            for _ in batches.flush():
                pass
            busy, now = any(each.is_busy() for each in list(batches.batches)), time.monotonic()
            lately = has_measured_lately(self._reader, self._gauges)
            collects = busy or lately or now >= self._due
            if collects:
                self._collect_all()
            if collects or now >= self._shown + _CHECK or self._worker.failed:
                self._worker.publish(self._latest)
                self._shown = now
        if self._duties and self._worker.leads():
            for duty in self._duties:
                duty()

    def _limit(self, stream: Stream) -> int:
        key = stream.scope, stream.name
        if key not in self._limits:
            self._limits = series_limits(self._reader)
        # An SDK that has no limits has none of the service's either.
        return self._limits.get(key, _SERIES if self._limits else sys.maxsize)

    def _collect(self) -> Steps[tuple[Snapshot, Resource]]:
        if self._incomplete:
            # What observable instruments have said in a collection that was broken off would be
            # added to what they say in the next one.
            self._collect_once()
        began = time.time_ns() // 1_000_000
        aggregations = aggregations_of(self._reader)
        if aggregations is not None:
            snapshot = yield from self._collection.direct(aggregations, began)
            return snapshot, aggregations.resource
        self._received = None
        self._collect_once()
        data = self._received or MetricsData([])
        resource = data.resource_metrics[0].resource if data.resource_metrics else None
        return self._collection.snapshot(data, began), resource or Resource.get_empty()

    def _collect_all(self) -> tuple[Snapshot, Resource]:
        began = time.thread_time()
        self._latest, resource = result_of(self._collect())
        rest = max(_REST, (time.thread_time() - began) / _MAX_SHARE)
        self._due = time.monotonic() + rest
        return self._latest, resource

    def _collect_once(self) -> None:
        self._collecting = get_ident()
        self._incomplete = True
        try:
            self._reader.collect()
        finally:
            self._collecting = None
        self._incomplete = False

    def _watch(self) -> None:
        """Join as soon as this process measures something, without serving anything."""

        def run() -> None:
            while not self._has_joined and not has_measured(self._reader):
                time.sleep(_POLL_INTERVAL)
            with self._lock:
                if self._has_joined:
                    return
                if group := self._group or named_group():
                    self._join(group)
                    # It calls no exit handlers at the end of its processes.
                    if util := sys.modules.get("multiprocessing.util"):
                        util.Finalize(None, flush, exitpriority=0)
                    return
            _logger.warning(
                "What process %d measures is not shown: it was forked from a process of the "
                "service. TELEMETRY_WORKER_GROUP makes it a worker of its own.",
                os.getpid(),
            )

        Thread(target=run, name="metrics watch", daemon=True).start()

    def _forked(self) -> None:
        """A lock that another thread held when this process was forked is held for ever."""
        self._lock = Lock()
        self._worker = None
        if self._owner is not None:
            self._collection = Collection()
            self._latest = Snapshot()
            self._due = 0.0
            self._collecting = None
            self._call_callbacks = forget_measurements(self._reader)
        if self._owner is not None or (named_group() and not is_gunicorn_loaded()):
            self._watch()


def _reading(
    snapshot: Snapshot, resource: Resource, time_ns: int, worker: "Worker | None" = None
) -> Reading:
    if snapshot.streams:
        age, failed = (worker.data_age, worker.failed) if worker else (0.0, False)
        health.add_state(snapshot, age, failed)
    return Reading(snapshot, resource, worker is not None and worker.several, time_ns)
