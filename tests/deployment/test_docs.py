"""What the documents name is there, and is the same in both languages."""

import re
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

START = """
from fastapi import FastAPI
import telemetry
app = FastAPI()
"""


def code(name: str) -> list[str]:
    """What stands in backticks and in fenced blocks, in its order, without the diagram."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"```mermaid.*?```", "", text, flags=re.DOTALL)
    blocks = re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
    return blocks + sorted(
        set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    )


@pytest.mark.parametrize("name", ["docs/reliability.md", "docs/reliability.ko.md"])
def test_every_test_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    path = ""
    named = re.findall(r"`(tests/[^`:]+\.py)?(?:::(\w+))?`", text)
    found = [(file, test) for file, test in named if file or test]
    assert len(found) > 30
    for file, test in found:
        path = file or path
        source = (ROOT / path).read_text(encoding="utf-8")
        if test:
            assert f"def {test}(" in source, f"{path}::{test}"


@pytest.mark.parametrize(
    ("english", "korean"),
    [
        ("README.md", "README.ko.md"),
        ("docs/reliability.md", "docs/reliability.ko.md"),
        ("docs/tutorial.md", "docs/tutorial.ko.md"),
    ],
)
def test_both_languages_name_the_same_commands_and_names(english: str, korean: str) -> None:
    assert code(korean) == code(english)


@pytest.mark.parametrize(
    "name",
    ["README.md", "README.ko.md", "SECURITY.md", "docs/tutorial.md", "docs/tutorial.ko.md"],
)
def test_every_file_that_is_linked_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        assert ((ROOT / name).parent / link).exists(), link


SHOW = """
from fastapi.testclient import TestClient
client = TestClient(app)
client.get("/nope")
print(client.get("/metrics").text)
"""


@pytest.mark.parametrize(
    ("name", "before", "shown"),
    [
        ("README.md", "", 'orders_total{kind="book"} 1.0'),
        ("README.ko.md", "", 'orders_total{kind="book"} 1.0'),
        ("docs/tutorial.md", START, 'app_orders_total{kind="book"} 1.0'),
        ("docs/tutorial.md", START, 'my_memory_usage_bytes{type="rss"}'),
        ("docs/tutorial.ko.md", START, 'my_memory_usage_bytes{type="vms"}'),
    ],
)
def test_the_code_that_is_shown_does_what_is_said(name: str, before: str, shown: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    code = "\n".join([before, *blocks, SHOW])
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert result.stderr == ""
    assert shown in result.stdout
    assert 'app_requests_total{method="GET",path="unmatched"} 1.0' in result.stdout
