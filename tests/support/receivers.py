"""Where exporters push to: a real store, OTLP receivers, and one that never answers."""

import gzip
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import yaml
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as messages
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as services
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

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


EVALUATION = 5
"""Seconds between two evaluations by vmalert, and longer than until VictoriaMetrics finds what
was written: by then a rule finds what the ones before it have recorded."""


@contextmanager
def vmalert(folder: Path, rules: Path, store: str) -> Iterator[None]:
    """Evaluates rules by what is in a VictoriaMetrics and writes there what they record.

    Parameters:
        folder: For its log.
        rules: A file of Prometheus's recording and alerting rules.
        store: The address of the VictoriaMetrics.
    """
    listens = f"127.0.0.1:{free_port()}"
    command = [
        program("vmalert"),
        f"-rule={rules}",
        f"-datasource.url={store}",
        f"-remoteWrite.url={store}",
        f"-httpListenAddr={listens}",
        f"-evaluationInterval={EVALUATION}s",
        # As by default, only shorter: what comes in is found some seconds later.
        "-rule.evalDelay=4s",
        "-remoteWrite.flushInterval=200ms",
        "-notifier.blackhole",
    ]
    with running(command, folder / "vmalert.log", f"http://{listens}/health"):
        yield


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


class HttpReceiver:
    """Keeps the spans and the log records that it receives, each with its service's name.

    `metrics` has the latest of each metric, by its instance's id and its name.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self.logs: list[tuple[str, LogRecord]] = []
        self.metrics: dict[tuple[str, str], Metric] = {}

    def counts(self, name: str) -> dict[str, int]:
        """The sum over a counter's or a histogram's series, by the instance that has pushed it."""
        found: dict[str, int] = {}
        for (instance, each), metric in self.metrics.items():
            if each == name:
                counts = [int(point.as_int or point.as_double) for point in metric.sum.data_points]
                counts += [point.count for point in metric.histogram.data_points]
                found[instance] = sum(counts)
        return found

    def receive(self, path: str, body: bytes) -> None:
        if path == "/v1/metrics":
            for resource in messages.ExportMetricsServiceRequest.FromString(body).resource_metrics:
                instance = _attribute(resource.resource.attributes, "service.instance.id")
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        self.metrics[instance, metric.name] = metric
        elif path == "/v1/traces":
            for spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                name = _attribute(spans.resource.attributes, "service.name")
                self.spans += [(name, span) for scope in spans.scope_spans for span in scope.spans]
        elif path == "/v1/logs":
            for logs in ExportLogsServiceRequest.FromString(body).resource_logs:
                name = _attribute(logs.resource.attributes, "service.name")
                self.logs += [(name, log) for scope in logs.scope_logs for log in scope.log_records]


def _attribute(attributes: Iterable[KeyValue], key: str) -> str:
    return next((each.value.string_value for each in attributes if each.key == key), "")


@contextmanager
def http_receiver() -> Iterator[tuple[str, HttpReceiver]]:
    """An OTLP/HTTP receiver's address, and what it has received."""
    receiver = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.receive(self.path, body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", receiver
        finally:
            server.shutdown()
            thread.join()


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
