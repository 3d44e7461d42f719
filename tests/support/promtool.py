"""Queries over made samples, evaluated by promtool."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import yaml

from tests.support.processes import program

Samples = list[tuple[str, float]]
"""Labels and value of each sample that a query gives."""


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    """Samples of one series, in promtool's notation."""
    shown = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return {"series": f"{name}{{{shown}}}", "values": values}


def check(
    folder: Path,
    interval: str,
    samples: list[dict[str, str]],
    expected: Iterable[tuple[str, str, Samples]],
) -> None:
    """Hold queries, at times after the first sample, to what they must give."""
    case = {
        "rule_files": [],
        "evaluation_interval": interval,
        "tests": [
            {
                "interval": interval,
                "input_series": samples,
                "promql_expr_test": [
                    {
                        # Rounded to a power of two: promtool compares to the last bit.
                        "expr": f"round({expression}, 1 / 1024)",
                        "eval_time": time,
                        "exp_samples": [
                            {"labels": labels, "value": value} for labels, value in wanted
                        ],
                    }
                    for expression, time, wanted in expected
                ],
            }
        ],
    }
    path = folder / "case.yml"
    path.write_text(yaml.safe_dump(case, allow_unicode=True))
    result = subprocess.run(
        [program("promtool"), "test", "rules", path], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr
