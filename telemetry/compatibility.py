"""Every private name of other packages that this one leans on, in sections by package.

Nothing here is imported before it is needed, and nothing fails when a name has moved: what it
is for is missing then, and one log line says so. Each name has a test in
tests/test_compatibility.py that fails when it moves.

What this package changes in objects of other packages, from `telemetry.instrument` on:

==================================  ===========================================================
changed                             why
==================================  ===========================================================
an application's                    to stand outside of all other middleware
``build_middleware_stack``
its router's ``middleware_stack``   to see what routing finds where a middleware copies the scope
``FastAPI.__call__``                ``opentelemetry-instrument``: every application, when called
``starlette.routing.Router``'s      to flush before the server ends the process
``lifespan``
FastAPI's list of exporters         to flush where the lifespan had begun before
FastAPI's telemetry settings        one set of request metrics; excluded paths have no spans
contrib's ``excluded_urls``         excluded paths; requests that the outer application counts
a meter provider's                  readers that join later export what the service has measured
``add_metric_reader``
a periodic reader's                 to export what all workers have measured
``_receive_metrics``, ``collect``
its exporter's ``export``           to count the pushes that have failed
the SDK's aggregations              a process that was forked begins at zero
observable instruments of the SDK   a callback that raises costs its own metric, and one that
                                    hangs is named
an OTLP exporter's                  to end series at the receiver (OTLP's flag for no value)
``encode_metrics``
a database pool's ``connect``       ``observe_pool``: SQLAlchemy does not tell who waits
loggers of exporters and SDK        the same line at most once a minute
==================================  ===========================================================
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import cache, partial, wraps
from threading import Lock, RLock, main_thread
from types import SimpleNamespace
from typing import Any

from telemetry.quiet import quiet_logger

_logger = quiet_logger(__name__)

# The modules whose functions are started as worker processes by multiprocessing, as seen in
# uvicorn 0.54, hypercorn 0.18 and granian 2.8.
WORKER_MODULES = frozenset(
    {"uvicorn._subprocess", "hypercorn.asyncio.run", "hypercorn.trio.run", "granian.server.mp"}
)
# The module whose function calls the application in gunicorn 27's workers, which it forks.
ARBITER_MODULE = "gunicorn.arbiter"
_SPAWN = "spawn_worker"
# DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK of opentelemetry/proto/metrics/v1/metrics.proto.
_NO_RECORDED_VALUE = 1

_DEPTH = 8


# OpenTelemetry's API


def no_meter_provider_is_set(provider: object) -> bool:
    """Whether a global meter provider is only the stand-in that the API has before one is set.

    The API has no public way to ask. Seen in opentelemetry-api 1.45.
    """
    try:
        from opentelemetry.metrics._internal import _ProxyMeterProvider
    except ImportError:
        _logger.warning("It is unknown whether a meter provider was set: the API has changed")
        return type(provider).__name__.startswith("_Proxy")
    return isinstance(provider, _ProxyMeterProvider)


# OpenTelemetry's SDK


def metric_readers(provider: object) -> Sequence[Any]:
    """The metric readers that an SDK meter provider has now.

    Seen in opentelemetry-sdk 1.30 to 1.45. Without it, the readers that an application or a
    configuration file has made are not found.
    """
    consumer = getattr(provider, "_measurement_consumer", None)
    storages: dict[Any, Any] | None = getattr(consumer, "_reader_storages", None)
    if storages is None and type(provider).__module__.startswith("opentelemetry.sdk"):
        _logger.warning("The readers of a meter provider are not found: the SDK has changed")
    return list(storages or ())


def add_metric_reader(provider: Any, reader: Any) -> bool:
    """Add a reader to a meter provider that is there already. False where it takes none.

    A method of the SDK's provider since 1.43. Before, it is done with private names of the SDK
    that are what that method uses; they were the same from 1.30 to 1.42.

    Parameters:
        provider: The SDK's meter provider, or an object of another kind.
        reader: A metric reader that no provider has.
    """
    if hasattr(provider, "add_metric_reader"):
        provider.add_metric_reader(reader)
        return True
    consumer = getattr(provider, "_measurement_consumer", None)
    if consumer is None:
        return False
    from opentelemetry.sdk.metrics._internal.metric_reader_storage import MetricReaderStorage

    storage = MetricReaderStorage(
        consumer._sdk_config,
        reader._instrument_class_temporality,
        reader._instrument_class_aggregation,
    )
    with consumer._lock:
        # Not changed in place: measurements are distributed without the lock.
        consumer._reader_storages = {**consumer._reader_storages, reader: storage}
    reader._set_collect_callback(consumer.collect)
    return True


def when_reader_is_added(provider: Any, added: Callable[[Any], object]) -> None:
    """Have a function called with each reader that is added to a meter provider from now on.

    Replaces the provider's own ``add_metric_reader``, which the SDK has since 1.43.
    """
    add = getattr(provider, "add_metric_reader", None)
    if add is None:
        return

    def add_metric_reader(metric_reader: Any) -> None:
        add(metric_reader)
        added(metric_reader)

    provider.add_metric_reader = add_metric_reader


def without_exponential_histograms(provider: Any, reader: Any) -> None:
    """Have a reader collect explicit buckets where a view of its provider has exponential ones.

    Logfire has such a view for all histograms. Seen in opentelemetry-sdk 1.30 to 1.45. Without
    it, those histograms are not on a page of text.
    """
    from opentelemetry.sdk.metrics.view import (
        DefaultAggregation,
        ExponentialBucketHistogramAggregation,
    )

    def explicit(view: Any) -> Any:
        if isinstance(view._aggregation, ExponentialBucketHistogramAggregation):
            view = copy(view)
            view._aggregation = DefaultAggregation()
        return view

    try:
        storage = provider._measurement_consumer._reader_storages[reader]
        config = storage._sdk_config
        storage._sdk_config = replace(config, views=[explicit(view) for view in config.views])
    except (AttributeError, KeyError, TypeError):
        _logger.warning("Exponential histograms are not shown on /metrics: the SDK has changed")


def resource_of(provider: object) -> Any:
    """The resource of an SDK meter provider, or None.

    Seen in opentelemetry-sdk 1.45. Without it, the resource of what is collected is taken.
    """
    return getattr(getattr(provider, "_sdk_config", None), "resource", None)


def has_delta_temporality(reader: object) -> bool:
    """Whether a metric reader of the SDK collects deltas of any kind of instrument.

    Seen in opentelemetry-sdk 1.45. Without it, cumulative values are expected.
    """
    temporality: dict[type, Any] = getattr(reader, "_instrument_class_temporality", {})
    return any(each.name == "DELTA" for each in temporality.values())


def has_exponential_histograms(reader: object) -> bool:
    """Whether a metric reader of the SDK collects histograms as exponential ones by default.

    Seen in opentelemetry-sdk 1.45. Without it, explicit buckets are expected.
    """
    aggregation: dict[type, Any] = getattr(reader, "_instrument_class_aggregation", {})
    return any(type(each).__name__.startswith("Exponential") for each in aggregation.values())


def guard_callbacks(guard: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> None:
    """Have the callbacks of the SDK's observable instruments called through a function.

    Seen in opentelemetry-sdk 1.45. Without it, a callback that raises SystemExit ends the thread
    that collects, and it is unknown which one hangs. `guard` makes of an instrument's name and
    its callback the one that is called instead.
    """
    try:
        from opentelemetry.sdk.metrics._internal.instrument import _Asynchronous
    except ImportError:
        _logger.warning("Callbacks are called without protection: the SDK has changed")
        return
    original = _Asynchronous.callback
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def callback(self: Any, options: Any) -> Any:
        if not hasattr(self, "_are_guarded"):
            self._are_guarded = True
            self._callbacks = [guard(self.name, each) for each in self._callbacks]
        return original(self, options)

    setattr(_Asynchronous, "callback", callback)  # noqa: B010


def _instruments_of(reader: object) -> Iterator[tuple[Any, Any]]:
    """Each instrument that a reader collects, with what the SDK aggregates for it.

    Seen in opentelemetry-sdk 1.45; the same names since 1.30.
    """
    consumer = getattr(getattr(reader, "_collect", None), "__self__", None)
    storage = getattr(consumer, "_reader_storages", {}).get(reader)
    found = getattr(storage, "_instrument_view_instrument_matches", {})
    for instrument, matches in list(found.items()):
        for match in matches:
            yield instrument, match


def has_measured(reader: object) -> bool:
    """Whether something was recorded for a reader, beside what callbacks tell.

    Without the SDK's names, nothing ever was.
    """
    return any(
        match._attributes_aggregation and not hasattr(instrument, "_callbacks")
        for instrument, match in _instruments_of(reader)
    )


def forget_measurements(reader: object) -> Callable[[], None]:
    """Have a reader begin at zero in a process that was forked, and call no callbacks there.

    It asks for none of the SDK's locks: another thread may have held them when the process was
    forked. Without the SDK's names, the process has what was measured before as well.

    Returns:
        A function that has the callbacks called again.
    """
    for _, match in _instruments_of(reader):
        match._lock = Lock()
        match._attributes_aggregation = {}
    consumer = getattr(getattr(reader, "_collect", None), "__self__", None)
    if consumer is None:
        return lambda: None
    for storage in consumer._reader_storages.values():
        storage._lock = RLock()
    consumer._lock = Lock()
    instruments, consumer._async_instruments = consumer._async_instruments, []
    return lambda: consumer._async_instruments.extend(instruments)


def series_limits(reader: object) -> dict[tuple[str, str], int]:
    """How many series the metrics of a reader may have, by their scopes and names.

    The SDK has such a limit since 1.45.2.
    """
    return {
        (instrument.instrumentation_scope.name, match._name): match._cardinality_limit
        for instrument, match in _instruments_of(reader)
        if hasattr(match, "_cardinality_limit")
    }


def redirect(
    reader: Any, receive: Callable[..., None], collect: Callable[..., None] | None = None
) -> Callable[..., None]:
    """Have a metric reader of the SDK hand what it collects to another function.

    Seen in opentelemetry-sdk 1.45: `_receive_metrics`.

    Parameters:
        reader: The reader.
        receive: Takes what it collects.
        collect: Called in the place of its own `collect`.

    Returns:
        What has taken it so far: it exports what a periodic reader collects.
    """
    before: Callable[..., None] = reader._receive_metrics
    reader._receive_metrics = receive
    if collect is not None:
        reader.collect = collect
    return before


def when_an_export_fails(reader: object, do: Callable[[], None]) -> None:
    """Have a function called when the exporter of a periodic reader fails.

    The reader does not tell. Seen in opentelemetry-sdk 1.45: `_exporter`.
    """
    exporter: Any = getattr(reader, "_exporter", None)
    if exporter is None:
        return
    export = exporter.export

    @wraps(export)
    def watched(*arguments: Any, **options: Any) -> Any:
        succeeded = False
        try:
            result = export(*arguments, **options)
            succeeded = getattr(result, "name", "") == "SUCCESS"
            return result
        finally:
            if not succeeded:
                do()

    exporter.export = watched


# OpenTelemetry's exporters


def can_send_no_recorded_value(reader: object, ended: type) -> bool:
    """Have a reader's OTLP exporter send data of a certain class with the flag for no value.

    Neither the SDK's data nor the exporters' encoder have that flag. Seen in
    opentelemetry-exporter-otlp-proto-http and -grpc 1.45. False for other exporters, and where
    the encoder has moved.

    Parameters:
        reader: A periodic reader.
        ended: The class of the data, a subclass of `MetricsData`.
    """
    exporter = getattr(reader, "_exporter", None)
    module = sys.modules.get(type(exporter).__module__)
    encode = getattr(module, "encode_metrics", None)
    if encode is None:
        if "otlp" in type(exporter).__module__:
            _logger.warning("Series that have ended are shown for minutes: the encoder has moved")
        return False
    if not hasattr(encode, "__wrapped__"):
        setattr(module, "encode_metrics", _flagging(encode, ended))  # noqa: B010
    return True


def _flagging(encode: Callable[[Any], Any], ended: type) -> Callable[[Any], Any]:
    @wraps(encode)
    def encoded(data: Any) -> Any:
        request = encode(data)
        if isinstance(data, ended):
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        for point in getattr(metric, metric.WhichOneof("data")).data_points:
                            point.flags |= _NO_RECORDED_VALUE
        return request

    return encoded


@cache
def prometheus_names() -> tuple[Callable[[str], str], Callable[[str], str], Callable[[str], str]]:
    """How OpenTelemetry's Prometheus exporter writes metric names, label names and units.

    Seen in opentelemetry-exporter-prometheus 0.66b2. Without it units are not part of names.
    """
    try:
        from opentelemetry.exporter.prometheus._mapping import (
            map_unit,
            sanitize_attribute,
            sanitize_full_name,
        )
    except ImportError:
        _logger.warning("Metrics are shown without their units: the Prometheus exporter has moved")

        def sanitized(name: str) -> str:
            return re.sub(r"^[0-9]|[^a-zA-Z0-9]+", "_", name)

        return sanitized, sanitized, lambda _: ""
    return sanitize_full_name, sanitize_attribute, map_unit


# OpenTelemetry's instrumentations


def is_instrumented_by_contrib(app: object) -> bool:
    """Whether opentelemetry-instrumentation-fastapi 0.66b2 has put its middleware around an app."""
    return bool(getattr(app, "_is_instrumented_by_opentelemetry", False))


def exclude_from_contrib(stack: object, *expressions: str) -> None:
    """Have contrib's middleware leave out further URLs.

    Seen in opentelemetry-instrumentation-asgi 0.66b2. Without it, all are measured.

    Parameters:
        stack: An application's built middleware, with contrib's among it or not.
        expressions: Regular expressions that are searched for in a URL.
    """
    from opentelemetry.util.http import ExcludeList

    while stack is not None and type(stack).__name__ != "OpenTelemetryMiddleware":
        stack = getattr(stack, "app", None)
    if stack is not None:
        own = getattr(getattr(stack, "excluded_urls", None), "_excluded_urls", [])
        expressions = tuple(dict.fromkeys([*own, *expressions]))
        setattr(stack, "excluded_urls", ExcludeList(expressions))  # noqa: B010


def handler_class() -> Any:
    """OpenTelemetry's handler for Python's logging.

    opentelemetry-instrumentation-logging has it since it was taken from the SDK, where it is
    deprecated as of opentelemetry-sdk 1.45. Seen in 0.66b2; 0.51b0 has none.
    """
    try:
        from opentelemetry.instrumentation.logging.handler import LoggingHandler
    except ImportError:
        from opentelemetry.sdk._logs import LoggingHandler as SdkLoggingHandler

        return SdkLoggingHandler
    return LoggingHandler


# prometheus_client


def is_opentelemetrys(collector: object) -> bool:
    """Whether a collector of prometheus_client's is a metric reader of OpenTelemetry's.

    `PrometheusMetricReader` registers one, which shows what OpenTelemetry has measured. Seen in
    opentelemetry-exporter-prometheus 0.66b2. Without it, that is collected once more.
    """
    return type(collector).__module__.startswith("opentelemetry.exporter.prometheus")


def collectors_of(registry: Any) -> Sequence[Any]:
    """The collectors of a registry of prometheus_client, which has no public way to ask.

    Seen in prometheus_client 0.26. Without it, the registry as a whole: a collector that raises
    then costs what the others have as well.
    """
    return list(getattr(registry, "_collector_to_names", [registry]))


# FastAPI


def switch_off_native_metrics(app: object) -> bool:
    """Have FastAPI record no ``http.server.*`` metrics of its own for an application.

    It does so as soon as a global meter provider is set, at several times the cost of ours. An
    application that was given a meter provider for them has asked for them. What else FastAPI
    does, as to add exporters that the environment names, stays. Seen in FastAPI 0.165. Without
    it, both are recorded.

    Returns:
        Whether FastAPI would have exported them by itself, as
        ``FASTAPI_OTEL_AUTO_CONFIGURE=true`` says.
    """
    native = getattr(app, "_native_telemetry", None)
    config = getattr(native, "config", None)
    if not isinstance(config, dict):
        if native is not None:
            _logger.warning("FastAPI records http.server.* as well: its configuration has moved")
        return False
    if config.get("meter_provider") is not None or not config.get("metrics"):
        return False
    setattr(native, "config", {**config, "metrics": False})  # noqa: B010
    return bool(config.get("auto_configure"))


def use_native_metrics(app: object, provider: object | None) -> None:
    """Have FastAPI record its own ``http.server.*`` metrics with another meter provider.

    What the application has been given in ``FastAPI(telemetry=...)`` stays. Seen in FastAPI 0.165.

    Parameters:
        app: The application.
        provider: A meter provider other than the global one.
    """
    config = getattr(app, "_telemetry", None)
    if isinstance(config, dict):
        config["meter_provider"] = config.get("meter_provider") or provider


def exclude_from_native(app: object, excludes: Callable[[Any], bool]) -> None:
    """Have FastAPI record neither spans nor metrics of its own for some requests.

    What the application has been given in ``FastAPI(telemetry=...)`` stays. Seen in FastAPI 0.165.

    Parameters:
        app: The application.
        excludes: Tells of an ASGI scope whether nothing is recorded.
    """
    config = getattr(app, "_telemetry", None)
    if isinstance(config, dict):
        config["exclude"] = config.get("exclude") or excludes


def has_native_metrics(app: object) -> bool:
    """Whether FastAPI records ``http.server.*`` metrics of its own for an application.

    Seen in FastAPI 0.165; before 0.142 it does not.
    """
    config = getattr(getattr(app, "_native_telemetry", None), "config", None)
    return isinstance(config, dict) and config.get("metrics") is True


def flush_with_fastapi(flush: Callable[[], object]) -> None:
    """Have FastAPI call a function when a lifespan ends, as it flushes its own exporters then.

    For an application that is instrumented when its lifespan has begun: nothing public comes
    between that one's end and the server. Seen in FastAPI 0.165; before 0.142, and without it,
    what was measured last is not pushed.
    """
    try:
        from fastapi.telemetry._runtime import _owned
    except ImportError:
        _logger.warning(
            "What is measured last may not be pushed: the application was instrumented while it "
            "started. Instrument it before, or use FastAPI 0.142 or later."
        )
        return
    _owned.append(SimpleNamespace(force_flush=flush, shutdown=lambda: None))


# uvicorn, gunicorn, hypercorn, granian


def started_as_worker() -> bool:
    """Whether a server's supervisor has started this process as one of its workers.

    Nothing public tells a server's worker from a process that a program has started for itself.
    What multiprocessing has started runs in a process that has multiprocessing imported.
    """
    process = sys.modules.get("multiprocessing.process")
    current: Callable[[], object] | None = getattr(process, "current_process", None)
    target = getattr(current(), "_target", None) if current else None
    while isinstance(target, partial):
        target = target.func
    if getattr(target, "__module__", None) in WORKER_MODULES:
        return True
    return _SPAWN in _functions_of_arbiter()


def is_gunicorn_loaded() -> bool:
    """Whether this is a process of gunicorn's, or one that uses it."""
    return ARBITER_MODULE in sys.modules


