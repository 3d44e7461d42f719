"""What the documents name is there, and is the same in both languages."""

import re

import pytest

from tests.support.processes import ROOT

PAIRS = [
    ("README.md", "README.ko.md"),
    ("docs/reliability.md", "docs/reliability.ko.md"),
    ("docs/tutorial.en.md", "docs/tutorial.ko.md"),
    ("docs/migrating.en.md", "docs/migrating.ko.md"),
    ("docs/dashboards.en.md", "docs/dashboards.ko.md"),
]


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


def structure(name: str) -> list[str]:
    """Headings by their level, tables by the cells of each row, and where the blocks stand."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"```(\w*)\n.*?```", r"```\1", text, flags=re.DOTALL)
    found = []
    for line in text.splitlines():
        if heading := re.match(r"#+ ", line):
            found.append(heading[0])
        elif line.startswith("|"):
            found.append(f"table row of {line.count('|')}")
        elif line.startswith("```"):
            found.append(line)
    return found


@pytest.mark.parametrize(("english", "korean"), PAIRS)
def test_both_languages_have_the_same_structure(english: str, korean: str) -> None:
    assert len(structure(english)) > 5
    assert structure(korean) == structure(english)


@pytest.mark.parametrize(("english", "korean"), PAIRS)
def test_both_languages_name_the_same_commands_and_names(english: str, korean: str) -> None:
    assert code(korean) == code(english)


@pytest.mark.parametrize("name", ["SECURITY.md", *(name for pair in PAIRS for name in pair)])
def test_every_file_that_is_linked_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        assert ((ROOT / name).parent / link).exists(), link
