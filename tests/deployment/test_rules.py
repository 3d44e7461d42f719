"""The rules: each is tested by promtool, and each alert says what to do."""

import re
import subprocess
from typing import Any

import yaml

from tests.support.processes import ROOT, program

RULES = ROOT / "prometheus/rules/fastapi.yml"
TESTS = ROOT / "tests/deployment/rules.yml"


def rules(kind: str) -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


def test_promtool_finds_them_right() -> None:
    result = subprocess.run(
        [program("promtool"), "test", "rules", TESTS], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_is_tested_and_each_alert_both_ways() -> None:
    tests = yaml.safe_load(TESTS.read_text())["tests"]
    expected = [each for test in tests for each in test["promql_expr_test"]]
    values = {
        re.sub(r"\{.*", "", sample["labels"]) or each["expr"]
        for each in expected
        for sample in each["exp_samples"]
    }
    for name in rules("record"):
        assert any(name in value for value in values), name
    for name in rules("alert"):
        about = [each for each in expected if f'alertname="{name}"' in each["expr"]]
        states = {"firing" in str(each["exp_samples"]) for each in about}
        assert states == {True, False}, name


def test_each_alert_says_what_it_is_about_and_what_to_do() -> None:
    alerts = rules("alert")
    assert len(alerts) == 12
    for name, rule in alerts.items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert len(rule["annotations"]["summary"]) < 100, name
        assert len(rule["annotations"]["description"].split(". ")) >= 2, name


def test_both_ways_to_run_load_them() -> None:
    for name in ("prometheus.yml", "prometheus.push.yml"):
        config = yaml.safe_load((ROOT / "prometheus" / name).read_text())
        assert config["rule_files"] == ["rules/*.yml"]
