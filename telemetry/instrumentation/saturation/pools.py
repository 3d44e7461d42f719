"""Pools of database connections that an application hands over."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol
from weakref import ref

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from telemetry.compatibility import asyncpgs_waiting, sqlalchemys_max_overflow
from telemetry.providers import METER, once_per_provider

_NAME = "db.client.connection.pool.name"
_STATE = "db.client.connection.state"


class State(NamedTuple):
    """Connections of a pool: `max` is None where there is no limit, or where it is unknown.

    `pending` are the requests for a connection that have not got one yet.
    """

    idle: int
    used: int
    max: int | None
    pending: int | None


class _QueuePool(Protocol):
    """A pool of SQLAlchemy that has a size: ``QueuePool``, ``AsyncAdaptedQueuePool``."""

    connect: Callable[..., Any]

    def size(self) -> int: ...
    def checkedin(self) -> int: ...
    def checkedout(self) -> int: ...


class _Engine(Protocol):
    """SQLAlchemy's ``Engine`` and ``AsyncEngine``; its pool is another one after ``dispose``."""

    pool: _QueuePool


class _AsyncpgPool(Protocol):
    """asyncpg's ``Pool``."""

    def get_size(self) -> int: ...
    def get_idle_size(self) -> int: ...
    def get_max_size(self) -> int: ...


class _Sqlalchemy:
    """Reads SQLAlchemy's pool, which does not tell who waits: its callers are counted."""

    def __init__(self, pool: Callable[[], _QueuePool]) -> None:
        self._pool = pool
        self._pending: set[object] = set()
        self._counted: Callable[[], object] = lambda: None
        self._count()

    def __call__(self) -> State:
        pool = self._count()
        overflow = sqlalchemys_max_overflow(pool)
        # A size of 0 and an overflow of -1 both are no limit.
        limited = overflow is not None and overflow >= 0 and pool.size() > 0
        size = pool.size() + overflow if limited and overflow is not None else None
        return State(pool.checkedin(), pool.checkedout(), size, len(self._pending))

    def _count(self) -> _QueuePool:
        pool = self._pool()
        if self._counted() is pool:
            return pool
        self._counted = ref(pool)
        connect, pending = pool.connect, self._pending

        def counted(*arguments: Any) -> Any:
            request = object()
            pending.add(request)
            try:
                return connect(*arguments)
            finally:
                pending.discard(request)

        pool.connect = counted
        return pool


class _Asyncpg:
    """Reads asyncpg's pool."""

    def __init__(self, pool: _AsyncpgPool) -> None:
        self._pool = pool

    def __call__(self) -> State:
        idle = self._pool.get_idle_size()
        used = max(0, self._pool.get_size() - idle)
        return State(idle, used, self._pool.get_max_size(), asyncpgs_waiting(self._pool))


def _reader(pool: Any) -> Callable[[], State]:
    if _has(pool, "get_size", "get_idle_size", "get_max_size"):
        return _Asyncpg(pool)
    sized = ("size", "checkedin", "checkedout", "connect")
    if _has(pool, *sized):
        return _Sqlalchemy(lambda: pool)
    if _has(getattr(pool, "pool", None), *sized):
        return _Sqlalchemy(lambda: pool.pool)
    raise TypeError(
        "observe_pool takes an engine of SQLAlchemy (sync or async) whose pool has a size, as "
        f"QueuePool has, such a pool, or a pool of asyncpg: {pool!r}"
    )


def _has(pool: object, *names: str) -> bool:
    return all(callable(getattr(pool, name, None)) for name in names)


class _Pools:
    """The gauges ``db.client.connection.*`` of all pools in a meter provider."""

    def __init__(self, provider: MeterProvider) -> None:
        self.readers: dict[str, Callable[[], State]] = {}
        meter = provider.get_meter(METER)
        for name, unit, observe, description in (
            ("count", "{connection}", self._observe_count, "Connections, in use and idle."),
            ("max", "{connection}", self._observe_max, "Connections that may be open."),
            (
                "pending_requests",
                "{request}",
                self._observe_pending,
                "Requests for a connection that have not got one yet.",
            ),
        ):
            # The conventions have up-down counters, which would be added up over the workers. It
            # is each worker's own pool that is full.
            meter.create_observable_gauge(
                f"db.client.connection.{name}",
                callbacks=[observe],
                unit=unit,
                description=description,
            )

    def _observe_count(self, _: CallbackOptions) -> Iterable[Observation]:
        for name, read in self.readers.copy().items():
            state = read()
            yield Observation(state.idle, {_NAME: name, _STATE: "idle"})
            yield Observation(state.used, {_NAME: name, _STATE: "used"})

    def _observe_max(self, _: CallbackOptions) -> Iterable[Observation]:
        for name, read in self.readers.copy().items():
            if (maximum := read().max) is not None:
                yield Observation(maximum, {_NAME: name})

    def _observe_pending(self, _: CallbackOptions) -> Iterable[Observation]:
        for name, read in self.readers.copy().items():
            if (pending := read().pending) is not None:
                yield Observation(pending, {_NAME: name})


_pools_of = once_per_provider(_Pools)


def observe_connections(provider: MeterProvider, pool: object, name: str) -> None:
    """Add a pool to ``db.client.connection.count``, ``.max`` and ``.pending_requests``.

    They are named as OpenTelemetry's conventions say:
    https://opentelemetry.io/docs/specs/semconv/database/database-metrics/#connection-pools.

    Raises:
        TypeError: It is something else, or a pool that holds no connections.
    """
    reader = _reader(pool)
    _pools_of(provider).readers[name] = reader
