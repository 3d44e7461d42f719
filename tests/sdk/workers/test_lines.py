"""Snapshots as text: all that is written is read, and nothing but what is right."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.sdk.points import Exemplar
from telemetry.sdk.snapshot import Snapshot
from telemetry.sdk.workers import lines as module
from telemetry.sdk.workers.lines import Reader, Writer
from tests.sdk.test_total import (
    MEASUREMENTS,
    Measurement,
    histogram,
    instruments,
    measured,
    points_of,
)


def read_again(snapshot: Snapshot) -> Snapshot:
    return Reader().read(Writer().write(snapshot))


@given(MEASUREMENTS)
def test_what_is_written_is_read_again(measurements: list[Measurement]) -> None:
    snapshot = measured(measurements)
    assert read_again(snapshot) == snapshot


@given(st.lists(MEASUREMENTS, max_size=5))
def test_what_is_kept_from_one_to_the_next_is_not_seen(turns: list[list[Measurement]]) -> None:
    writer, reader = Writer(), Reader()
    for measurements in turns:
        snapshot = measured(measurements)
        text = writer.write(snapshot)
        assert text == Writer().write(snapshot)
        assert reader.read(text) == snapshot


def test_what_has_not_changed_is_the_same_object() -> None:
    reader = Reader()
    before = reader.read(Writer().write(measured(ONE)))
    after = reader.read(Writer().write(measured([*ONE, ("counter", "one", 5.0, {"a": "x"}, 0)])))
    counter, histogram = ("meter.one", "counter.one", 0), ("meter.one", "histogram.one", 0)
    assert after.streams[histogram] is before.streams[histogram]
    one, other = before.streams[counter].points, after.streams[counter].points
    assert one['{"a":"y"}'] is other['{"a":"y"}']
    assert one['{"a":"x"}'] != other['{"a":"x"}']


ONE: list[Measurement] = [
    ("counter", "one", 1.0, {"a": "x"}, 0),
    ("counter", "one", 1.0, {"a": "y"}, 0),
    ("histogram", "one", 1.0, {}, 0),
]


@pytest.mark.parametrize("text", ["", "[", "null", "7", "7\n\n", "x\n\n.", "\n\n.", "[" * 200_000])
def test_what_is_not_a_snapshot_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"the end is missing|invalid literal"):
        Reader().read(text)


@pytest.mark.parametrize(
    ("definition", "point"),
    [
        *((definition, "{}\t[1,0]") for definition in ("[]", '["a"]', "7", "null", "x", "")),
        ('["s","","","n","","","other",[],0]', "{}\t[1,0]"),
        ('["s","","","n","","",1,[],0]', "{}\t[1,0]"),
        *(
            ('["s","","","n","","","counter",[],0]', point)
            for point in (
                *('{}\t["x",0]', "{}\t[true,0]", "7\t[1,0]", "{}\t[1,0],[2,0]", "{}\t[1", "{}"),
                "{}\t" + "[" * 100_000,
            )
        ),
        ('["s","","","n","","","histogram",[1.0],0]', "{}\t[[1],1,1,1,1,0]"),
        ('["s","","","n","","","histogram",[],0]', '{}\t[["x"],1,1,1,1,0]'),
    ],
)
def test_a_stream_that_cannot_be_read_costs_only_itself(
    definition: str, point: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._logger, "filters", [])
    good = '["s","","","good","","","counter",[],0]\n{}\t[1,0]'
    snapshot = Reader().read(f"0\n\n{definition}\n{point}\n\n{good}\n\n.")
    assert points_of(snapshot) == {"good": {"{}": 1}}
    assert "cannot be read" in caplog.text


@given(MEASUREMENTS, st.data())
def test_half_a_snapshot_is_told(measurements: list[Measurement], data: st.DataObject) -> None:
    text = Writer().write(measured(measurements))
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ValueError, match=r"the end is missing|invalid literal"):
        Reader().read(text[:cut])


def test_exemplars_are_written_and_read_again() -> None:
    snapshot = with_exemplar(Exemplar(1, 7.5, 3, "ab" * 16, "cd" * 8, {"who": "me"}))
    read = read_again(snapshot)
    assert read == snapshot
    (stream,) = read.streams.values()
    (exemplar,) = stream.points["{}"].exemplars
    assert exemplar.trace == "ab" * 16


@pytest.mark.parametrize(
    "damaged", [{"bucket": 2}, {"bucket": -1}, {"value": "7"}, {"trace": "?"}, {"attributes": 1}]
)
def test_a_stream_with_a_damaged_exemplar_is_left_out(damaged: dict[str, Any]) -> None:
    exemplar = Exemplar(1, 7.5, 3, "ab", "cd", {})._replace(**damaged)
    assert read_again(with_exemplar(exemplar)).streams == {}


def with_exemplar(exemplar: Exemplar) -> Snapshot:
    snapshot = instruments(histogram(1.0))
    (stream,) = snapshot.streams.values()
    stream.points = {
        key: point._replace(exemplars=[exemplar]) for key, point in stream.points.items()
    }
    return snapshot
