"""How full the process is that serves an application: what its requests may have to wait for."""

from weakref import WeakKeyDictionary

from opentelemetry.metrics import MeterProvider
from starlette.types import ASGIApp, Receive, Scope, Send

from telemetry.instrumentation.saturation.connections import ServerConnections
from telemetry.instrumentation.saturation.garbage import observe_garbage_collection
from telemetry.instrumentation.saturation.loop import LoopDelay
from telemetry.instrumentation.saturation.process import observe_process
from telemetry.instrumentation.saturation.threads import ThreadPool


class Saturation:
    """Measures event loop, threads, garbage collector, processor time and files of the process.

    No request pays for it: the event loop has a heartbeat, and everything else is read when the
    metrics are collected.

    Parameters:
        provider: Where the instruments are made.
        prefix: What the names of those begin with that OpenTelemetry has no convention for.
    """

    def __init__(self, provider: MeterProvider, prefix: str) -> None:
        meter = provider.get_meter("telemetry.instrumentation")
        self._loop = LoopDelay(meter, prefix)
        self._threads = ThreadPool(meter, prefix)
        self._connections = ServerConnections(meter, prefix)
        observe_garbage_collection(meter, prefix)
        observe_process(meter, prefix)

    def watch(self) -> None:
        """Measure the event loop that this is called in, and its threads, from now on.

        To be called in the process that serves the application. Where no loop runs, and where it
        is watched already, nothing happens.
        """
        self._loop.watch()
        self._threads.watch()
        self._connections.watch()


class LifespanWatch:
    """ASGI middleware that has the event loop watched in which an application's lifespan runs.

    Parameters:
        app: Takes everything, as before. Under this name those who look for a middleware of
            their own find what is below.
        saturation: Watches the loop.
    """

    def __init__(self, app: ASGIApp, saturation: Saturation) -> None:
        self.app = app
        self._saturation = saturation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        if scope["type"] == "lifespan":
            self._saturation.watch()
        await self.app(scope, receive, send)


_measured: WeakKeyDictionary[MeterProvider, Saturation] = WeakKeyDictionary()


def saturation_of(provider: MeterProvider, prefix: str) -> Saturation:
    """The saturation of this process in a meter provider, made when it is first asked for.

    Parameters:
        provider: Where the instruments are made.
        prefix: What names begin with; the first one holds, as there is only one process.
    """
    saturation = _measured.get(provider)
    if saturation is None:
        saturation = _measured[provider] = Saturation(provider, prefix)
    return saturation
