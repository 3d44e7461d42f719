"""One name, several libraries."""

import pytest

from tests.support.applications import Measured
from tests.support.series import parse, parse_openmetrics, values


def test_a_name_that_two_scopes_use_is_told_apart() -> None:
    measured = Measured()
    for scope, amount in (("one", 1), ("two", 2), ("three", 3)):
        meter = measured.provider.get_meter(scope)
        meter.create_counter("jobs", description=f"Jobs of {scope}.").add(amount, {"kind": "x"})
        meter.create_counter(f"only.{scope}").add(1)
    text = measured.client.get(
        "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}
    ).text
    series = parse_openmetrics(text)
    # In the order of the labels' names: kind, otel_scope_name.
    assert values(series, "jobs_total") == {("x", ""): 1, ("x", "two"): 2, ("x", "three"): 3}
    assert text.count("# TYPE jobs counter") == 1
    assert values(series, "only_two_total") == {(): 1}
    assert values(measured.series(), "jobs_total") == values(series, "jobs_total")


def test_names_that_are_alike_only_when_shown_conflict_too() -> None:
    measured = Measured()
    measured.provider.get_meter("one").create_counter("a.b").add(1)
    measured.provider.get_meter("two").create_counter("a_b").add(2)
    assert values(measured.series(), "a_b_total") == {("",): 1, ("two",): 2}


def test_what_is_not_even_of_the_same_kind_gives_way_to_the_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    measured = Measured()
    measured.provider.get_meter("one").create_counter("mixed").add(1)
    measured.provider.get_meter("two").create_gauge("mixed_total").set(2)
    text = measured.client.get("/metrics").text
    assert values(parse(text), "mixed_total") == {(): 1}
    assert text.count("# TYPE mixed_total") == 1
    assert "mixed_total of two is not shown" in caplog.text


def test_names_that_become_different_ones_do_not_conflict() -> None:
    measured = Measured()
    one, two = measured.provider.get_meter("one"), measured.provider.get_meter("two")
    one.create_counter("wait", unit="s").add(3)
    two.create_counter("wait", unit="ms").add(5000)
    one.create_counter("memory").add(1)
    two.create_gauge("memory").set(7)
    series = measured.series()
    assert values(series, "wait_seconds_total") == {(): 3}
    assert values(series, "wait_milliseconds_total") == {(): 5000}
    assert values(series, "memory_total") == {(): 1}
    assert values(series, "memory") == {(): 7}


def test_flushing_the_provider_shows_nothing_twice() -> None:
    measured = Measured()
    measured.client.get("/nope")
    measured.provider.force_flush()
    assert values(measured.series(), "app_requests_total") == {("GET", "unmatched"): 1}