def is_gunicorns_arbiter() -> bool:
    """Whether this is the process that forks gunicorn's workers, with ``--preload``."""
    functions = _functions_of_arbiter()
    return bool(functions) and _SPAWN not in functions


def _functions_of_arbiter() -> set[str]:
    """The functions of gunicorn's arbiter that the main thread is in.

    It calls the application in the midst of them: in the workers, which it forks, as well.
    """
    functions = set[str]()
    if not is_gunicorn_loaded():
        return functions
    frame = sys._current_frames().get(main_thread().ident or 0)
    while frame is not None:
        if frame.f_globals.get("__name__") == ARBITER_MODULE:
            functions.add(frame.f_code.co_name)
        frame = frame.f_back
    return functions


def client_has_left(receive: Callable[..., Any]) -> bool | None:
    """Whether the client has closed its connection, or None where the server does not tell.

    ASGI tells it as a message. But receiving takes the message from the application, and invites
    a client that waits with ``Expect: 100-continue`` to send its body. uvicorn 0.54 (and gunicorn
    with uvicorn's worker) has the answer beside the function itself, as ``disconnected`` of the
    object that `receive` is a method of.

    Parameters:
        receive: The server's ASGI function, or one that some layer has put around it, as
            FastAPI's own metrics do.
    """
    for _ in range(_DEPTH):
        left = getattr(getattr(receive, "__self__", None), "disconnected", None)
        if isinstance(left, bool):
            return left
        if not inspect.isfunction(receive) or "receive" not in receive.__code__.co_freevars:
            return None
        receive = inspect.getclosurevars(receive).nonlocals["receive"]
    return None


# SQLAlchemy and asyncpg


def sqlalchemys_max_overflow(pool: object) -> int | None:
    """How many connections a pool of SQLAlchemy opens beyond its size; -1 is without a limit.

    Seen in SQLAlchemy 2.1. Without it, the pool's limit is not shown.
    """
    overflow = getattr(pool, "_max_overflow", None)
    if not isinstance(overflow, int):
        _logger.warning("The limit of a pool is not shown: SQLAlchemy has changed")
        return None
    return overflow


def asyncpgs_waiting(pool: object) -> int | None:
    """How many tasks wait for a connection of a pool of asyncpg.

    They wait for an `asyncio.Queue`, which does not tell either. Seen in asyncpg 0.32 and Python
    3.11. Without it, the number is not shown.
    """
    getters = getattr(getattr(pool, "_queue", None), "_getters", None)
    if getters is None:
        # Before a pool is initialized, it has no queue.
        if not hasattr(pool, "_queue"):
            _logger.warning("Who waits for a pool is not shown: asyncpg has changed")
        return None
    return sum(not getter.done() for getter in list(getters))
