"""A worker's part in its group: it publishes its own numbers and adds up those of all."""

import os
import time
from collections.abc import Callable
from threading import Thread
from uuid import NAMESPACE_URL, uuid5

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, Resource

from telemetry.quiet import quiet_logger
from telemetry.sdk.snapshot import Snapshot
from telemetry.sdk.workers.store import Store

_logger = quiet_logger(__name__)

INTERVAL = 0.5
"""Seconds between two publications, of which a worker that is killed loses the last."""

_MAX_SHARE = 0.015

PID = "process.pid"
"""The attribute that tells the gauges of several workers apart:
https://opentelemetry.io/docs/specs/semconv/registry/attributes/process/."""


class Sharing:
    """Publishes what this worker has measured and adds up what all workers have.

    What a scrape shows has been published before, so that no other worker ever shows less.

    Parameters:
        group: The group's name, see `telemetry.sdk.workers.group`.

    Raises:
        OSError: The folder to share cannot be made, or files in it cannot be locked.
    """

    def __init__(self, group: str) -> None:
        self._group = group
        self._store = Store(group)
        self._pid = os.getpid()

    @property
    def several(self) -> bool:
        """Whether the group has, or has had, more than one worker."""
        return self._store.several()

    def leads(self) -> bool:
        """Whether this worker is the one that does what only one should do."""
        return os.getpid() == self._pid and self._store.leads()

    def start(self, turn: Callable[[], None]) -> None:
        """Call a function, which publishes, now and from time to time until the process ends.

        Twice a second, or less often where that would take more than 1.5 % of a processor.
        """

        def run() -> None:
            while True:
                began = time.thread_time()
                try:
                    turn()
                except Exception as error:
                    _logger.warning("This worker's metrics were not published: %s", error)
                time.sleep(max(INTERVAL, (time.thread_time() - began) / _MAX_SHARE))

        Thread(target=run, name="metrics sharing", daemon=True).start()

    def publish(self, snapshot: Snapshot) -> None:
        """Let the other workers know what this one has measured."""
        # A process that this worker has forked is not this worker.
        if os.getpid() == self._pid:
            self._store.publish(snapshot)

    def leave(self, snapshot: Snapshot) -> bool:
        """Publish for the last time, most likely. Whether this worker leads."""
        return os.getpid() == self._pid and self._store.leave(snapshot)

    def hand_over(self) -> bool | None:
        """Let another worker lead. True if there is none left, and None if it must not yet be.

        That is where a worker has left since `total` was asked for: nobody else would send what
        that one had measured last.
        """
        return self._store.hand_over()

    def remember(self, name: str, snapshot: Snapshot) -> None:
        """Keep a snapshot under a name, for the worker that leads after this one."""
        self._store.remember(name, snapshot)

    def recall(self, name: str) -> Snapshot:
        """What was remembered last under a name, by any worker."""
        return self._store.recall(name)

    def total(self, snapshot: Snapshot) -> Snapshot:
        """What all workers have measured together, the given one among them."""
        self.publish(snapshot)
        others = self._store.others()
        several = self.several
        total = Snapshot()
        total.add(others.ended, ended=True)
        living = [*others.living, (self._pid, snapshot)]
        # In the same order whichever worker is asked.
        for pid, each in sorted(living, key=lambda worker: (worker[1].started, worker[0])):
            total.add(each, attributes={PID: pid} if several else None)
        return total

    def resource(self, own: Resource) -> Resource:
        """The service's resource: that of this worker, with the group's instance id."""
        default = str(uuid5(NAMESPACE_URL, f"fastapi-otel-metrics:{self._group}"))
        instance = self._store.instance(str(own.attributes.get(SERVICE_INSTANCE_ID, default)))
        return Resource({**own.attributes, SERVICE_INSTANCE_ID: instance}, own.schema_url)
