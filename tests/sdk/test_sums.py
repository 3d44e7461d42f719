"""Sums of floats, whose order must not be seen."""

import math
from functools import reduce
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.sdk.points import Number, Sum, added
from telemetry.sdk.snapshot import Kind, Snapshot, Stream
from telemetry.sdk.total import Part, Total
from telemetry.sdk.workers.lines import Reader, Writer

DURATIONS = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20)


@given(DURATIONS)
def test_the_order_of_adding_is_not_seen(parts: list[float]) -> None:
    shuffled = sorted(parts)
    assert reduce(added, parts) == reduce(added, shuffled) == math.fsum(parts)


@given(DURATIONS, DURATIONS)
def test_sums_of_sums_are_the_same(some: list[float], others: list[float]) -> None:
    assert added(reduce(added, some), reduce(added, others)) == math.fsum(some + others)


def snapshot(value: float) -> Snapshot:
    stream = Stream("s", "", "", "cpu", "s", "", Kind.COUNTER, (), 0, {"{}": Number(value, 0)})
    return Snapshot(0, {stream.identity: stream})


def test_what_is_written_is_read_again() -> None:
    total = snapshot(0.1)
    for _ in range(5):
        total = Total(lambda _: 2_000).of([Part(total), Part(snapshot(0.7))])
        total = Reader().read(Writer().write(total))
    (stream,) = total.streams.values()
    (point,) = stream.points.values()
    assert isinstance(point, Number)
    assert isinstance(point.value, Sum)
    assert point.value == math.fsum([0.1, *[0.7] * 5])
    assert point.value != 0.1 + 0.7 + 0.7 + 0.7 + 0.7 + 0.7


def test_integers_stay_integers() -> None:
    assert added(2, 3) == 5
    assert type(added(2, 3)) is int


@pytest.mark.parametrize("other", [math.inf, -math.inf])
def test_what_is_not_finite_stays_so(other: float) -> None:
    assert added(1.0, other) == other


def test_a_counter_of_which_a_part_moves_never_decreases() -> None:
    """As a worker's does when it has ended: the others are added in another order then."""
    parts = [0.07, 0.1, 0.02, 0.05]
    before = [reduce(added, parts), reduce(added, parts[1:] + parts[:1]), math.fsum(parts)]
    assert all(a == b for a, b in pairwise(before))
