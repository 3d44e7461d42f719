"""What the suite says of itself."""

import re

from tests.conftest import SLOW
from tests.support.processes import ROOT


def test_each_slow_test_exists() -> None:
    defined: set[str] = set()
    for path in ROOT.glob("tests/**/test_*.py"):
        defined.update(re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    assert defined >= SLOW
