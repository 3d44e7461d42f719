"""Makes a site of the documents as they stand, with links that hold on a forge: mkdocs.yml."""

import posixpath
import re
import shutil
import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

_COPY = tempfile.TemporaryDirectory()
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#]+)")
_OTHER_LANGUAGE = re.compile(r"^\[(?:한국어|English)\]\(.*\)\n", re.MULTILINE)


def on_config(config: MkDocsConfig) -> None:
    """Build from a copy of docs/ with the README, which stands outside of it, as the first page."""
    folder = Path(_COPY.name, "docs")
    if folder.exists():
        # Asked again, for the second language.
        return
    root = Path(config.docs_dir).parent
    shutil.copytree(config.docs_dir, folder)
    for path in folder.glob("*.md"):
        path.write_text(_page(path.read_text(encoding="utf-8"), "docs", config.repo_url))
    for name, source in (("index.en.md", "README.md"), ("index.ko.md", "README.ko.md")):
        text = (root / source).read_text(encoding="utf-8")
        (folder / name).write_text(_page(text, "", config.repo_url))
    config.docs_dir = str(folder)


def _page(text: str, folder: str, repository: str | None) -> str:
    """Point to pages within the site, and to the repository for everything else."""

    def link(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[1]))
        if path.startswith("README."):
            path = f"docs/index.{'ko' if '.ko.' in path else 'en'}.md"
        if re.match(r"docs/([^/]*\.md$|pictures/)", path):
            return f"]({path.removeprefix('docs/')}"
        return f"]({repository}/blob/HEAD/{path}"

    # The site has a menu for the languages.
    text = _OTHER_LANGUAGE.sub("", text).replace("<details>", '<details markdown="1">')
    return _LINK.sub(link, text)
