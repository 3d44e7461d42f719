"""What an application's own instruments are called on /metrics, and pushed to a Prometheus."""

import itertools
import json
import re
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from telemetry.compatibility.prometheus import prometheus_names
from telemetry.sdk.collection import Collection
from telemetry.sdk.exposition.text import TextWriter
from telemetry.sdk.push import metrics_data
from tests.support.processes import get
from tests.support.prometheus import pushed_prometheus
from tests.support.series import parse_openmetrics

KINDS = ("counter", "up_down_counter", "gauge", "histogram")
Named = set[tuple[str, frozenset[tuple[str, str]]]]
_numbers = itertools.count()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pushed_prometheus(tmp_path_factory.mktemp("names")) as url:
        yield url


def both(
    url: str, kind: str, name: str, unit: str, attributes: dict[str, Any]
) -> tuple[Named, Named]:
    """The names and labels of one instrument's series, scraped and pushed."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("scope")
    instrument = getattr(meter, f"create_{kind}")(name, unit)
    measure = {"gauge": "set", "histogram": "record"}.get(kind, "add")
    getattr(instrument, measure)(1, attributes)
    data = reader.get_metrics_data()
    assert data is not None
    snapshot = Collection().snapshot(data, time.time_ns() // 1_000_000)
    text = TextWriter(openmetrics=True, created=False).write(snapshot, {}).decode()
    scraped = {_named(*series) for series in parse_openmetrics(text) if "target" not in series[0]}
    job = f"example-{next(_numbers)}"
    exporter = OTLPMetricExporter(endpoint=f"{url}/api/v1/otlp/v1/metrics")
    exporter.export(metrics_data(snapshot, Resource({"service.name": job})))
    query = urllib.parse.urlencode({"query": f'{{job="{job}", __name__!="target_info"}}'})
    answer = json.loads(get(f"{url}/api/v1/query?{query}"))
    pushed = set()
    for each in answer["data"]["result"]:
        labels = each["metric"]
        shown = labels.pop("__name__")
        del labels["job"]
        pushed.add(_named(shown, frozenset(labels.items())))
    return scraped, pushed


def _named(name: str, labels: frozenset[tuple[str, str]]) -> Any:
    # 1.0 and 1 are one bound, which Prometheus writes in one way when it scrapes.
    return name, frozenset(
        (key, str(float(value)) if key == "le" else value) for key, value in labels
    )


# The stock exporter's own way, which the page keeps to, and Prometheus's translation differ here.
DIFFERENCES: dict[str, tuple[str, str, str, dict[str, Any], str, str]] = {
    "a gauge of unit 1": ("gauge", "a", "1", {}, "a", "a_ratio"),
    "an underscore at the end": ("counter", "a_", "", {}, "a__total", "a_total"),
    "total within a counter's name": (
        "counter",
        "a.total.x",
        "",
        {},
        "a_total_x_total",
        "a_x_total",
    ),
    "the unit within the name": ("gauge", "a.bytes.x", "By", {}, "a_bytes_x_bytes", "a_bytes_x"),
    "an annotation below the line": ("gauge", "a", "s/{x}", {}, "a_s", "a_seconds"),
    "a key that begins with _": ("gauge", "a", "", {"_k": "v"}, "_k", "key_k"),
    "a key that begins with a digit": ("gauge", "a", "", {"1k": "v"}, "_k", "key_1k"),
    "several underscores in a key": ("gauge", "a", "", {"k__l": "v"}, "k_l", "k__l"),
    "a float that is whole": ("gauge", "a", "", {"k": 1.0}, "1.0", "1"),
    "a list of several kinds": ("gauge", "a", "", {"k": ["x", "y"]}, '["x", "y"]', '["x","y"]'),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_where_they_differ(url: str, what: str) -> None:
    kind, name, unit, attributes, scraped, pushed = DIFFERENCES[what]
    shown = both(url, kind, name, unit, attributes)
    words = [
        {word for name, labels in each for word in (name, *itertools.chain(*labels))}
        for each in shown
    ]
    assert scraped in words[0]
    assert pushed in words[1]
    assert is_different(kind, name, unit, attributes)


_PLAIN = "[a-zA-Z][a-zA-Z0-9]*([._-][a-zA-Z0-9]+)*"


def is_different(kind: str, name: str, unit: str, attributes: dict[str, Any]) -> bool:
    """Whether an instrument is one of those above."""
    words = re.split("[^a-zA-Z0-9]+", name)
    suffix = prometheus_names()[2](unit).split("_")
    return (
        (kind == "gauge" and unit == "1")
        or words[-1] == ""
        or "total" in words[: -1 if kind == "counter" else None]
        or any(word in words for word in suffix if word)
        or "ratio" in words
        or "/{" in unit
        or any(
            not re.fullmatch("[a-zA-Z][a-zA-Z0-9]*([._-][a-zA-Z0-9]+)*", key) for key in attributes
        )
        or any(isinstance(value, float | list) for value in attributes.values())
    )


NAMES = st.from_regex(r"[a-zA-Z][a-z0-9]{0,4}([-_./][a-z0-9]{1,5}){0,3}", fullmatch=True)
UNITS = st.sampled_from(["", "1", "s", "By", "{x}", "%", "m/s", "By/s", "1/s", "kg", "ms", "Cel"])
KEYS = st.from_regex(r"[a-z][a-z0-9]{0,3}([._-][a-z0-9]{1,3})?", fullmatch=True)
VALUES = st.one_of(st.text('aé "\\\n', min_size=1, max_size=3), st.booleans(), st.integers(-9, 99))


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(KINDS), NAMES, UNITS, st.dictionaries(KEYS, VALUES, max_size=2))
def test_elsewhere_they_agree(
    url: str, kind: str, name: str, unit: str, attributes: dict[str, Any]
) -> None:
    reserved = {"le", "job", "instance", "otel_scope_name"}
    if is_different(kind, name, unit, attributes) or reserved & set(attributes):
        return
    if len({prometheus_names()[1](key) for key in attributes}) < len(attributes):
        return
    scraped, pushed = both(url, kind, name, unit, attributes)
    assert scraped == pushed
