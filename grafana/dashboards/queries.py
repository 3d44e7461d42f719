"""The queries of the service dashboard, for either names of the metrics of requests."""

from dataclasses import dataclass

from deploy.names import Names
from deploy.objectives import Objectives
from grafana.dashboards.panels import Json, Text, query

RATE = "$__rate_interval"
"""Grafana's window for rates: at least four scrapes, by the interval that the data source has."""
STEP = "$__interval"
RANGE = "$__range"
WHOLE = f"{RANGE} @ end()"
"""The whole range, at every step."""
CHOSEN = 'job=~"$job", instance=~"$instance"'
MEMORY = f'app_memory_usage_bytes{{{CHOSEN}, type="rss"}}'
ALERTS = 'ALERTS{alertname=~"FastAPI.*", job=~"$job|"'
NONE = f"0 * count({MEMORY})"
"""Zero as long as there is an app: what has not happened, in contrast to what is not known."""


@dataclass(frozen=True)
class Queries:
    """What panels ask, about the chosen jobs, instances and paths."""

    names: Names
    objectives: Objectives

    @property
    def uid(self) -> Text:
        """Of the dashboard, in both languages."""
        return Text(*(f"fastapi-service{self.names.suffix}{each}" for each in ("", "-en")))

    @property
    def paths(self) -> str:
        """What selects the chosen paths."""
        return f'{self.names.path}=~"$path"'

    def total(
        self, metric: str, by: str, window: str, *matchers: str, function: str = "increase"
    ) -> str:
        """How much a metric has grown over a window."""
        chosen = (CHOSEN, self.paths, *matchers)
        return self.names.total(metric, by, window, *chosen, function=function)

    def requests(self, window: str, by: str = "", function: str = "increase") -> str:
        """The requests that were completed."""
        return self.total(self.names.requests, by, window, function=function)

    def responses(
        self, window: str, status: str = "", by: str = "", function: str = "increase"
    ) -> str:
        """The responses, or those whose status code matches."""
        matcher = f'{self.names.status}=~"{status}"' if status else self.names.answered
        return self.total(self.names.responses, by, window, matcher, function=function)

    def ratio(self, status: str, window: str, by: str = "") -> str:
        """The share of the responses with this status; nothing if there are no responses."""
        some, all_ = (self.responses(window, each, by) for each in (status, ""))
        return f"({some} or 0 * {all_}) / ({all_} > 0)"

    @property
    def has_first_byte(self) -> bool:
        """Whether latency ends with the first byte; else it is the whole duration."""
        return self.names.latency != self.names.duration

    def quantile(
        self,
        value: float,
        window: str,
        by: str = "",
        function: str = "rate",
        histogram: str = "",
    ) -> str:
        """A quantile of the latency, or of another histogram."""
        chosen = (by, window, CHOSEN, self.paths)
        histogram = histogram or self.names.latency
        asked = f"histogram_quantile({value}, {{}})"
        return self.names.observed(asked, histogram, *chosen, function=function)

    def seconds(self, window: str, by: str = "") -> str:
        """The sum of the latency of all requests."""
        native, classic = (
            self.total(f"{self.names.latency}{part}", by, window) for part in ("", "_sum")
        )
        return f"{classic} or histogram_avg({native}) * {self.requests(window, by)}"

    def mean(self, window: str, by: str = "") -> str:
        """The mean of the latency."""
        native, classic = (
            self.total(f"{self.names.latency}{part}", by, window) for part in ("", "_sum")
        )
        return f"histogram_avg({native}) or {classic} / ({self.requests(window, by)} > 0)"

    def heatmap(self) -> str:
        """The latency as a native histogram, or by the bounds of a classic one.

        Of these, 1 and 1.0 are the same one. Where there are both, Grafana draws the native one.
        """
        native, classic = (
            f"rate({self.names.select(metric, CHOSEN, self.paths)}[{RATE}])"
            for metric in (self.names.latency, f"{self.names.latency}_bucket")
        )
        same = f'label_replace({classic}, "le", "$1", "le", "(.+)[.]0")'
        return f"(sum ({native}) or sum by (le) ({same})) * {STEP}_ms / 1000"

    def over_objectives(self) -> str:
        """By how many requests each path has broken its objectives, beyond what they allow."""
        matchers = (CHOSEN, self.paths)
        beyond = [
            f"(({each.broken(self.names, RANGE, 'path', *matchers)})"
            f" - on (path) ({each.allowed(self.names, RANGE, 'path', *matchers)}) > 0)"
            for each in self.objectives.both
        ]
        none = f"0 * {self.requests(RANGE, 'path')}"
        return " + on (path) ".join(f"({each} or {none})" for each in beyond)

    def exceptions(self, window: str, function: str = "increase") -> str:
        """The exceptions that nothing has handled, by path and type, of which `kind` is the end."""
        metric, failed = self.names.exceptions, self.names.failed
        by_type = self.total(metric, "path, error_type", window, failed, function=function)
        return f'label_replace({by_type}, "kind", "$1", "error_type", "(?:.*[.])?(.+)")'

    @property
    def in_progress(self) -> str:
        """Requests that have started and not completed."""
        return self.names.select(self.names.in_progress, CHOSEN)


def events(vector: str) -> str:
    """Whole events of each step: `vector` is a rate over `RATE`, which is a scrape longer.

    From its first to its last sample it is as long as the step, so that each event is in one
    step and in no other.
    """
    return f"round({vector} * {STEP}_ms / 1000)"


def shortened(vector: str, length: int = 26) -> str:
    """The vector with the label `shown`: the path, cut at its beginning if it is long."""
    whole = f'label_replace({vector}, "shown", "$1", "path", "(.*)")'
    return f'label_replace({whole}, "shown", "…$1", "path", ".{{2,}}(.{{{length}}})")'


def or_none(*queries: Json, of: str) -> list[Json]:
    """The queries, and a zero where they find nothing though there is an app."""
    return [*queries, query(f"{NONE} unless count({of})", Text("없음", "none"))]


def started(series: str) -> str:
    """The series that have begun within the step, however long it is."""
    return f"last_over_time({series}[{STEP}]) unless {series} offset {STEP}"
