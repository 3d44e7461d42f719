"""Make the Prometheus operator's rules from prometheus/rules: ``python -m deploy``."""

from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).parents[1]
RULES = ROOT / "prometheus/rules/fastapi.yml"
MADE = ROOT / "deploy/kubernetes/operator/rules.yaml"
_HEAD = """\
# Made from prometheus/rules/fastapi.yml by: python -m deploy
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: fastapi
  labels: { release: kube-prometheus-stack }
spec:
"""


def rules() -> str:
    """What the file must contain."""
    return _HEAD + indent(RULES.read_text(encoding="utf-8"), "  ")


if __name__ == "__main__":
    MADE.write_text(rules(), encoding="utf-8")
