"""What telemetry says of itself."""

import pytest
from opentelemetry.sdk.metrics import MeterProvider

from telemetry.sdk import health
from telemetry.sdk.exposition.reader import EndpointReader
from telemetry.sdk.snapshot import Snapshot
from tests.support.pages import text_of
from tests.support.series import parse, values


@pytest.fixture(autouse=True)
def nothing_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_dropped", "_failed_scrapes"):
        monkeypatch.setattr(health, name, type(health._dropped)())
    monkeypatch.setattr(health, "_failed_pushes", type(health._dropped)({"": 0}))


def test_what_is_lost_is_on_the_page() -> None:
    reader = EndpointReader()
    health.observe(MeterProvider([reader]))
    health.dropped("not a number", 2)
    health.dropped("no name")
    health.scrape_failed("timeout")
    health.push_failed()
    series = parse(text_of(reader))
    assert values(series, "telemetry_points_dropped_total") == {
        ("not a number",): 2,
        ("no name",): 1,
    }
    assert values(series, "telemetry_scrapes_failed_total") == {("timeout",): 1}
    assert values(series, "telemetry_pushes_failed_total") == {(): 1}
    assert values(series, "telemetry_workers") == {(): 1}


def test_the_state_of_the_service_is_in_its_snapshot() -> None:
    snapshot = Snapshot()
    health.add_state(snapshot, 1.5, True)
    assert [
        (name, stream.points["{}"][0]) for (_, name, _), stream in snapshot.streams.items()
    ] == [
        ("telemetry.worker.data.age", 1.5),
        ("telemetry.sharing.failed", 1),
    ]
