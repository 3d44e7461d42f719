"""A real OpenTelemetry Collector with the repository's own configuration."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

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
    with _running(folder, ROOT / f"deploy/collector/{name}.yaml", environment):
        yield f"http://{otlp}/v1/metrics"


@contextmanager
def forwarding_collector(folder: Path, to: str) -> Iterator[str]:
    """Where a collector takes OTLP over HTTP that passes spans and log records on.

    Parameters:
        folder: For its configuration and its log.
        to: Where it passes them on to, as OTLP over HTTP.
    """
    otlp = f"127.0.0.1:{free_port()}"
    pipeline = {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["otlp_http"]}
    config = folder / "forward.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "receivers": {"otlp": {"protocols": {"http": {"endpoint": otlp}}}},
                "processors": {"batch": {}},
                "exporters": {"otlp_http": {"endpoint": to}},
                "service": {
                    "pipelines": {"traces": pipeline, "logs": pipeline},
                    "telemetry": {"metrics": {"level": "none"}},
                },
            }
        )
    )
    with _running(folder, config, {}):
        yield f"http://{otlp}"


@contextmanager
def _running(folder: Path, config: Path, environment: Mapping[str, str]) -> Iterator[None]:
    command = [program("otelcol"), "--config", str(config)]
    process = Process(command, folder / "collector.log", environment=environment)
    try:
        wait_for(lambda: "Everything is ready" in process.log, "the collector is ready")
        yield
    finally:
        process.kill()
