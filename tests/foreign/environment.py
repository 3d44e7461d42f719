"""Virtual environments with packages that are not those of the tests."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.processes import ROOT


def environment(folder: Path, *packages: str) -> Path:
    """The Python of a new environment with this package and others, from the package index."""
    run([sys.executable, "-m", "venv", str(folder)], folder.parent)
    python = folder / "bin" / "python"
    run([str(python), "-m", "pip", "install", "--quiet", str(ROOT), *packages], folder.parent)
    return python


def sdist(python: Path, folder: Path, name: str, version: str) -> Path:
    """The unpacked source distribution of a package, which has its tests."""
    command = [str(python), "-m", "pip", "download", "--quiet", "--no-deps"]
    run([*command, "--no-binary", name, "--dest", str(folder), f"{name}=={version}"], folder)
    (archive,) = folder.glob(f"*-{version}.tar.gz")
    run(["tar", "--extract", "--gzip", "--file", str(archive)], folder)
    return archive.with_name(archive.name.removesuffix(".tar.gz"))


def run(
    command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What a command does in a folder, until it ends well."""
    result = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result
