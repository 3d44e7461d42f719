"""No counter ever decreases, and all totals are right at the end, whatever goes wrong."""

import itertools
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import faults
from tests.support.faults import Checker, Faults, small_disk
from tests.support.workers import COMMANDS, all_up, workers

AT_WORK = ("stop", "folder deleted", "rubbish", "disk full", "slow disk", "clock")
ALL = ("kill", "terminate", "stop in the lock", *AT_WORK)


@pytest.mark.parametrize(
    ("server", "kinds"),
    # hypercorn and granian end when a worker has ended.
    [("uvicorn", ALL), ("gunicorn", ALL), ("hypercorn", AT_WORK), ("granian", AT_WORK)],
)
def test_nothing_that_goes_wrong_spoils_the_numbers(
    tmp_path: Path,
    server: str,
    kinds: Sequence[str],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each fault once, or as they come for ``--faults`` seconds."""
    monkeypatch.setattr("tests.support.workers.APP", faults.APP)
    seconds: float = request.config.getoption("--faults")
    count = 3
    command = [str(count) if part == "4" else part for part in COMMANDS[server]]
    with small_disk(tmp_path / "tmp"), workers(tmp_path, command=command) as app:
        all_up(app, count)
        with Checker(app, count) as checker:
            act = Faults(checker, tmp_path / "tmp").kinds
            deadline = time.monotonic() + seconds
            for number in itertools.count():
                if number >= len(kinds) and time.monotonic() > deadline:
                    break
                kind = kinds[number] if number < len(kinds) else random.choice(kinds)
                act[kind]()
                assert not checker.decreases, (kind, checker.decreases[:3])
                checker.is_exact()
        assert not checker.decreases, checker.decreases[:3]
        assert checker.scrapes[200] > 10 * checker.scrapes[503]
