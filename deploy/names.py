"""The names of the metrics of requests: this project's, or OpenTelemetry's conventions."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Names:
    """Metrics and labels; whatever they are called, queries give the label path."""

    requests: str
    responses: str
    duration: str
    latency: str
    """How long clients wait: until the first byte, or, where nothing measures that, the last."""
    in_progress: str
    exceptions: str
    path: str = "path"
    status: str = "status_code"
    suffix: str = ""
    """Of the dashboard with these names."""
    answered: str = ""
    """What selects requests that have had a response, where one metric counts both."""
    failed: str = ""
    """What selects the exceptions, where one metric counts them and requests."""

    def select(self, metric: str, *matchers: str) -> str:
        """The series of a metric."""
        chosen = ", ".join(filter(None, matchers))
        return f"{metric}{{{chosen}}}" if chosen else metric

    def over(self, metric: str, window: str, *matchers: str, function: str = "increase") -> str:
        """How much each series of a counter has grown in a window, or in one `@ end()`."""
        window, at, end = window.partition(" @ ")
        series = f"{self.select(metric, *matchers)}[{window}]{at}{end}"
        return self.labelled(f"{function}({series})")

    def buckets(
        self, histogram: str, by: str, window: str, *matchers: str, function: str = "increase"
    ) -> str:
        """The observations of a histogram, as functions for histograms take them."""
        observed = self.over(f"{histogram}_bucket", window, *matchers, function=function)
        return f"sum by ({by}{', ' if by else ''}le) ({observed})"

    def observed(self, what: Literal["count", "sum"], histogram: str, *over: str) -> str:
        """The count or the sum of each series of a histogram over a window."""
        return self.over(f"{histogram}_{what}", *over)

    def labelled(self, vector: str) -> str:
        """The vector with the label path."""
        if self.path == "path":
            return vector
        # Requests that match no route have no http_route.
        vector = f'label_replace({vector}, "path", "unmatched", "", "")'
        return f'label_replace({vector}, "path", "$1", "{self.path}", "(.+)")'

    def with_status(self, vector: str) -> str:
        """The vector with the label status_code."""
        if self.status == "status_code":
            return vector
        return f'label_replace({vector}, "status_code", "$1", "{self.status}", "(.+)")'


APP = Names(
    requests="app_requests_total",
    responses="app_responses_total",
    duration="app_requests_processing_time_seconds",
    latency="app_requests_time_to_first_byte_seconds",
    in_progress="app_requests_in_progress",
    exceptions="app_exceptions_total",
)

HTTP = Names(
    requests="http_server_request_duration_seconds_count",
    responses="http_server_request_duration_seconds_count",
    duration="http_server_request_duration_seconds",
    latency="http_server_request_duration_seconds",
    in_progress="http_server_active_requests",
    exceptions="http_server_request_duration_seconds_count",
    path="http_route",
    status="http_response_status_code",
    suffix="-http",
    answered='http_response_status_code!=""',
    # Of a response with a status of 5xx and without an exception, its type is the status.
    failed='error_type!~"|[0-9]+|incomplete_response"',
)
"""See https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#http-server."""
