"""Which format a scrape gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.sdk.exposition.negotiation import Exposition, Format, format_for, header

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        (PROMETHEUS_3, True),
        ("application/openmetrics-text", True),
        ('Application/OpenMetrics-Text; Version="1.0.0"', True),
        # What the client prefers.
        ("text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5", False),
        ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0", True),
        # The best that there is among what is asked for.
        ("application/openmetrics-text;version=2.0.0,application/openmetrics-text;q=0.5", True),
        ("application/openmetrics-text;version=2.0.0,text/plain;version=0.0.4;q=0.1", False),
        ("application/vnd.google.protobuf;encoding=delimited," + PROMETHEUS_3, True),
        ("application/openmetrics-text;version=1.0.0;q=0,text/plain", False),
        ("application/openmetrics-text;version=-", False),
        ("application/openmetrics-text;q=x", False),
    ],
)
def test_the_format_that_the_client_prefers(accept: str, openmetrics: bool) -> None:
    wanted = Exposition.OPENMETRICS if openmetrics else Exposition.TEXT
    assert format_for(accept, "").exposition is wanted


PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (f"{PROTOBUF};q=0.7,{PROMETHEUS_3}", Exposition.PROTOBUF),
        (f"{PROTOBUF};q=0.3,{PROMETHEUS_3}", Exposition.OPENMETRICS),
        (f"{PROTOBUF};q=0,*/*", Exposition.TEXT),
        # Of what it likes as much, the one that has more.
        (f"*/*,application/openmetrics-text,{PROTOBUF}", Exposition.PROTOBUF),
        (PROTOBUF.replace("delimited", "text"), Exposition.TEXT),
        (PROTOBUF.replace("MetricFamily", "Metric"), Exposition.TEXT),
        ("application/vnd.google.protobuf", Exposition.TEXT),
    ],
)
def test_protobuf_where_histograms_are_native(accept: str, wanted: Exposition) -> None:
    assert format_for(accept, "", native=True).exposition is wanted
    assert format_for(accept, "").exposition is not Exposition.PROTOBUF


@pytest.mark.parametrize(
    ("accept_encoding", "compressed"),
    [
        ("", False),
        ("identity", False),
        ("gzip", True),
        ("gzip, br", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
    ],
)
def test_gzip_where_it_is_accepted(accept_encoding: str, compressed: bool) -> None:
    assert format_for("", accept_encoding).compressed is compressed


@given(st.text(), st.text(), st.booleans())
def test_no_header_makes_a_format_of_its_own(
    accept: str, accept_encoding: str, native: bool
) -> None:
    """Each format that a client can ask for keeps ready text: there must be few of them."""
    form = format_for(accept, accept_encoding, native=native)
    assert form in {Format(a, b) for a in Exposition for b in (False, True)}


def test_all_values_of_a_header_are_read_up_to_a_bound() -> None:
    headers = [(b"accept", b"a"), (b"x", b"b"), (b"accept", b"c")]
    assert header(headers, b"accept") == b"a,c"
    assert header(headers, b"authorization") == b""
    assert header([(b"accept", b"," * 65_000)] * 98, b"accept") == b"," * 4096
