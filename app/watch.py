"""Shows in a terminal what an app does: ``python -m app.watch``.

It scrapes `/metrics` every second, as Prometheus does every 15, and compares each scrape with the
one ten seconds before.
"""

import math
import os
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import click
from prometheus_client.parser import text_string_to_metric_families

try:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text
except ModuleNotFoundError:
    sys.exit("python -m app.watch draws with rich, which is missing: pip install '.[watch]'")

_WINDOW = 10.0
_TIMEOUT = 6.0
_OWN, _STANDARD = "app_requests_processing_time_seconds", "http_server_request_duration_seconds"
_HISTOGRAMS = {_OWN: ("method", "path"), _STANDARD: ("http_request_method", "http_route")}
_STATUSES = {
    "app_responses_total": (_OWN, "status_code"),
    f"{_STANDARD}_count": (_STANDARD, "http_response_status_code"),
}


class NotMeasuredError(Exception):
    """The address does not answer with metrics; the text says why."""


@dataclass
class Route:
    """What has been counted of one route: since the start, or between two scrapes."""

    requests: float = 0.0
    seconds: float = 0.0
    errors: float = 0.0
    buckets: dict[float, float] = field(default_factory=dict)

    def __sub__(self, other: "Route") -> "Route":
        return Route(
            self.requests - other.requests,
            self.seconds - other.seconds,
            self.errors - other.errors,
            {upper: count - other.buckets.get(upper, 0) for upper, count in self.buckets.items()},
        )

    @property
    def mean(self) -> float:
        """The mean duration in seconds."""
        return self.seconds / self.requests if self.requests else math.nan

    def percentile(self, share: float) -> float:
        """A quantile of the durations in seconds, estimated as `histogram_quantile` does."""
        rank, below, bound = share * self.requests, 0.0, 0.0
        for upper, count in sorted(self.buckets.items()):
            if count >= rank and count > below:
                # Above the last bound nothing is known but that bound.
                inside = (rank - below) / (count - below)
                return bound if math.isinf(upper) else bound + (upper - bound) * inside
            below, bound = count, upper
        return math.nan


@dataclass
class Scrape:
    """One page of `/metrics`, as far as it is shown here.

    Attributes:
        at: When it was taken, in seconds of a clock that never steps.
        routes: By method and path.
        workers: How many processes the page covers.
        memory: The physical memory of all of them, in bytes.
        in_progress: Requests that have started and not completed.
    """

    at: float
    routes: defaultdict[tuple[str, str], Route]
    workers: int
    memory: float
    in_progress: float

    @classmethod
    def parse(cls, text: str, at: float) -> "Scrape":
        """Read a page in Prometheus's text format."""
        found: dict[str, defaultdict[tuple[str, str], Route]]
        found = {name: defaultdict(Route) for name in _HISTOGRAMS}
        memory: list[float] = []
        in_progress, workers = 0.0, 0
        for name, labels, value in _samples(text):
            family, _, part = name.rpartition("_")
            if family in _HISTOGRAMS:
                route = found[family][_route(family, labels)]
                if part == "bucket":
                    upper = float(labels["le"])
                    route.buckets[upper] = route.buckets.get(upper, 0) + value
                elif part == "count":
                    route.requests += value
                elif part == "sum":
                    route.seconds += value
            if name in _STATUSES:
                family, status = _STATUSES[name]
                if labels.get(status, "").startswith("5"):
                    found[family][_route(family, labels)].errors += value
            elif name == "app_memory_usage_bytes" and labels.get("type") == "rss":
                memory.append(value)
            elif name in ("app_requests_in_progress", "http_server_active_requests"):
                in_progress += value
            elif name == "telemetry_workers":
                workers = int(value)
        # An app may record both, and each request is then in both.
        routes = found[_OWN] or found[_STANDARD]
        return cls(at, routes, workers or len(memory) or 1, sum(memory), in_progress)


def _route(family: str, labels: dict[str, str]) -> tuple[str, str]:
    method, path = _HISTOGRAMS[family]
    return labels.get(method, ""), labels.get(path, "unmatched")


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


