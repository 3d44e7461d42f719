"""The scrape configuration, held to the tutorial's."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.processes import ROOT, program, query, service, wait_for
from tests.support.prometheus import prometheus

PATH = ROOT / "prometheus/prometheus.yml"


def test_the_jobs_that_the_tutorials_queries_name() -> None:
    content = yaml.safe_load(PATH.read_text())
    assert content["global"] == {"scrape_interval": "15s", "evaluation_interval": "15s"}
    jobs = {
        job["job_name"]: (
            job.get("metrics_path", "/metrics"),
            job["static_configs"][0]["targets"],
        )
        for job in content["scrape_configs"]
    }
    assert jobs == {
        "prometheus": ("/metrics", ["localhost:9090"]),
        "fastapi": ("/metrics", ["host.docker.internal:8000"]),
    }


@pytest.mark.parametrize("path", sorted(ROOT.glob("prometheus/*.yml")), ids=lambda path: path.name)
def test_promtool_accepts_it(path: Path) -> None:
    result = subprocess.run(
        [program("promtool"), "check", "config", path], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_requests_before_the_first_scrape_are_an_increase_too(tmp_path: Path) -> None:
    with service(tmp_path, "--no-access-log") as app:
        for _ in range(120):
            app.get("/increase_count")
        with prometheus(tmp_path, app.port) as url:

            def increase() -> list[float]:
                return [*query(url, "increase(app_increase_count_total[1m])").values()]

            wait_for(increase, "the counter has two samples")
            assert increase() == [pytest.approx(120, rel=0.1)]
