"""What the documents name exists, and is the same in both languages."""

import re
from pathlib import Path

import pytest

from tests.support.processes import ROOT


def _pair(korean: Path) -> tuple[str, str]:
    english = korean.with_name(korean.name.replace(".ko.md", ".md"))
    if not english.exists():
        english = korean.with_name(korean.name.replace(".ko.md", ".en.md"))
    return str(english.relative_to(ROOT)), str(korean.relative_to(ROOT))


PAIRS = [_pair(path) for path in sorted([*ROOT.glob("*.ko.md"), *ROOT.glob("docs/*.ko.md")])]
DOCUMENTS = [name for pair in PAIRS for name in pair]
ONE_LANGUAGE = {"CHANGELOG.md"}


def test_every_document_is_there_in_both_languages() -> None:
    found = {str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
    assert found - ONE_LANGUAGE == set(DOCUMENTS)
    assert len(PAIRS) > 8


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def code(name: str) -> list[str]:
    """What stands in fenced blocks, in its order without diagrams, and in backticks."""
    text = re.sub(r"```mermaid.*?```", "", read(name), flags=re.DOTALL)
    blocks = re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return blocks + sorted(set(re.findall(r"`([^`\n]+)`", text)))


def structure(name: str) -> list[str]:
    """Headings by their level, tables by the cells of each row, lists, blocks, what is folded."""
    text = re.sub(r"```(\w*)\n.*?```", r"```\1", read(name), flags=re.DOTALL)
    found, before = [], ""
    for line in text.splitlines():
        if heading := re.match(r"#+ ", line):
            found.append(heading[0])
        elif line.startswith("|"):
            cells = re.findall(r"(?<!\\)[|]", line)
            found.append(f"table row of {len(cells)}")
        elif item := re.match(r"- |[0-9]+\. |!\[|</?\w+>|```\w*|<!-- not run: .*", line):
            found.append(item[0])
        elif line.startswith("**") and not before:
            found.append("paragraph with a title")
        before = line
    return found


@pytest.mark.parametrize(("english", "korean"), PAIRS)
def test_both_languages_have_the_same_structure(english: str, korean: str) -> None:
    assert len(structure(english)) > 5
    assert structure(korean) == structure(english)


@pytest.mark.parametrize(("english", "korean"), PAIRS)
def test_both_languages_name_the_same_commands_and_names(english: str, korean: str) -> None:
    assert code(korean) == code(english)


@pytest.mark.parametrize(("english", "korean"), PAIRS)
def test_each_links_to_the_other_one(english: str, korean: str) -> None:
    assert f"[한국어]({Path(korean).name})" in read(english)
    assert f"[English]({Path(english).name})" in read(korean)


@pytest.mark.parametrize("name", ["docs/reliability.en.md", "docs/reliability.ko.md"])
def test_every_test_that_is_named_exists(name: str) -> None:
    path = ""
    named = re.findall(r"`(tests/[^`:]+\.py)?(?:::(\w+))?`", read(name))
    found = [(file, test) for file, test in named if file or test]
    assert len(found) > 50
    for file, test in found:
        path = file or path
        source = read(path)
        if test:
            assert f"def {test}(" in source, f"{path}::{test}"


def anchors(name: str) -> set[str]:
    """The headings of a document as a forge makes anchors of them."""
    text = re.sub(r"```.*?```", "", read(name), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", [*DOCUMENTS, *sorted(ONE_LANGUAGE)])
def test_everything_that_is_linked_exists(name: str) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", read(name)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), link


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_korean_page_links_to_korean_pages(name: str) -> None:
    for link in re.findall(r"\]\(([^)#]+\.md)(?:#[^)]*)?\)", read(name)):
        if Path(link).name in ONE_LANGUAGE or "://" in link:
            continue
        other = read(name).count(f"]({link})") == 1 and link in read(name).splitlines()[2]
        assert other or link.endswith(".ko.md") == name.endswith(".ko.md"), link


KOREAN = [
    *("스크레이프", "방문자", "작업(job)", "읽으러", "seed", "세고 잼", "보여 주기", "많아야"),
    *("복제한", "여러분의", "즉시 끝", "실수라면", "믿지 않", "자기 차례", "을 냄", "부하 중 "),
]
ENGLISH = [
    *("the seed", "visitor", "whoever", "costs a log line", "comes by", "stranger", "blow up"),
    *("mended", "mend it", "own wish", "believed", "waits its turn", "what the numbers lose"),
]


@pytest.mark.parametrize(("english", "korean"), PAIRS)
def test_one_word_for_one_thing(english: str, korean: str) -> None:
    assert [word for word in KOREAN if word in read(korean)] == []
    text = re.sub(r"`[^`]*`", "", read(english)).lower()
    assert [word for word in ENGLISH if word in text] == []


@pytest.mark.parametrize("korean", [korean for _, korean in PAIRS])
def test_emphasis_ends_where_markdown_sees_it(korean: str) -> None:
    """A closing * between punctuation and a letter, as in *view(x)*is, is shown as it is."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "x", read(korean), flags=re.DOTALL)
    assert re.findall(r".*[)\]'\".,:!?]\*{1,2}[^\W_].*", text) == []
