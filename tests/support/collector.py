"""A real OpenTelemetry Collector with the repository's own configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import ROOT, Process, free_port, program, wait_for


@contextmanager
def collector(folder: Path, name: str, store: str, app_port: int) -> Iterator[str]:
    """Start it by ``deploy/collector/{name}.yaml``, and yield where it takes OTLP, if it does.

    Parameters:
        folder: For its log.
        name: ``otlp`` or ``scrape``.
        store: The address of a Prometheus that takes remote writes.
        app_port: Where the application is.
    """
    otlp = f"127.0.0.1:{free_port()}"
    environment = {
        "REMOTE_WRITE": f"{store}/api/v1/write",
        "TARGET": f"127.0.0.1:{app_port}",
        "SCRAPE_INTERVAL": "500ms",
        "OTLP_HTTP": otlp,
        "OTLP_GRPC": f"127.0.0.1:{free_port()}",
    }
    command = [program("otelcol"), "--config", str(ROOT / f"deploy/collector/{name}.yaml")]
    process = Process(command, folder / "collector.log", environment=environment)
    try:
        wait_for(lambda: "Everything is ready" in process.log, "the collector is ready")
        yield f"http://{otlp}/v1/metrics"
    finally:
        process.kill()
