"""A worker's part in the service's one truth."""

import os
import time
from collections.abc import Callable
from threading import Thread
from uuid import NAMESPACE_URL, uuid5

from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, Resource

from telemetry.quiet import quiet_logger
from telemetry.sdk.workers.snapshot import Snapshot, metrics_data, snapshot_of
from telemetry.sdk.workers.store import Store

_logger = quiet_logger(__name__)

INTERVAL = 0.5
"""Seconds between two publications, the most of its counts that a killed worker loses."""

PID = "process.pid"
"""The attribute that tells the gauges of several workers apart:
https://opentelemetry.io/docs/specs/semconv/registry/attributes/process/."""


class Sharing:
    """Publishes what this worker has measured and adds up what all have.

    What is shown to anybody has been published before, so that no other worker ever shows
    less.

    Parameters:
        family: The service's name, see `telemetry.sdk.workers.family`.
    """

    def __init__(self, family: str) -> None:
        self._family = family
        self._store = Store(family)
        self._pid = os.getpid()

    @property
    def several(self) -> bool:
        """Whether the service has more than one worker, or has had."""
        return self._store.several()

    def become_listener(self) -> None:
        """Tell the other workers that this one serves the port for all of them."""
        self._store.become_listener()

    def has_listener(self) -> bool:
        """Whether another worker serves the port for all of them."""
        return self._store.has_listener()

    def start(self, publish: Callable[[], None]) -> None:
        """Call a function, which publishes, now and from time to time until the process ends."""

        def run() -> None:
            while True:
                try:
                    publish()
                except Exception as error:
                    _logger.warning("This worker's metrics were not published: %s", error)
                time.sleep(INTERVAL)

        Thread(target=run, name="metrics sharing", daemon=True).start()

    def publish(self, data: MetricsData) -> Snapshot:
        """Let the other workers know.

        Parameters:
            data: All that this worker has measured.
        """
        snapshot = snapshot_of(data)
        # A process that this worker has forked is not this worker.
        if os.getpid() == self._pid:
            self._store.publish(snapshot)
        return snapshot

    def added_up(self, data: MetricsData) -> MetricsData:
        """What all workers have measured together.

        Parameters:
            data: All that this worker has measured.
        """
        snapshot = self.publish(data)
        others = self._store.others()
        several = self.several
        total = Snapshot()
        total.add(others.ended)
        for pid, living in [*others.living, (self._pid, snapshot)]:
            try:
                total.add(living, attributes={PID: pid} if several else {})
            except (ValueError, TypeError) as error:
                _logger.warning("The metrics of worker %s are missing: %s", pid, error)
        return metrics_data(total, self._resource(data))

    def _resource(self, data: MetricsData) -> Resource:
        """The service's resource: its instance is the family, whichever worker answers."""
        own = data.resource_metrics[0].resource if data.resource_metrics else Resource.get_empty()
        instance = str(uuid5(NAMESPACE_URL, f"fastapi-otel-metrics:{self._family}"))
        return Resource({**own.attributes, SERVICE_INSTANCE_ID: instance}, own.schema_url)
