"""Tests of what only newer versions of a package have."""

from importlib.metadata import version

import pytest
from packaging.version import Version

from tests.support.processes import ROOT


def newest(package: str) -> Version:
    """The version of a package that the image has, by constraints.txt."""
    (line,) = (
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.startswith(f"{package}==")
    )
    return Version(line.partition("==")[2])


def needs(package: str, since: str) -> pytest.MarkDecorator:
    """Skips a test where a package is older than what it tests; never on the newest one.

    Parameters:
        package: A package that constraints.txt lists.
        since: The first version that has it. docs/versions.en.md says what is absent before.
    """
    assert Version(since) <= newest(package), f"{package} {since} is newer than the image's"
    return pytest.mark.skipif(
        Version(version(package)) < Version(since), reason=f"needs {package} {since}"
    )
