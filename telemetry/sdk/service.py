"""What the whole service has measured: this process, or all workers of its group."""

import os
import weakref
from collections.abc import Callable
from threading import Lock
from time import time_ns
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from telemetry.quiet import quiet_logger
from telemetry.sdk.shutdown import register_for_shutdown
from telemetry.sdk.snapshot import Collection, Snapshot
from telemetry.sdk.workers.group import worker_group

if TYPE_CHECKING:
    from telemetry.sdk.workers.sharing import Sharing

_logger = quiet_logger(__name__)


class Reading(NamedTuple):
    """What was measured, what it is about, and whether that is more than one process."""

    snapshot: Snapshot
    resource: Resource
    several: bool


class Service:
    """Reads a metric reader's meter provider, and what the other workers of the group share.

    Parameters:
        reader: Collects with cumulative temporality, and hands what it collects to `receive`.
    """

    def __init__(self, reader: MetricReader) -> None:
        self._reader = reader
        self._collection = Collection()
        self._received: MetricsData | None = None
        self._incomplete = False
        self._sharing: Sharing | None = None
        self._duties: list[Callable[[], None]] = []
        self._lock = Lock()
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

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
            return Reading(total, self._sharing.resource(resource), self._sharing.several)

    def publish(self) -> None:
        """Let the other workers of the group know what this one has measured."""
        with self._lock:
            if self._sharing is not None:
                self._sharing.publish(self._collect()[0])

    def join(self) -> bool:
        """Join the group of workers that this process belongs to. False where there is none.

        To be called in the process that serves the application, when it is about to.
        """
        name = worker_group()
        if name is None or self._sharing is not None:
            return self._sharing is not None
        try:
            from telemetry.sdk.workers.sharing import Sharing

            self._sharing = Sharing(name)
        except (OSError, ImportError) as error:
            _logger.error(
                "Each worker shows its own metrics only: workers cannot share files here (%s). "
                "Set TMPDIR to a folder of this user's where files can be locked.",
                error,
            )
            return False
        self._sharing.start(self._turn)
        register_for_shutdown(self.publish)
        return True

    def when_leading(self, duty: Callable[[], None]) -> None:
        """Call a function from time to time in the worker that leads the group.

        Parameters:
            duty: What only one worker should do; it returns soon.
        """
        self._duties.append(duty)

    def _collect(self) -> tuple[Snapshot, Resource]:
        if self._incomplete:
            # What observable instruments have said in a collection that was broken off would be
            # added to what they say in the next one.
            self._reader.collect()
        self._received = None
        self._incomplete = True
        began = time_ns() // 1_000_000
        self._reader.collect()
        self._incomplete = False
        data = self._received or MetricsData([])
        resource = data.resource_metrics[0].resource if data.resource_metrics else None
        return self._collection.snapshot(data, began), resource or Resource.get_empty()

    def _turn(self) -> None:
        self.publish()
        if self._sharing is not None and self._duties and self._sharing.leads():
            for duty in self._duties:
                duty()

    def _forked(self) -> None:
        """A lock that another thread held when this process was forked is held for ever."""
        self._lock = Lock()
