"""The clients' connections that the server holds open."""

from collections.abc import Iterable, Sized

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from telemetry.compatibility import uvicorns_connections


class ServerConnections:
    """The gauge ``app_server_connections``, where the server tells of them, as uvicorn does.

    Those that wait for a further request (keep-alive) and WebSockets are among them.

    Parameters:
        meter: Where the gauge is made.
        prefix: What its name begins with.
    """

    def __init__(self, meter: Meter, prefix: str) -> None:
        self._connections: dict[int, Sized] = {}
        meter.create_observable_gauge(
            f"{prefix}_server_connections",
            callbacks=[self._observe],
            description="Connections of clients that the server holds open.",
        )

    def watch(self) -> None:
        """Find out whether the event loop that runs here is that of a server that tells."""
        for connections in uvicorns_connections():
            self._connections[id(connections)] = connections

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        if self._connections:
            yield Observation(sum(map(len, self._connections.values())))
