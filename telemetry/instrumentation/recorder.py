"""The request instruments of one meter provider, and the numbers behind them."""

from collections import Counter
from collections.abc import Iterable
from threading import Lock
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds of the duration histogram in seconds: prometheus_client's own default."""


class RequestRecorder:
    """Counts ended requests and their durations, by method and route template.

    The two counters are observable ones over plain integers, because a request is counted
    far more often than the counters are read; only the histogram is written to directly.
    All applications of a process that share a meter provider share its recorder, since an
    instrument of one name exists only once in a provider.

    Parameters:
        provider: Where the instruments are made. Their names become, in Prometheus,
            ``app_requests_total``, ``app_responses_total`` and
            ``app_requests_processing_time_seconds``.
    """

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("telemetry.instrumentation")
        self._lock = Lock()
        self._ended: dict[tuple[str, str, int | None], int] = {}
        self._labels: dict[tuple[str, str], dict[str, str]] = {}
        self._duration = meter.create_histogram(
            "app_requests_processing_time",
            unit="s",
            description="Time from the arrival of a request to the last byte of its response.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        meter.create_observable_counter(
            "app_requests",
            callbacks=[self._observe_requests],
            description="Requests that have ended, answered or not.",
        )
        meter.create_observable_counter(
            "app_responses",
            callbacks=[self._observe_responses],
            description="Responses that were started, by status code.",
        )

    def record(self, method: str, path: str, status: int | None, seconds: float) -> None:
        """Count one ended request; safe to call from several threads at once.

        Parameters:
            method: A known method or ``_OTHER``.
            path: The route template, never what the client sent.
            status: The status code of the response, or None where none was started.
            seconds: Duration of the request.
        """
        ended = (method, path, status)
        with self._lock:
            self._ended[ended] = self._ended.get(ended, 0) + 1
        labels = self._labels.get((method, path))
        if labels is None:
            labels = self._labels[method, path] = {"method": method, "path": path}
        self._duration.record(seconds, labels)

    def _observe_requests(self, _: CallbackOptions) -> Iterable[Observation]:
        requests = Counter[tuple[str, str]]()
        for (method, path, _status), count in self._ended.copy().items():
            requests[method, path] += count
        for (method, path), count in requests.items():
            yield Observation(count, {"method": method, "path": path})

    def _observe_responses(self, _: CallbackOptions) -> Iterable[Observation]:
        for (method, path, status), count in self._ended.copy().items():
            if status is not None:
                labels = {"method": method, "path": path, "status_code": str(status)}
                yield Observation(count, labels)


_recorders: WeakKeyDictionary[MeterProvider, RequestRecorder] = WeakKeyDictionary()


def recorder_of(provider: MeterProvider) -> RequestRecorder:
    """The recorder of a meter provider, made when it is first asked for."""
    recorder = _recorders.get(provider)
    if recorder is None:
        recorder = _recorders[provider] = RequestRecorder(provider)
    return recorder
