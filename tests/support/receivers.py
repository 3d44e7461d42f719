"""Where exporters push to: a real store, an OTLP/gRPC receiver, and one that never answers."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as messages
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as services
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from tests.support.processes import free_port, program, running


@contextmanager
def victoria_metrics(folder: Path) -> Iterator[str]:
    """VictoriaMetrics' address; OTLP goes to /opentelemetry/v1/metrics below it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        program("victoria-metrics"),
        f"-storageDataPath={folder / 'victoria'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-opentelemetry.usePrometheusNaming",
        "-search.latencyOffset=0s",
        "-retentionPeriod=1d",
    ]
    with running(command, folder / "victoria.log", f"{url}/health"):
        yield url


class GrpcReceiver(services.MetricsServiceServicer):
    """Keeps what it receives; made of OpenTelemetry's own service definition."""

    def __init__(self) -> None:
        self.requests: list[messages.ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []

    def Export(  # noqa: N802
        self, request: messages.ExportMetricsServiceRequest, context: grpc.ServicerContext
    ) -> messages.ExportMetricsServiceResponse:
        self.requests.append(request)
        self.headers.append({key: str(value) for key, value in context.invocation_metadata()})
        return messages.ExportMetricsServiceResponse()

    def metrics(self) -> dict[str, Metric]:
        """The latest of each metric by its name."""
        return {
            metric.name: metric
            for request in self.requests
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@contextmanager
def grpc_receiver() -> Iterator[tuple[str, GrpcReceiver]]:
    receiver = GrpcReceiver()
    server = grpc.server(ThreadPoolExecutor(2))
    services.add_MetricsServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", receiver
    finally:
        server.stop(0).wait()


@contextmanager
def silent_receiver() -> Iterator[str]:
    """Takes connections and never answers."""
    kept: list[socket.socket] = []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)

        def accept() -> None:
            while True:
                try:
                    kept.append(listening.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for connection in kept:
                connection.close()
