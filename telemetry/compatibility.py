"""Every private name that the package leans on, and what it does without it.

Nothing here is imported before it is needed, and nothing fails when a name has moved: what it
is for is missing then, and one log line says so. Each name has a test in
tests/test_compatibility.py that fails when it moves.
"""

import asyncio
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial, wraps
from threading import Lock, RLock, main_thread
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


def metric_readers(provider: object) -> Sequence[Any]:
    """The metric readers that an SDK meter provider was made with.

    Seen in opentelemetry-sdk 1.45. Without it, what a configuration file names is not found.
    """
    readers: Sequence[Any] | None = getattr(provider, "_metric_readers", None)
    if readers is None and type(provider).__module__.startswith("opentelemetry.sdk"):
        _logger.warning("The readers of the configuration file are not found: the SDK has changed")
    return readers or ()


def resource_of(provider: object) -> Any:
    """The resource of an SDK meter provider, or None.

    Seen in opentelemetry-sdk 1.45. Without it, the resource of what is collected is taken.
    """
    return getattr(getattr(provider, "_sdk_config", None), "resource", None)


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


def collectors_of(registry: Any) -> Sequence[Any]:
    """The collectors of a registry of prometheus_client, which has no public way to ask.

    Seen in prometheus_client 0.26. Without it, the registry as a whole: a collector that raises
    then costs what the others have as well.
    """
    return list(getattr(registry, "_collector_to_names", [registry]))


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
        others = getattr(getattr(stack, "excluded_urls", None), "_excluded_urls", [])
        setattr(stack, "excluded_urls", ExcludeList([*others, *expressions]))  # noqa: B010


def switch_off_native_metrics(app: object) -> None:
    """Have FastAPI record no ``http.server.*`` metrics of its own for an application.

    It does so as soon as a global meter provider is set, at several times the cost of ours. An
    application that was given a meter provider for them has asked for them. Seen in FastAPI
    0.165. Without it, both are recorded.
    """
    config = getattr(app, "_telemetry", None)
    if isinstance(config, dict):
        if config.get("meter_provider") is None:
            config["metrics"] = False
    elif hasattr(app, "_native_telemetry"):
        _logger.warning("FastAPI records http.server.* as well: its configuration has moved")


def use_native_metrics(
    app: object, provider: object | None, excludes: Callable[[Any], bool]
) -> None:
    """Have FastAPI record its own ``http.server.*`` metrics for an application.

    What the application has been given in ``FastAPI(telemetry=...)`` stays. Seen in FastAPI 0.165.

    Parameters:
        app: The application.
        provider: A meter provider other than the global one.
        excludes: Tells of an ASGI scope whether nothing is recorded of its request: no span and
            no log record either.
    """
    config = getattr(app, "_telemetry", None)
    if isinstance(config, dict):
        config["meter_provider"] = config.get("meter_provider") or provider
        config["exclude"] = config.get("exclude") or excludes


def has_native_metrics(app: object) -> bool:
    """Whether FastAPI records ``http.server.*`` metrics of its own for an application.

    Seen in FastAPI 0.165; before 0.142 it does not.
    """
    config = getattr(app, "_telemetry", None)
    return isinstance(config, dict) and config.get("metrics") is True


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


def uvicorns_connections() -> Iterator[set[Any]]:
    """The connections of each uvicorn server that runs in the present event loop.

    ASGI does not tell, and nothing leads from an application to its server. But the server is a
    coroutine that waits in a task of the loop (with gunicorn, below that of the worker's). Seen in
    uvicorn 0.54 and uvicorn-worker 0.4: `Server.server_state.connections`.
    """
    server_class = getattr(sys.modules.get("uvicorn.server"), "Server", None)
    if server_class is None:
        return
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        return
    for task in tasks:
        coroutine: Any = task.get_coro()
        while (frame := getattr(coroutine, "cr_frame", None)) is not None:
            server = frame.f_locals.get("self")
            if isinstance(server, server_class):
                connections = getattr(getattr(server, "server_state", None), "connections", None)
                if isinstance(connections, set):
                    yield connections
                break
            coroutine = coroutine.cr_await


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


def guard_callbacks(reader: object) -> None:
    """Have callbacks that want to end the thread fail like others do.

    The SDK keeps every other exception of a callback from the other metrics. Without its names,
    one that raises a SystemExit costs all metrics.
    """
    consumer = getattr(getattr(reader, "_collect", None), "__self__", None)
    for instrument in list(getattr(consumer, "_async_instruments", [])):
        instrument._callbacks = [
            each if hasattr(each, "__wrapped__") else _guarded(each)
            for each in instrument._callbacks
        ]


def _guarded(callback: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def guarded(options: Any) -> Iterator[Any]:
        try:
            yield from callback(options)
        except GeneratorExit:
            raise
        except BaseException as error:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error

    guarded.__wrapped__ = callback  # type: ignore[attr-defined]
    return guarded


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
