"""From the names in ``OTEL_METRICS_EXPORTER``, ``OTEL_TRACES_EXPORTER`` and so on to exporters."""

import os
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_PROTOCOL

from telemetry.logger import get_logger

_logger = get_logger(__name__)

PROMETHEUS = "prometheus"
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_EXTRAS = {"otlp_proto_grpc": "pip install 'fastapi-otel-metrics[grpc]'"}


# As in the names of the environment variables.
METRICS, TRACES, LOGS = "METRICS", "TRACES", "LOGS"


class ConfigurationError(Exception):
    """What is wrong with a setting and what would be right, in one line."""


def exporter_names(signal: str) -> list[str]:
    """The exporters that are asked for, each once, without ``none``; by default ``prometheus``."""
    default = PROMETHEUS if signal == METRICS else "none"
    listed = os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip() or default
    chosen = dict.fromkeys(name.strip().lower() for name in listed.split(","))
    return [name for name in chosen if name not in ("", "none")]


def create_exporters(signal: str) -> Iterator[tuple[str, Any]]:
    """The exporters of a signal with their names, all but ``prometheus``; what fails is logged."""
    for name in exporter_names(signal):
        if signal == METRICS and name == PROMETHEUS:
            continue
        try:
            yield name, _create(signal, name)
        except ConfigurationError as problem:
            _logger.error("OTEL_%s_EXPORTER=%s: %s", signal, name, problem)


def _create(signal: str, name: str) -> Any:
    registered = _protocol(signal) if name == "otlp" else name
    group = entry_points(group=f"opentelemetry_{signal.lower()}_exporter")
    found = next(iter(group.select(name=registered)), None)
    if found is None:
        if registered in _EXTRAS:
            raise ConfigurationError(f"a package is missing, install it: {_EXTRAS[registered]}")
        valid = {"none", "otlp"} | group.names - {PROMETHEUS}
        if signal == METRICS:
            valid.add(PROMETHEUS)
        raise ConfigurationError(f"no such exporter; valid are {', '.join(sorted(valid))}")
    try:
        return found.load()()
    except ImportError as error:
        cure = _EXTRAS.get(registered, f"reinstall {found.dist.name if found.dist else found}")
        raise ConfigurationError(f"a package is missing ({error}): {cure}") from error
    except Exception as error:
        raise ConfigurationError(f"cannot be set up: {line(error)}") from error


def _protocol(signal: str) -> str:
    for variable in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", OTEL_EXPORTER_OTLP_PROTOCOL):
        if value := os.environ.get(variable, "").strip():
            if value in _PROTOCOLS:
                return _PROTOCOLS[value]
            valid = ", ".join(_PROTOCOLS)
            raise ConfigurationError(f"{variable}={value} is unknown; valid are {valid}")
    return _PROTOCOLS["http/protobuf"]


def line(error: BaseException) -> str:
    """What an error says, on one line, with its kind where it is only a word."""
    text = " ".join(str(error).split())
    return text if " " in text else f"{type(error).__name__} {text}".strip()
