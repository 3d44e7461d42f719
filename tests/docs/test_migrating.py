"""Each pair of the page on migrating writes the same lines, in both languages."""

import functools
import subprocess
import sys

import pytest

from tests.support.documents import blocks, pattern
from tests.support.processes import ROOT

DOCUMENTS = ("docs/migrating.en.md", "docs/migrating.ko.md")
BEFORE = """
from fastapi import FastAPI
import telemetry
app = FastAPI()
telemetry.instrument(app)
"""
NEW = """
from fastapi.testclient import TestClient
print(TestClient(app).get("/metrics").text)
"""


@functools.cache
def shown(*code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize("name", DOCUMENTS)
def test_both_ways_write_the_same_lines(name: str) -> None:
    found = blocks(name)
    pairs = list(zip(found[::2], found[1::2], strict=True))
    assert len(pairs) == 4
    for old, new in pairs:
        assert "from prometheus_client" in old.text
        assert "from prometheus_client" not in new.text
        assert new.output is not None
        for block in (old, new):
            text = shown(BEFORE, block.text, NEW)
            assert pattern(new.output).search(text), f"line {block.line}:\n{text}"
