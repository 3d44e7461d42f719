"""The page on options: its code writes what is shown."""

import subprocess
import sys

import pytest

from tests.support.documents import blocks, pattern
from tests.support.processes import ROOT

DOCUMENTS = ("docs/options.en.md", "docs/options.ko.md")
ASKED = """
from fastapi.testclient import TestClient
client = TestClient(app)
client.post("/orders/paid", headers={"x-client": "ios"})
client.post("/orders/golden")
lines = client.get("/metrics", headers={"x-key": "monitoring"}).text.splitlines()
print(*sorted(each for each in lines if each.startswith("app_requests_total")), sep="\\n")
"""


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_code_writes_what_is_shown(name: str) -> None:
    code, *_ = blocks(name)
    command = [sys.executable, "-c", code.text + ASKED]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert code.output is not None
    assert pattern(code.output).fullmatch(result.stdout), result.stdout + result.stderr
