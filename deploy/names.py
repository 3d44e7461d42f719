"""The names of the metrics of requests: this project's, or OpenTelemetry's conventions."""

from dataclasses import dataclass


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

    def total(
        self, metric: str, by: str, window: str, *matchers: str, function: str = "increase"
    ) -> str:
        """How much all series of a metric have grown in a window, which may end in `@ end()`."""
        window, at, end = window.partition(" @ ")
        grown = f"{function}({self.select(metric, *matchers)}[{window}]{at}{end})"
        if "path" in by and self.path != "path":
            # Requests that match no route have no http_route.
            grown = f'label_replace({grown}, "path", "unmatched", "", "")'
            grown = f'label_replace({grown}, "path", "$1", "{self.path}", "(.+)")'
        if "status_code" in by and self.status != "status_code":
            grown = f'label_replace({grown}, "status_code", "$1", "{self.status}", "(.+)")'
        return f"sum by ({by}) ({grown})" if by else f"sum ({grown})"

    def observed(
        self,
        asked: str,
        histogram: str,
        by: str,
        window: str,
        *matchers: str,
        function: str = "increase",
    ) -> str:
        """What a function, as in ``histogram_quantile(0.5, {})``, tells of a histogram.

        Of the native one or, where there is none, of the classic one. VictoriaMetrics must know
        the function, too: it has neither `histogram_count` nor `histogram_sum`.
        """
        native, classic = (
            asked.format(self.total(metric, labels, window, *matchers, function=function))
            for metric, labels in (
                (histogram, by),
                (f"{histogram}_bucket", f"{by}, le" if by else "le"),
            )
        )
        return f"{native} or {classic}"


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
