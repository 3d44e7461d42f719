"""What the whole service has measured: this process, or all workers of its group."""

import os
import weakref
from collections.abc import Callable
from threading import Lock, get_ident
from time import time_ns
from typing import TYPE_CHECKING, NamedTuple, Protocol

from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from telemetry.compatibility import is_gunicorn_loaded
from telemetry.quiet import quiet_logger
from telemetry.sdk.collection import Collection
from telemetry.sdk.shutdown import register_for_shutdown
from telemetry.sdk.snapshot import Snapshot
from telemetry.sdk.workers.group import worker_group

if TYPE_CHECKING:
    from telemetry.sdk.workers.sharing import Sharing

_logger = quiet_logger(__name__)


class Reading(NamedTuple):
    """What was measured, what it is about, and whether that is more than one process."""

    snapshot: Snapshot
    resource: Resource
    several: bool


class Pushing(Protocol):
    """A way on which readings leave the service without being asked for."""

    def flush(self, reading: Reading) -> None:
        """Send a reading."""

    def end(self, reading: Reading) -> None:
        """Tell the receiver that the service has ended."""


class Service:
    """Reads a metric reader's meter provider, and what the other workers of the group share.

    Parameters:
        reader: Collects with cumulative temporality, and hands what it collects to `receive`.
        suffix: Tells its group apart from that of another reader of the same provider.

    Attributes:
        resource: What the provider is about, as it was before the process was forked: the SDK
            gives each child another ``service.instance.id``, even in the place of a user's own.
        pushing: What is flushed when the process ends.
    """

    def __init__(self, reader: MetricReader, suffix: str = "") -> None:
        self.resource: Resource | None = None
        self._suffix = suffix
        self.pushing: list[Pushing] = []
        self._reader = reader
        self._collection = Collection()
        self._received: MetricsData | None = None
        self._collecting: int | None = None
        self._incomplete = False
        self._joined = False
        self._sharing: Sharing | None = None
        self._remembered: dict[str, Snapshot] = {}
        self._duties: list[Callable[[], None]] = []
        self._forked()
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    @property
    def is_collecting(self) -> bool:
        """Whether it is this service that makes the reader collect, in the present thread."""
        return self._collecting == get_ident()

    @property
    def leads(self) -> bool:
        """Whether this process is the one of the service that does what only one should do."""
        return self._sharing is None or self._sharing.leads()

    def receive(self, data: MetricsData) -> None:
        """Take what the reader has collected."""
        self._received = data

    def read(self) -> Reading:
        """What the service has measured so far. One thread reads at a time.

        Raises:
            Exception: What the SDK raises when it collects.
        """
        with self._lock:
            snapshot, resource = self._collect()
            if self._sharing is None:
                return Reading(snapshot, resource, False)
            total = self._sharing.total(snapshot)
            resource = self._sharing.resource(self.resource or resource)
            return Reading(total, resource, self._sharing.several)

    def join(self) -> bool:
        """Join the group of workers that this process belongs to. False where there is none.

        To be called in a worker, not in the process that forks it. Every call but the first
        does nothing.
        """
        with self._lock:
            if not self._joined:
                self._joined = True
                self._sharing = self._join(worker_group())
        return self._sharing is not None

    def when_leading(self, duty: Callable[[], None]) -> None:
        """Call a function from time to time in the worker that leads the group.

        Parameters:
            duty: What only one worker should do; it returns soon.
        """
        self._duties.append(duty)

    def remember(self, name: str, snapshot: Snapshot) -> None:
        """Keep a snapshot under a name, for the worker that leads after this one as well."""
        if self._sharing is None:
            self._remembered[name] = snapshot
        else:
            self._sharing.remember(name, snapshot)

    def recall(self, name: str) -> Snapshot:
        """What was remembered last under a name, by any worker."""
        if self._sharing is None:
            return self._remembered.get(name, Snapshot())
        return self._sharing.recall(name)

    def flush(self) -> None:
        """Let nothing be lost of what was measured, as the process may be about to end.

        Of the workers that leave together, the last one sends what all have measured.
        """
        if not self._joined and is_gunicorn_loaded():
            # The arbiter, which has loaded the application for its workers and serves nothing.
            return
        if self._sharing is None:
            if self.pushing:
                self._end(self._send())
            return
        with self._lock:
            leads = self._sharing.leave(self._collect()[0])
        if not leads or not self.pushing:
            return
        last: bool | None = None
        while last is None:
            reading = self._send()
            last = self._sharing.hand_over()
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

    def _join(self, name: str | None) -> "Sharing | None":
        if name is None:
            return None
        try:
            from telemetry.sdk.workers.sharing import Sharing

            sharing = Sharing(name + self._suffix)
        except (OSError, ImportError) as error:
            _logger.error(
                "Each worker shows its own metrics only: workers cannot share files here (%s). "
                "Set TMPDIR to a folder of this user's where files can be locked.",
                error,
            )
            return None
        sharing.start(self._turn)
        # What is pushed is flushed with its provider.
        if not self.pushing:
            register_for_shutdown(self.flush)
        return sharing

    def _collect(self) -> tuple[Snapshot, Resource]:
        self._collecting = get_ident()
        try:
            if self._incomplete:
                # What observable instruments have said in a collection that was broken off would
                # be added to what they say in the next one.
                self._reader.collect()
            self._received = None
            self._incomplete = True
            began = time_ns() // 1_000_000
            self._reader.collect()
            self._incomplete = False
        finally:
            self._collecting = None
        data = self._received or MetricsData([])
        resource = data.resource_metrics[0].resource if data.resource_metrics else None
        return self._collection.snapshot(data, began), resource or Resource.get_empty()

    def _turn(self) -> None:
        if self._sharing is not None:
            with self._lock:
                self._sharing.publish(self._collect()[0])
            if self._duties and self._sharing.leads():
                for duty in self._duties:
                    duty()

    def _forked(self) -> None:
        """A lock that another thread held when this process was forked is held for ever."""
        self._lock = Lock()
