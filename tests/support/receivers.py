"""Where exporters push to: a real store, an OTLP/gRPC receiver, and one that never answers."""

import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import yaml
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as messages
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as services
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from tests.support.processes import ROOT, free_port, program, running


@contextmanager
def victoria_metrics(
    folder: Path, *, scrape: int | None = None, options: Sequence[str] = ()
) -> Iterator[str]:
    """VictoriaMetrics' address; OTLP goes to /opentelemetry/v1/metrics below it.

    With `scrape`, a port, it scrapes /metrics there twice a second, as prometheus.yml says.
    """
    port = free_port()
    folder = folder / f"victoria-{port}"
    folder.mkdir()
    url = f"http://127.0.0.1:{port}"
    command = [
        program("victoria-metrics"),
        f"-storageDataPath={folder / 'data'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-opentelemetry.usePrometheusNaming",
        "-search.latencyOffset=0s",
        "-retentionPeriod=1d",
        *options,
    ]
    if scrape is not None:
        config = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
        # Rules are another program's with VictoriaMetrics.
        del config["rule_files"]
        config["global"] = {"scrape_interval": "500ms"}
        config["scrape_configs"] = config["scrape_configs"][1:]
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{scrape}"]
        (folder / "scrape.yml").write_text(yaml.safe_dump(config))
        command.append(f"-promscrape.config={folder / 'scrape.yml'}")
    with running(command, folder / "log", f"{url}/health"):
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
