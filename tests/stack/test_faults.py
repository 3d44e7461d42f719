"""No counter ever decreases, and all totals are right at the end, whatever goes wrong."""

import random
import time
from pathlib import Path

import pytest

from tests.support import faults
from tests.support.faults import Checker, Faults, small_disk
from tests.support.workers import COMMANDS, all_up, workers

SERVERS = ("uvicorn", "gunicorn", "hypercorn", "granian")


@pytest.mark.parametrize("server", SERVERS)
def test_nothing_that_goes_wrong_spoils_the_numbers(
    tmp_path: Path, server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fault once, or as they come for ``--faults`` seconds."""
    monkeypatch.setattr("tests.support.workers.APP", faults.APP)
    seconds: float = request.config.getoption("--faults")
    count = 3
    command = [str(count) if part == "4" else part for part in COMMANDS[server]]
    with small_disk(tmp_path / "tmp"), workers(tmp_path, command=command) as app:
        all_up(app, count)
        with Checker(app, count) as checker:
            going_wrong = Faults(checker, tmp_path / "tmp")
            deadline = time.monotonic() + seconds
            for kind, act in going_wrong.kinds.items():
                act()
                assert not checker.decreases, (kind, checker.decreases[:3])
                checker.is_exact()
            while time.monotonic() < deadline:
                kind = random.choice(list(going_wrong.kinds))
                going_wrong.kinds[kind]()
                assert not checker.decreases, (kind, checker.decreases[:3])
                checker.is_exact()
        assert not checker.decreases, checker.decreases[:3]
        assert checker.scrapes[200] > 10 * checker.scrapes[503]
