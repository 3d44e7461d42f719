"""The request instruments of one meter provider, and the counts behind them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation
from opentelemetry.trace import TraceFlags

from telemetry.batches import batches
from telemetry.compatibility.api import context_getter, span_getter
from telemetry.compatibility.bound import Bound
from telemetry.forked import when_forked
from telemetry.instrumentation.exceptions import exceptions_of
from telemetry.instrumentation.labels import Pairs
from telemetry.providers import METER, once_per_provider

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds of the histograms of seconds: prometheus_client's own default."""

# Values of one series are recorded together. A request that completes a batch waits for it, which
# is some 20 us.
_BATCH_SIZE = 64

_SIZES = (0, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)

_current_context = context_getter()
_span_of = span_getter()


class InProgress(Protocol):
    """A request that has begun and not ended."""

    def labels_in_progress(self) -> Pairs | None:
        """The labels that it is counted by; None if it is not to be counted."""


class Series:
    """The requests of one method, path, status and further labels that have ended.

    What they add waits here, and is recorded in batches and at each collection.
    """

    __slots__ = ("_counters", "_durations", "_first_bytes", "_histograms")

    def __init__(self, counters: Iterable[Bound], histograms: Iterable[Bound]) -> None:
        self._counters = tuple(counters)
        self._histograms = tuple((each, list[float]()) for each in histograms)
        self._durations, self._first_bytes = (each for _, each in self._histograms[:2])

    def record(
        self, seconds: float, first_byte: float, sizes: tuple[int, int] | None = None
    ) -> None:
        """Count an ended request; safe to call from several threads at once.

        The sizes are bytes of the bodies of request and response, after `measure_sizes`.
        """
        context = _current_context()
        span = _span_of(context) if context else None
        # The SDK may keep a value as an example of the present span.
        if span is not None and (
            span.get_span_context().trace_flags & TraceFlags.SAMPLED
            or not self._histograms[0][0].is_direct
        ):
            for counter in self._counters:
                counter.add((1,))
            values = (seconds, first_byte, *(sizes or ()))
            for (histogram, _), value in zip(self._histograms, values, strict=True):
                histogram.record(value)
            return
        if sizes is not None:
            for (_, waiting), size in zip(self._histograms[2:], sizes, strict=True):
                waiting.append(size)
        self._first_bytes.append(first_byte)
        self._durations.append(seconds)
        if len(self._durations) >= _BATCH_SIZE:
            self.flush()

    def flush(self) -> bool:
        """Record what waits, if anything does, and tell whether it did.

        Several threads may: what one of them has, the others have not.
        """
        if not self._durations:
            return False
        for histogram, waiting in reversed(self._histograms):
            values = []
            try:
                for _ in range(len(waiting)):
                    values.append(waiting.pop())
            except IndexError:
                pass
            if values:
                histogram.add(values)
        for counter in self._counters:
            counter.add((len(values),))
        return True

    def forget(self) -> None:
        """Have nothing that waits, as in a process that was forked."""
        for _, waiting in self._histograms:
            waiting.clear()


class RequestRecorder:
    """Counts ended requests and their durations, by method and route template.

    Requests in progress are a gauge and not an up-down counter: what a worker that was killed had
    in progress is gone with it.
    """

    def __init__(self, provider: MeterProvider, buckets: Sequence[float]) -> None:
        self._meter = meter = provider.get_meter(METER)
        self.exceptions = exceptions_of(provider)
        self.buckets = tuple(buckets)
        # Added to and discarded from by several threads at once, it stays right; a number that
        # they add one to and take one from does not.
        self.in_progress: set[InProgress] = set()
        self._shown_in_progress: dict[Pairs, None] = {}
        self._series: dict[tuple[str, str, int | None, Pairs, bool], Series] = {}
        batches.add(self)
        self._duration = meter.create_histogram(
            "app_requests_processing_time",
            unit="s",
            description="Time from the arrival of a request to the last byte of its response.",
            explicit_bucket_boundaries_advisory=self.buckets,
        )
        self._first_byte = meter.create_histogram(
            "app_requests_time_to_first_byte",
            unit="s",
            description="Time from the arrival of a request to the first byte of its response.",
            explicit_bucket_boundaries_advisory=self.buckets,
        )
        self._sizes: tuple[Histogram, ...] = ()
        described = "Requests that have ended, answered or not."
        self._requests = meter.create_counter("app_requests", "", described)
        described = "Responses that were started, by status code."
        self._responses = meter.create_counter("app_responses", "", described)
        described = "Requests that have begun and not ended."
        meter.create_observable_gauge(
            "app_requests_in_progress", [self._observe_in_progress], "", described
        )
        when_forked(self._forget)

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

    def series(
        self,
        method: str,
        path: str,
        status: int | None,
        labels: Pairs = (),
        *,
        sized: bool = False,
    ) -> Series:
        """What counts the requests that have ended with these labels, and their sizes."""
        key = (method, path, status, labels, sized)
        if key not in self._series:
            own = {"method": method, "path": path, **dict(labels)}
            counters = [Bound(self._requests, own)]
            if status is not None:
                counters.append(Bound(self._responses, {**own, "status_code": str(status)}))
            sizes = self._sizes if sized else ()
            every = (self._duration, self._first_byte, *sizes)
            histograms = [Bound(each, own) for each in every]
            self._series.setdefault(key, Series(counters, histograms))
        return self._series[key]

    def flush(self) -> Iterator[None]:
        """Record what waits, in steps."""
        for series in list(self._series.values()):
            if series.flush():
                yield

    def is_busy(self) -> bool:
        """Whether requests are in progress."""
        return bool(self.in_progress)

    def _observe_in_progress(self, _: CallbackOptions) -> Iterable[Observation]:
        # The SDK asks observable instruments first, and the others then have all.
        for _step in self.flush():
            pass
        counts = Counter(each.labels_in_progress() for each in self.in_progress.copy())
        # What has had requests in progress goes on being shown when it has none.
        self._shown_in_progress.update(dict.fromkeys(each for each in counts if each is not None))
        for labels in self._shown_in_progress.copy():
            yield Observation(counts[labels], dict(labels))

    def _forget(self) -> None:
        for series in self._series.values():
            series.forget()
        self.in_progress.clear()


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
