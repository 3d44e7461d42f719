"""Make the dashboards, docs/dashboards.*.md, and the rules of prometheus/objectives.toml."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deploy.rules import rules
from grafana.dashboards.panels import LANGUAGES, Json, translate
from grafana.dashboards.service import service, service_http
from grafana.dashboards.tutorial import tutorial

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "grafana/provisioning/dashboards"
DASHBOARDS: dict[str, Callable[[], Json]] = {
    "fastapi_dashboard": tutorial,
    "service_dashboard": service,
    "service_dashboard_http": service_http,
}
SUFFIXES = {"ko": ".json", "en": ".en.json"}
MARK = "<!-- What follows is made by: python -m grafana -->\n"
# What Grafana adds to an export, or renumbers.
_IGNORED = {"id", "version", "pluginVersion", "iteration", "__inputs", "__requires", "gridPos"}


def made() -> dict[Path, str]:
    """The content of each file that is made."""
    files = {}
    for language in LANGUAGES:
        contents = {name: translate(make(), language) for name, make in DASHBOARDS.items()}
        for name, content in contents.items():
            text = json.dumps(content, ensure_ascii=False, indent=2)
            files[FOLDER / f"{name}{SUFFIXES[language]}"] = text + "\n"
        document = ROOT / f"docs/dashboards.{language}.md"
        written = document.read_text(encoding="utf-8").partition(MARK)[0]
        # Of a dashboard with other names, the panels are the same.
        described = (contents[each] for each in ("fastapi_dashboard", "service_dashboard"))
        files[document] = written + MARK + "".join(map(_described, described))
    return files | rules()


def _described(dashboard: Json) -> str:
    """A heading for the dashboard and a table of its panels."""
    korean = dashboard["links"][1]["title"] == "English"
    lines = ["| 패널 | 내용 |" if korean else "| panel | what it shows |", "| --- | --- |"]
    lines += [
        f"| {panel['title']} | {panel['description']} |"
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    ]
    return f"\n## {dashboard['title']}\n\n" + "\n".join(lines) + "\n"


def _flat(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value with the path to it; panels and queries by their names, not their numbers."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key not in _IGNORED:
                yield from _flat(value, f"{path}.{key}" if path else key)
    elif isinstance(content, list):
        for index, value in enumerate(content):
            named = value if isinstance(value, dict) else {}
            yield from _flat(value, f"{path}[{named.get('title') or named.get('refId') or index}]")
    else:
        yield path, content


def compare(exported: Path) -> Iterator[str]:
    """What an export from Grafana has (+) and what the dashboard of its uid has instead (-)."""
    new = json.loads(exported.read_text(encoding="utf-8"))
    all_ = {content["uid"]: content for content in map(json.loads, _dashboards())}
    if new.get("uid") not in all_:
        raise SystemExit(
            f"{exported}: no uid of {', '.join(all_)}; export it with the model Classic"
        )
    before, after = dict(_flat(all_[new["uid"]])), dict(_flat(new))
    for path in dict.fromkeys([*before, *after]):
        if before.get(path) != after.get(path):
            for sign, values in (("-", before), ("+", after)):
                if path in values:
                    yield f"{sign} {path}: {json.dumps(values[path], ensure_ascii=False)}"


def _dashboards() -> list[str]:
    return [content for path, content in made().items() if path.suffix == ".json"]


def main() -> int:
    """Write the files, or only look at them; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m grafana", description=__doc__)
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--check", action="store_true", help="write nothing; fail if a file is out of date"
    )
    action.add_argument(
        "--compare",
        metavar="EXPORT",
        type=Path,
        help="write nothing; show what a JSON file exported from Grafana has changed",
    )
    arguments = parser.parse_args()
    if arguments.compare:
        print("\n".join(compare(arguments.compare)) or "Nothing has changed.")
        return 0
    stale = [
        (path, content)
        for path, content in made().items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    ]
    for path, content in stale:
        print(f"{path.relative_to(ROOT)}: {'out of date' if arguments.check else 'written'}")
        if not arguments.check:
            path.write_text(content, encoding="utf-8")
    if arguments.check and stale:
        print("Run: python -m grafana", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
