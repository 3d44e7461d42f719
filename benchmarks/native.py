"""Native histograms beside classic ones: what Prometheus stores, and what a scrape costs."""

import gzip
import re
import time

from benchmarks.page import OPENMETRICS, get, replica
from benchmarks.progress import bar
from benchmarks.table import Table, spread

_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)
_FORMS = {
    "classic, OpenMetrics": ("false", OPENMETRICS),
    "native, protobuf": ("true", _PROTOBUF),
    "native, asked for OpenMetrics": ("true", OPENMETRICS),
}


def _series(text: str, native: bool) -> int:
    """How many series Prometheus stores of a page, where a native histogram is one."""
    names = [re.split(r"[{ ]", line)[0] for line in text.splitlines() if line[0] != "#"]
    families = re.findall(r"^# TYPE (\S+) histogram$", text, re.M)
    histograms = {f"{name}_{part}" for name in families for part in ("bucket", "count", "sum")}
    counts = sum(name in histograms and name.endswith("_count") for name in names)
    others = sum(name not in histograms and not name.endswith("_created") for name in names)
    return others + counts if native else sum(not name.endswith("_created") for name in names)


def run(short: bool) -> Table:
    """Series, bytes and time of the page of one process, by its routes and by how it is asked."""
    table = Table(
        "Native and classic histograms",
        ["routes, form", "series stored", "bytes", "bytes, gzip", "ms of a scrape"],
        "The page of one process, nothing of which has changed since the last scrape. The protobuf "
        "form has the classic buckets as well, for a Prometheus that does not take native ones.",
    )
    cases = [(routes, form) for routes in ((10,) if short else (10, 40, 200)) for form in _FORMS]
    for routes, form in bar(cases, "native"):
        variable, accept = _FORMS[form]
        with replica(routes, 1, TELEMETRY_NATIVE_HISTOGRAMS=variable) as url:
            times = []
            for _ in range(2 if short else 15):
                # The cooldown after a page is not to be measured.
                time.sleep(0.5)
                began = time.perf_counter()
                body = get(url, accept)
                times.append((time.perf_counter() - began) * 1000)
            text = gzip.decompress(get(url)).decode()
        series = _series(text, native=accept == _PROTOBUF)
        numbers = (f"{each:,}" for each in (series, len(gzip.decompress(body)), len(body)))
        table.rows.append([f"{routes}, {form}", *numbers, spread(times)])
    return table
