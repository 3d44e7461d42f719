"""Each wrong setting is one line with the variable, the value and the cure; right ones are none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.sdk.setup.checks import check_settings


@pytest.fixture(autouse=True)
def checked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    check_settings.cache_clear()
    yield
    check_settings.cache_clear()


@pytest.mark.parametrize(
    ("variable", "value", "cure"),
    [
        ("OTEL_SDK_DISABLED", "1", "only true"),
        ("TELEMETRY_NATIVE_HISTOGRAMS", "yes", "only true"),
        ("OTEL_METRICS_EXPORTER", ",", "set it to otlp, prometheus or none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "put http:// or https://"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "collector/v1/metrics", "put http:// or https://"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "15s", "such as 15000"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,env:prod", "takes key=value pairs"),
        (
            "OTEL_METRICS_EXEMPLAR_FILTER",
            "some",
            "no such filter; valid are trace_based, always_on, always_off. "
            "The default is taken: trace_based.",
        ),
        ("PROMETHEUS_MULTIPROC_DIR", "/nope", "Create it"),
    ],
)
def test_a_wrong_setting_is_one_line(
    variable: str,
    value: str,
    cure: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(variable, value)
    check_settings()
    check_settings()
    (line,) = caplog.messages
    assert line.startswith(f"{variable}={value}: ")
    assert cure in line


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SDK_DISABLED", "False"),
        ("OTEL_METRICS_EXPORTER", " prometheus , none "),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "15000"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b, env=prod,"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", " Always_On "),
        ("PROMETHEUS_MULTIPROC_DIR", str(Path(__file__).parent)),
    ],
)
def test_a_right_one_is_none(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(variable, value)
    check_settings()
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("variable", "value", "lines"),
    [
        ("OTEL_SERVICE_NAME", "", 1),
        ("OTEL_SERVICE_NAME", "shop", 0),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop", 0),
    ],
)
def test_a_push_without_a_name_of_the_service_is_one_line(
    variable: str,
    value: str,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp,prometheus")
    monkeypatch.setenv(variable, value)
    check_settings()
    assert len(caplog.messages) == lines


def test_grpc_takes_an_endpoint_without_a_scheme(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317")
    check_settings()
    assert caplog.messages == []
