"""The page on options: its code writes what is shown, and its command makes what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import blocks, pattern
from tests.support.processes import ROOT, program, run_module

DOCUMENTS = ("docs/options.en.md", "docs/options.ko.md")
ASKED = """
from fastapi.testclient import TestClient
client = TestClient(app)
client.post("/orders/paid", headers={"x-client": "ios"})
client.post("/orders/golden")
text = client.get("/metrics", headers={"x-key": "monitoring"}).text
print(*sorted(each for each in text.splitlines() if each.startswith("shop_requests_t")), sep="\\n")
"""


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_code_writes_what_is_shown(name: str) -> None:
    code, *_ = blocks(name)
    command = [sys.executable, "-c", code.text + ASKED]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert code.output is not None
    assert pattern(code.output).fullmatch(result.stdout), result.stdout + result.stderr


@pytest.mark.parametrize("name", DOCUMENTS)
def test_dashboards_and_rules_for_a_prefix(name: str, tmp_path: Path) -> None:
    *_, command = blocks(name)
    words = command.text.replace("--output shop", f"--output {tmp_path / 'shop'}").split()
    assert words[:3] == ["python", "-m", "grafana"]
    result = run_module(*words[2:])
    assert result.returncode == 0, result.stderr
    made = sorted((tmp_path / "shop").iterdir())
    assert len(made) == 7
    for path in made:
        text = path.read_text(encoding="utf-8")
        assert "app_requests" not in text
        assert "app_memory" not in text
        assert "shop_memory_usage_bytes" in text
        if path.suffix == ".json":
            json.loads(text)
        else:
            promtool = [program("promtool"), "check", "rules", str(path)]
            subprocess.run(promtool, check=True, capture_output=True, env=os.environ)


def test_a_prefix_needs_a_folder() -> None:
    result = run_module("grafana", "--prefix", "shop")
    assert result.returncode == 2
    assert "--prefix needs --output" in result.stderr
