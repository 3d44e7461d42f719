"""The rules: each is tested by promtool, and each alert leads to what to do."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.objectives import PATH, read
from deploy.rules import objectives_rules
from tests.support.processes import ROOT, program

RULES = ROOT / "prometheus/rules"
TESTS = ROOT / "tests/deployment"


def rules(kind: str) -> dict[str, dict[str, Any]]:
    groups = [
        group
        for path in RULES.glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


def promtool(*arguments: str | Path) -> None:
    result = subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_promtool_finds_them_right() -> None:
    promtool("test", "rules", TESTS / "rules.yml")


def test_they_tell_what_a_user_expects_to_be_told_and_nothing_else() -> None:
    promtool("test", "rules", TESTS / "histories.yml")


def test_each_is_tested_and_each_alert_both_ways() -> None:
    tests = yaml.safe_load((TESTS / "rules.yml").read_text())["tests"]
    expected = [each for test in tests for each in test["promql_expr_test"]]
    values = {
        name
        for each in expected
        for sample in each["exp_samples"]
        for name in (re.sub(r"\{.*", "", sample["labels"]), each["expr"])
    }
    for name in rules("record"):
        # What is recorded by path is also what the sums and ratios are made of.
        by_path = name.replace("job_path:", "job:")
        assert any(name in value or by_path in value for value in values), name
    for name in rules("alert"):
        about = [each for each in expected if f'alertname="{name}"' in each["expr"]]
        states = {"firing" in str(each["exp_samples"]) for each in about}
        assert states == {True, False}, name


def test_each_alert_says_what_it_is_about_and_leads_to_what_to_do() -> None:
    alerts = rules("alert")
    assert len(alerts) == 18
    pages = [
        re.findall(r"^## (\w+)$", (ROOT / f"docs/runbook.{each}.md").read_text(), re.MULTILINE)
        for each in ("en", "ko")
    ]
    for name, rule in alerts.items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        annotations = rule["annotations"]
        assert len(annotations["summary"]) < 110, name
        assert len(annotations["description"].split(". ")) >= 2, name
        page, _, anchor = annotations["runbook_url"].partition("#")
        assert page.endswith("/docs/runbook.en.md")
        assert anchor == name.lower()
        assert all(name in known for known in pages), name
        about_a_job = name != "FastAPIMetricsMissing"
        assert ("var-job={{ $labels.job" in annotations["dashboard"]) == about_a_job, name
        assert "from={{" in annotations["dashboard"]


def test_each_way_to_run_loads_them() -> None:
    paths = [*ROOT.glob("prometheus/*.yml")]
    assert len(paths) == 5
    for path in paths:
        config = yaml.safe_load(path.read_text())
        assert config["rule_files"] == ["rules/*.yml", "native/*.yml"], path


OTHER = """
[[paths]]
path = "/reports/.*"
availability = { share = 0.99 }
latency = { share = 0.9, seconds = 10.0 }

[[paths]]
path = "/events"
latency = false
"""


def test_a_path_may_have_objectives_of_its_own_or_none(tmp_path: Path) -> None:
    path = tmp_path / "objectives.yml"
    path.write_text(objectives_rules(read(PATH.read_text(encoding="utf-8") + OTHER)))
    duration = "app_requests_time_to_first_byte_seconds"
    series = [
        {"series": f'{name}{{job="a", path="{path}"{more}}}', "values": values}
        for path, fast in (("/x", 90), ("/reports/1", 90), ("/events", 0))
        for name, more, values in (
            ("app_responses_total", ', status_code="200"', "0+99x60"),
            ("app_responses_total", ', status_code="500"', "0+1x60"),
            (f"{duration}_bucket", ', le="1.0"', f"0+{fast}x60"),
            (f"{duration}_bucket", ', le="10.0"', f"0+{fast}x60"),
            (f"{duration}_bucket", ', le="+Inf"', "0+100x60"),
            ("app_requests_total", "", "0+100x60"),
        )
    ]
    expected = {
        "availability": {"/x": 10, "/reports/1": 1, "/events": 10},
        "latency": {"/x": 2, "/reports/1": 1},
    }
    case = {
        "rule_files": [str(path)],
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": f'round(job_path:app_objective:burn1h{{objective="{name}"}})',
                        "eval_time": "59m",
                        "exp_samples": [
                            {"labels": f'{{job="a",path="{p}",objective="{name}"}}', "value": burn}
                            for p, burn in paths.items()
                        ],
                    }
                    for name, paths in expected.items()
                ],
            }
        ],
    }
    test = tmp_path / "test.yml"
    test.write_text(yaml.safe_dump(case))
    promtool("test", "rules", test)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("share = 0.999", "shore = 0.999"),
        ("least = 10", ""),
        ("seconds = 1.0", 'seconds = "1"'),
        ("[latency]", "[latncy]"),
        ('period = "30d"', 'period = "30d"\n[[paths]]\npath = "/x"\nlatenci = false'),
    ],
)
def test_what_is_misspelt_is_refused(before: str, after: str) -> None:
    text = PATH.read_text(encoding="utf-8")
    assert before in text
    with pytest.raises(SystemExit, match=r"objectives\.toml"):
        read(text.replace(before, after, 1))


def muted(alerts: list[dict[str, str]]) -> list[str]:
    """The alerts that Alertmanager keeps back, by its inhibition rules."""

    def matches(matchers: list[str], labels: dict[str, str]) -> bool:
        found = [re.fullmatch(r'(\w+)(=~?)"(.*)"', each) for each in matchers]
        return all(
            match is not None
            and re.fullmatch(
                match[3] if match[2] == "=~" else re.escape(match[3]), labels.get(match[1], "")
            )
            for match in found
        )

    content = yaml.safe_load((ROOT / "deploy/alertmanager.yml").read_text())
    return [
        f"{target['alertname']} {target['severity']}"
        for target in alerts
        if any(
            matches(rule["target_matchers"], target)
            and matches(rule["source_matchers"], source)
            # What is a source and a target of one rule does not keep itself back.
            and not (
                matches(rule["target_matchers"], source)
                and matches(rule["source_matchers"], target)
            )
            and all(source.get(key) == target.get(key) for key in rule.get("equal", []))
            for rule in content["inhibit_rules"]
            for source in alerts
        )
    ]


def test_two_alerts_for_one_cause_do_not_page_twice() -> None:
    severities = {name: rule["labels"]["severity"] for name, rule in rules("alert").items()}
    every = [
        {"alertname": name, "severity": severity, "job": "a", **path}
        for name in severities
        for severity in ("critical", "warning")
        for path in ([{"path": "/x"}] if "Path" in name else [{}])
        if severity == severities[name] or name.endswith(("Errors", "Slow"))
    ]
    errors = [each for each in every if each["alertname"].endswith("Errors")]
    assert muted(errors) == [
        "FastAPIErrors warning",
        "FastAPIPathErrors critical",
        "FastAPIPathErrors warning",
    ]
    down = [each for each in every if re.search("Down|Missing|NoTraffic", each["alertname"])]
    assert muted(down) == ["FastAPIInstanceDown warning", "FastAPIMetricsMissing critical"]
    # Of another job, nothing is kept back.
    pages = [each for each in errors if each["severity"] == "critical"]
    assert muted([{**each, "job": each["alertname"]} for each in pages]) == []
    known = set(severities)
    text = (ROOT / "deploy/alertmanager.yml").read_text()
    for pattern in re.findall(r'alertname=~?"([^"]+)"', text):
        assert any(re.fullmatch(pattern, name) for name in known), pattern
