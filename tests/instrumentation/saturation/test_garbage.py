"""What the garbage collector has done, and how long it has stopped everything."""

import gc
import time

from tests.support.applications import Measured
from tests.support.series import Series, label_names, values


def collections(series: Series) -> dict[tuple[str, ...], float]:
    return values(series, "cpython_gc_collections_total")


def pauses(series: Series) -> tuple[float, float]:
    name = "app_gc_pause_seconds"
    return (
        values(series, f"{name}_count").get((), 0),
        values(series, f"{name}_sum").get((), 0),
    )


def test_collections_by_generation() -> None:
    measured = Measured()
    before = collections(measured.series())
    gc.collect(2)
    after = collections(measured.series())
    assert label_names(measured.series(), "cpython_gc_collections_total") == {
        ("cpython_gc_generation",)
    }
    assert after["2",] >= before["2",] + 1


def test_long_pauses_are_recorded_once_for_each_provider() -> None:
    one, other = Measured(), Measured()
    # Old ones of this process, if any.
    before, other_before = pauses(one.series()), pauses(other.series())
    # More than a millisecond's worth of objects to look at.
    kept = [[number] for number in range(200_000)]
    began = time.perf_counter()
    gc.collect()
    took = time.perf_counter() - began
    assert took > 0.001
    del kept
    for measured, (count, seconds) in ((one, before), (other, other_before)):
        new_count, new_seconds = pauses(measured.series())
        assert new_count >= count + 1
        assert new_seconds - seconds >= 0.5 * took
        again = pauses(measured.series())
        assert again[0] - new_count <= 1


def test_it_takes_notes_once_however_many_applications_there_are() -> None:
    before = len(gc.callbacks)
    for _ in range(5):
        Measured()
    assert len(gc.callbacks) <= before + 1
    assert len(gc.callbacks) == len(set(map(id, gc.callbacks)))
