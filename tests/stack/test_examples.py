"""Each example as its README starts it, and each receiver that the page on settings names."""

import json
import re
import urllib.request
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from websockets.sync.client import connect

from tests.support.processes import (
    ROOT,
    Service,
    query,
    script,
    service,
    wait_for,
)
from tests.support.prometheus import pushed_prometheus
from tests.support.receivers import victoria_metrics
from tests.support.series import total, values

EXAMPLES = ROOT / "examples"


def example(
    folder: Path,
    name: str,
    *command: str,
    environment: Mapping[str, str] | None = None,
    **more: Any,
) -> AbstractContextManager[Service]:
    """An example's own command in its own folder, but on another port."""
    shown = (EXAMPLES / "README.md").read_text()
    assert " ".join([Path(command[0]).name, *command[1:]]) in shown
    bind = ("--bind", "127.0.0.1:{port}") if "gunicorn" in command[0] else ()
    at = EXAMPLES / name
    return service(folder, command=[*command, *bind], environment=environment, cwd=at, **more)


def post(url: str) -> int:
    request = urllib.request.Request(url, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        status: int = answer.status
        return status


def test_one_process(tmp_path: Path) -> None:
    with example(tmp_path, "one_process", script("uvicorn"), "main:app") as app:
        for _ in range(3):
            assert post(f"{app.url}/orders/book") == 200
        assert app.status("/orders/car", "POST") == 422
        app.get("/health")
        shown = app.series()
        assert values(shown, "orders_total") == {("book",): 3}
        assert values(shown, "app_requests_total") == {("POST", "/orders/{kind}"): 4}


def test_gunicorn_with_workers(tmp_path: Path) -> None:
    with example(tmp_path, "gunicorn", script("gunicorn"), "main:app") as app:
        pids = {app.get("/reports/2026") for _ in range(60)}
        assert len(pids) > 1
        wait_for(lambda: total(app.series(), "app_requests_total") == 60, "all are on the page")
        bucket = "app_requests_processing_time_seconds_bucket"
        assert {key[0] for key in values(app.series(), bucket)} == {
            *("0.01", "0.05", "0.1", "0.5", "1.0", "5.0"),
            "+Inf",
        }


def test_starlette(tmp_path: Path) -> None:
    command = (script("uvicorn"), "main:app", "--workers", "2")
    with example(tmp_path, "starlette", *command, up="/metrics") as app:
        for _ in range(40):
            assert app.get("/v1/items/book") == '{"item":"book"}'
        assert app.status("/nothing") == 404
        with connect(f"{app.url.replace('http', 'ws')}/clock") as socket:
            assert [json.loads(tick) for tick in socket] == [0, 1, 2]
        wait_for(lambda: total(app.series(), "app_responses_total") == 41, "all are on the page")
        for _ in range(5):
            shown = app.series()
            assert values(shown, "app_responses_total") == {
                ("GET", "/v1/items/{name}", "200"): 40,
                ("GET", "unmatched", "404"): 1,
            }
        assert values(shown, "app_websockets_closed_total") == {("1000", "/clock"): 1}
        assert len(values(shown, "app_memory_usage_bytes")) == 4


def test_the_scrape_configuration_is_that_of_the_document() -> None:
    for name in ("docs/production.en.md", "docs/production.ko.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        (shown,) = re.findall(r"```yaml\n# examples/gunicorn/prometheus.yml\n(.*?)```", text, re.S)
        assert shown == (EXAMPLES / "gunicorn/prometheus.yml").read_text()
        (line,) = re.findall(r"^gunicorn main:app (.*)$", text, re.MULTILINE)
        options: dict[str, str] = {}
        exec((EXAMPLES / "gunicorn/gunicorn.conf.py").read_text(), options)
        assert line == (
            f"--workers {options['workers']} --worker-class {options['worker_class']} "
            f"--bind {options['bind']}"
        )


def recipe(receiver: str, url: str) -> dict[str, str]:
    """What the page on settings says that an app needs, for a receiver elsewhere."""
    found = []
    for name in ("docs/settings.en.md", "docs/settings.ko.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        (always,) = re.findall(r"^export (.*)$", text, re.MULTILINE)
        (row,) = re.findall(rf"^\| {receiver} \| `(.*?)`", text, re.MULTILINE)
        found.append(dict(each.split("=", 1) for each in [*always.split(), row]))
    assert found[0] == found[1]
    return {
        name: re.sub(r"http://localhost:\d+", url, value) for name, value in found[0].items()
    } | {"OTEL_METRIC_EXPORT_INTERVAL": "500"}


@pytest.mark.parametrize("receiver", ["Prometheus", "VictoriaMetrics"])
def test_each_receiver_gets_what_is_pushed(tmp_path: Path, receiver: str) -> None:
    labels = f"-relabelConfig={EXAMPLES / 'push/victoria-metrics.yml'}"
    with (
        pushed_prometheus(tmp_path)
        if receiver == "Prometheus"
        else victoria_metrics(tmp_path, options=[labels])
    ) as url:
        environment = recipe(receiver, url)
        with service(tmp_path, environment=environment) as app:
            app.get("/health")
            wait_for(
                lambda: query(url, 'app_requests_total{job="shop",path="/health"} == 1'),
                f"{receiver} has it",
            )


def test_push(tmp_path: Path) -> None:
    config = yaml.safe_load((EXAMPLES / "push/prometheus.yml").read_text())
    real = yaml.safe_load((ROOT / "prometheus/prometheus.push.yml").read_text())
    assert config["otlp"] == real["otlp"]
    with pushed_prometheus(tmp_path) as url:
        # The environment wins over the file.
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{url}/api/v1/otlp",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }
        command = (script("uvicorn"), "--env-file", ".env", "main:app")
        with example(tmp_path, "push", *command, environment=environment) as app:
            app.get("/stock/book")
            assert app.status("/stock/car") == 404
            assert app.status("/metrics") == 404
            wait_for(
                lambda: query(
                    url, 'app_responses_total{job="stock",path="/stock/{item}",status_code="404"}'
                ),
                "Prometheus has it",
            )
