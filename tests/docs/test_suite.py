"""What the suite says of itself."""

import re

import telemetry
from tests.conftest import SLOW
from tests.support.processes import ROOT


def test_each_slow_test_exists() -> None:
    defined: set[str] = set()
    for path in ROOT.glob("tests/**/test_*.py"):
        defined.update(re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    assert defined >= SLOW


def test_every_document_is_on_the_site() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    shown = re.findall(r"^  - (.*)\.md$", navigation, re.MULTILINE)
    documents = [path.name.removesuffix(".en.md") for path in ROOT.glob("docs/*.en.md")]
    assert sorted(shown) == sorted(["index", *documents])


def test_the_readme_stays_short_and_begins_with_ones_own_app() -> None:
    for name in ("README.md", "README.ko.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert len(text) <= 13_000
        assert "\npip install .\n" in "\n".join(text.splitlines()[:40])


def test_the_versions_agree() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## (\d+\.\d+\.\d+) \(\d{4}-\d{2}-\d{2}\)$", changes, re.MULTILINE)
    assert released[0] == telemetry.__version__
