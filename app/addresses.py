"""Where the metrics are to be found, as the ``OTEL_*`` variables say."""

import os
from collections.abc import Iterator


def metrics_addresses(app: str) -> Iterator[str]:
    """A line for each place that the metrics go to.

    Parameters:
        app: The application's own address, such as ``http://localhost:8000``.
    """
    if _value("OTEL_SDK_DISABLED").lower() == "true":
        yield "none (OTEL_SDK_DISABLED)"
        return
    if file := os.environ.get("OTEL_CONFIG_FILE"):
        yield f"as {file} says"
        return
    listed = (_value("OTEL_METRICS_EXPORTER") or "prometheus").lower()
    exporters = dict.fromkeys(name.strip() for name in listed.split(","))
    named = [name for name in exporters if name not in ("", "none")]
    if not named:
        yield "none (OTEL_METRICS_EXPORTER)"
    for name in named:
        match name:
            case "prometheus":
                yield _scraped(app)
            case "otlp":
                yield f"pushed to {_otlp()}"
            case "console":
                yield "printed here"
            case _:
                yield f"by the exporter {name}"


def local(host: str, port: int | str) -> str:
    """The address at which this machine reaches what listens there."""
    shown = "localhost" if host in ("0.0.0.0", "::", "") else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


def _scraped(app: str) -> str:
    port = _value("OTEL_EXPORTER_PROMETHEUS_PORT")
    path = _value("TELEMETRY_METRICS_PATH") or "/metrics"
    if not port:
        return f"{app}{path}"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        return "none (OTEL_EXPORTER_PROMETHEUS_PORT)"
    return f"{local(_value('OTEL_EXPORTER_PROMETHEUS_HOST'), port)}{path}"


def _otlp() -> str:
    protocol = _value("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL") or _value(
        "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    default = "http://localhost:4317" if protocol == "grpc" else "http://localhost:4318"
    base = _value("OTEL_EXPORTER_OTLP_ENDPOINT") or default
    if protocol != "grpc":
        base = f"{base.rstrip('/')}/v1/metrics"
    address = _value("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") or base
    scheme, slashes, rest = address.rpartition("://")
    # Without a user's name and password.
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"


def _value(variable: str) -> str:
    return os.environ.get(variable, "").strip()
