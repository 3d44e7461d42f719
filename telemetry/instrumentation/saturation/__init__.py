"""How full the process is that serves an application: what its requests may have to wait for."""

import os
from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from telemetry.instrumentation.saturation.garbage import observe_garbage_collection
from telemetry.instrumentation.saturation.loop import LoopDelay
from telemetry.instrumentation.saturation.process import observe_process
from telemetry.instrumentation.saturation.threads import ThreadPool
from telemetry.providers import METER, once_per_provider


class Saturation:
    """Measures the process at no cost for requests: by a heartbeat, and when it is collected."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(METER)
        observe_process(meter)
        self.loop = LoopDelay(meter)
        self._threads = ThreadPool(meter)
        self._started: int | None = None
        described = "Processes of the service that have started to serve."
        meter.create_observable_counter("app_worker_starts", [self._observe_start], "", described)
        observe_garbage_collection(meter)

    def watch(self) -> None:
        """Measure the event loop, if one runs here: called in the process that serves."""
        self._started = os.getpid()
        self.loop.watch()
        self._threads.watch()

    def _observe_start(self, _: CallbackOptions) -> Iterable[Observation]:
        # The SDK asks observable instruments first, and the histogram then has all.
        self.loop.flush()
        # A child of the process that serves has not started to serve.
        if self._started == os.getpid():
            yield Observation(1)


saturation_of = once_per_provider(Saturation)
"""The saturation of this process in a meter provider, made when it is first asked for."""
