"""Which worker leads, and when another one takes over."""

from pathlib import Path

import pytest

from telemetry.sdk.workers.leadership import LEASE, Leadership


def test_a_leader_that_shows_no_sign_of_life_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (Leadership(f"1-1-1-{name * 8}", lambda _: True) for name in "ab")
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    assert [one.claim(tmp_path), two.claim(tmp_path)] == [True, False]
    for _ in range(3):
        now[0] += LEASE - 1
        one.renew(tmp_path)
        assert not two.claim(tmp_path)
    now[0] += LEASE - 1
    assert not two.claim(tmp_path)
    now[0] += LEASE
    assert [each.claim(tmp_path) for each in (two, two, one)] == [False, True, False]
    one.renew(tmp_path)
    assert two.claim(tmp_path)


def test_who_is_about_to_end_takes_over_from_nobody(tmp_path: Path) -> None:
    one, two = (Leadership(f"1-1-1-{name * 8}", lambda _: False) for name in "ab")
    assert one.claim(tmp_path)
    two.ends = True
    assert not two.claim(tmp_path)
    one.give_up(tmp_path)
    assert not two.claim(tmp_path)
    two.ends = False
    assert two.claim(tmp_path)
