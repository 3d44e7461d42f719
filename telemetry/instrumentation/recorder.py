"""The request instruments of one meter provider, and the counts behind them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation

from telemetry.instrumentation.labels import Pairs
from telemetry.providers import METER, once_per_provider

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds of the duration histogram in seconds: prometheus_client's own default."""

# Recording durations in batches costs less than recording each after its request: 17 us a request
# one by one, 13 us in batches of 64. A larger batch would delay the request that completes it: 64
# take less than half a millisecond.
_BATCH_SIZE = 64

_SIZES = (0, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)

_Measurement = tuple[Histogram, float, dict[str, str]]


class InProgress(Protocol):
    """A request that has begun and not ended."""

    def labels_in_progress(self) -> Pairs | None:
        """The labels that it is counted by; None if it is not to be counted."""


@dataclass(slots=True)
class _Ended:
    """The requests of one method, path, status and further labels that have ended."""

    labels: dict[str, str]
    count: int = 0


class RequestRecorder:
    """Counts ended requests and their durations, by method and route template.

    The two counters are observable ones over plain integers, because a request is counted
    far more often than the counters are read. Durations are recorded in the histogram, in
    batches and the rest at each collection. Requests in progress are a gauge and not an up-down
    counter: what a worker that was killed had in progress is gone with it.
    """

    def __init__(self, provider: MeterProvider, buckets: Sequence[float]) -> None:
        self._meter = meter = provider.get_meter(METER)
        self.buckets = tuple(buckets)
        # Added to and discarded from by several threads at once, it stays right; a number that
        # they add one to and take one from does not.
        self.in_progress: set[InProgress] = set()
        self._shown_in_progress: dict[Pairs, None] = {}
        self._lock = Lock()
        self._ended: dict[tuple[str, str, int | None, Pairs], _Ended] = {}
        self._waiting: list[_Measurement] = []
        self._duration = meter.create_histogram(
            "app_requests_processing_time",
            unit="s",
            description="Time from the arrival of a request to the last byte of its response.",
            explicit_bucket_boundaries_advisory=self.buckets,
        )
        self._sizes: tuple[Histogram, ...] = ()
        described = "Requests that have ended, answered or not."
        meter.create_observable_counter("app_requests", [self._observe_requests], "", described)
        described = "Responses that were started, by status code."
        meter.create_observable_counter("app_responses", [self._observe_responses], "", described)
        described = "Requests that have begun and not ended."
        meter.create_observable_gauge(
            "app_requests_in_progress", [self._observe_in_progress], "", described
        )

    def show_in_progress(self, labels: Pairs) -> None:
        """Show how many requests with these labels are in progress, even if none is."""
        self._shown_in_progress[labels] = None

    def measure_sizes(self) -> None:
        """Have histograms for the sizes of bodies as well."""
        if not self._sizes:
            self._sizes = tuple(
                self._meter.create_histogram(
                    f"app_{kind}_body_size",
                    unit="By",
                    description=description,
                    explicit_bucket_boundaries_advisory=_SIZES,
                )
                for kind, description in (
                    ("request", "What the application has read of the request's body."),
                    ("response", "What was sent of the response's body."),
                )
            )

    def record(
        self,
        method: str,
        path: str,
        status: int | None,
        seconds: float,
        labels: Pairs = (),
        sizes: tuple[int, int] | None = None,
    ) -> None:
        """Count one ended request; safe to call from several threads at once."""
        key = (method, path, status, labels)
        with self._lock:
            ended = self._ended.get(key)
            if ended is None:
                ended = self._ended[key] = _Ended({"method": method, "path": path, **dict(labels)})
            ended.count += 1
            if sizes is not None:
                for histogram, size in zip(self._sizes, sizes, strict=True):
                    self._waiting.append((histogram, size, ended.labels))
            self._waiting.append((self._duration, seconds, ended.labels))
            # In a context there may be a span, which the SDK may keep the duration as an
            # example of: then it must be recorded now.
            in_context = bool(get_current())
            if len(self._waiting) < _BATCH_SIZE and not in_context:
                return
            waiting, self._waiting = self._waiting, []
        if in_context:
            own = 1 if sizes is None else 1 + len(self._sizes)
            _record(waiting[-own:])
            _record_without_context(waiting[:-own])
        else:
            _record(waiting)

    def _observe_requests(self, _: CallbackOptions) -> Iterable[Observation]:
        # The SDK asks observable instruments first, and the histogram then has all.
        with self._lock:
            waiting, self._waiting = self._waiting, []
        _record_without_context(waiting)
        requests = Counter[tuple[str, str, Pairs]]()
        for (method, path, _status, labels), ended in self._ended.copy().items():
            requests[method, path, labels] += ended.count
        for (method, path, labels), count in requests.items():
            yield Observation(count, {"method": method, "path": path, **dict(labels)})

    def _observe_responses(self, _: CallbackOptions) -> Iterable[Observation]:
        for (_method, _path, status, _labels), ended in self._ended.copy().items():
            if status is not None:
                yield Observation(ended.count, {**ended.labels, "status_code": str(status)})

    def _observe_in_progress(self, _: CallbackOptions) -> Iterable[Observation]:
        counts = Counter(each.labels_in_progress() for each in self.in_progress.copy())
        # What has had requests in progress goes on being shown when it has none.
        self._shown_in_progress.update(dict.fromkeys(each for each in counts if each is not None))
        for labels in self._shown_in_progress.copy():
            yield Observation(counts[labels], dict(labels))


def _record(measurements: Iterable[_Measurement]) -> None:
    for histogram, value, labels in measurements:
        histogram.record(value, labels)


def _record_without_context(measurements: list[_Measurement]) -> None:
    """Record those of other requests, of which the present span knows nothing."""
    if measurements:
        token = attach(Context())
        try:
            _record(measurements)
        finally:
            detach(token)


class BucketsDifferError(ValueError):
    """Two applications want different buckets of one metric."""


_recorder_of = once_per_provider(RequestRecorder)


def recorder_of(provider: MeterProvider, buckets: Sequence[float] = BUCKETS) -> RequestRecorder:
    """The recorder of a meter provider, whose applications share it.

    An instrument of one name exists only once in a provider: BucketsDifferError tells of others.
    """
    recorder = _recorder_of(provider, buckets)
    if recorder.buckets != tuple(buckets):
        raise BucketsDifferError(
            f"buckets: another application in this process has {recorder.buckets} for the same "
            "metric; use the same, or a meter provider of its own"
        )
    return recorder