class Watch:
    """Scrapes an app, and keeps the pages of the last seconds.

    Parameters:
        url: The page's address.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.problem: str | None = None
        self._pages: deque[Scrape] = deque()

    def scrape(self) -> None:
        """Take one more page; where there is none, `problem` says why."""
        try:
            page = Scrape.parse(self._page(), time.monotonic())
        except NotMeasuredError as error:
            self.problem = str(error)
            return
        except (ValueError, KeyError) as error:
            self.problem = f"{self.url} does not answer with metrics ({error})"
            return
        self.problem = None
        if self._pages and _decreased(self._pages[-1], page):
            # The app has been started again.
            self._pages.clear()
        self._pages.append(page)
        while page.at - self._pages[0].at > _WINDOW + 0.5:
            self._pages.popleft()

    def _page(self) -> str:
        request = urllib.request.Request(self.url, headers={"Accept": "text/plain"})
        if token := os.environ.get("TELEMETRY_METRICS_TOKEN"):
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                text: bytes = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise NotMeasuredError(_refused(self.url, error)) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise NotMeasuredError(
                f"Nothing answers at {self.url} ({getattr(reason, 'strerror', None) or reason}). "
                "Start the app with: python -m app"
            ) from None
        return text.decode(errors="replace")

    @property
    def now(self) -> Scrape | None:
        """The newest page."""
        return self._pages[-1] if self._pages else None

    @property
    def seconds(self) -> float:
        """How far the oldest page that is kept is away from the newest."""
        return self._pages[-1].at - self._pages[0].at if self._pages else 0.0

    def routes(self) -> dict[tuple[str, str], Route]:
        """What each route has done in the last seconds, the busiest first."""
        if not self._pages:
            return {}
        before, after = self._pages[0].routes, self._pages[-1].routes
        changed = {key: route - before.get(key, Route()) for key, route in after.items()}
        return dict(sorted(changed.items(), key=lambda item: (-item[1].requests, item[0])))


def _decreased(before: Scrape, after: Scrape) -> bool:
    return any(route.requests > after.routes[key].requests for key, route in before.routes.items())


def _refused(url: str, error: urllib.error.HTTPError) -> str:
    match error.code:
        case 401:
            return f"{url} needs a token (401): set TELEMETRY_METRICS_TOKEN to the app's"
        case 404:
            return (
                f"{url} is not found (404): does the app call telemetry.instrument(app), and is "
                "prometheus among OTEL_METRICS_EXPORTER?"
            )
        case _:
            return f"{url} answers {error.code}: {error.read(500).decode(errors='replace').strip()}"


def _number(value: float, digits: int = 1) -> str:
    return "-" if math.isnan(value) else f"{value:,.{digits}f}"


def _summary(watch: Watch) -> str:
    """State, requests, errors, memory and workers in one line."""
    page, seconds = watch.now, watch.seconds
    if watch.problem or page is None:
        return f"DOWN  {watch.problem or 'no page yet'}"
    routes = watch.routes().values()
    requests = sum(route.requests for route in routes)
    errors = sum(route.errors for route in routes)
    words = [
        "UP",
        f"{_number(requests / seconds if seconds else math.nan)} requests/s",
        f"{_number(100 * errors / requests if requests else math.nan)} % errors",
        f"{page.in_progress:.0f} in progress",
        f"{page.memory / 2**20:,.0f} MiB",
        f"{page.workers} worker{'s' * (page.workers != 1)}",
    ]
    return "  ".join(words)


def _rows(watch: Watch) -> Iterator[tuple[str, ...]]:
    """A route a row: requests a second, errors in %, mean and 95th percentile in ms."""
    seconds = watch.seconds
    for (method, path), route in watch.routes().items():
        yield (
            f"{method} {path}",
            _number(route.requests / seconds if seconds else math.nan),
            _number(100 * route.errors / route.requests if route.requests else math.nan),
            _number(1000 * route.mean),
            _number(1000 * route.percentile(0.95)),
        )


def _drawn(watch: Watch, height: int) -> Group:
    """All of it for a terminal of so many lines."""
    up = watch.problem is None
    table = Table(expand=True)
    table.add_column("route", ratio=1, no_wrap=True)
    for title in ("requests/s", "errors, %", "mean, ms", "95 %, ms"):
        table.add_column(title, justify="right")
    rows = list(_rows(watch))
    shown = rows[: max(height - 8, 1)]
    for row in shown:
        table.add_row(*row, style="dim" if row[1] in ("-", "0.0") else None)
    more = f"; {len(rows) - len(shown)} more routes" if len(rows) > len(shown) else ""
    note = f"{watch.url}, the last {watch.seconds:.0f} s{more}. End with Ctrl-C."
    return Group(
        Text(_summary(watch), style="bold green" if up else "bold red"),
        table,
        Text(note, style="dim"),
    )


def _plain(watch: Watch) -> str:
    lines = [f"{time.strftime('%H:%M:%S')} {_summary(watch)}"]
    if not watch.problem:
        lines += [
            f"  {route}: {requests} requests/s, {errors} % errors, mean {mean} ms, 95 % {high} ms"
            for route, requests, errors, mean, high in _rows(watch)
            if requests not in ("-", "0.0")
        ]
    return "\n".join(lines)


def _address(url: str) -> str:
    """The page's address, of an address as people write it."""
    if "://" not in url:
        url = f"http://{url}"
    scheme, _, rest = url.partition("://")
    return url if "/" in rest.rstrip("/") else f"{scheme}://{rest.rstrip('/')}/metrics"


@click.command(context_settings={"show_default": True})
@click.argument("url", default="http://localhost:8000")
@click.option("--seconds", type=click.FloatRange(1), help="End after so long.  [default: Ctrl-C]")
def main(url: str, seconds: float | None) -> None:
    """Show what the app at URL does: its routes, errors and durations, memory and workers.

    Scrapes its /metrics every second. If it needs a token, set TELEMETRY_METRICS_TOKEN. Exits
    with 1 where nothing answered at the end.
    """
    watch = Watch(_address(url))
    watch.scrape()
    if watch.problem:
        sys.exit(watch.problem)
    console = Console()
    until = math.inf if seconds is None else time.monotonic() + seconds
    try:
        if console.is_terminal:
            with Live(console=console, auto_refresh=False, screen=seconds is None) as live:
                for _ in _every_second(watch, until):
                    live.update(_drawn(watch, console.height), refresh=True)
        else:
            for _ in _every_second(watch, until):
                click.echo(_plain(watch))
    except KeyboardInterrupt:
        pass
    sys.exit(int(watch.problem is not None))


def _every_second(watch: Watch, until: float) -> Iterator[None]:
    """Scrape each second, and yield after each."""
    at = time.monotonic()
    while (at := max(at + 1, time.monotonic())) <= until + 0.01:
        time.sleep(max(0.0, at - time.monotonic()))
        watch.scrape()
        yield


if __name__ == "__main__":
    main(prog_name="python -m app.watch")
