"""The scrape configuration, held to the tutorial's."""

import subprocess

import yaml

from tests.support.processes import ROOT, program

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


def test_promtool_accepts_it() -> None:
    result = subprocess.run(
        [program("promtool"), "check", "config", PATH], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr
