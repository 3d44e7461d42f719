"""Pools of database connections that an application hands over."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from telemetry.compatibility.pools import asyncpgs_waiting, sqlalchemys_max_overflow
from telemetry.providers import METER, once_per_provider

_NAME = "db.client.connection.pool.name"
_STATE = "db.client.connection.state"


class State(NamedTuple):
    """Connections of a pool, `max` of them at most, and requests `pending`; None is unknown."""

    idle: int
    used: int
    max: int | None
    pending: int | None


class _Sqlalchemy:
    """Reads a pool of SQLAlchemy, which does not tell who waits: its callers are counted."""

    def __init__(self, pool: Callable[[], Any]) -> None:
        self._pool = pool
        self._pending: set[object] = set()
        self._counted: Callable[[], object] = lambda: None
        self._count()

    def __call__(self) -> State:
        pool = self._count()
        size, overflow = pool.size(), sqlalchemys_max_overflow(pool)
        # A size of 0 and an overflow of -1 both are no limit.
        limit = size + overflow if size > 0 and overflow is not None and overflow >= 0 else None
        return State(pool.checkedin(), pool.checkedout(), limit, len(self._pending))

    def _count(self) -> Any:
        # An engine has another pool after `dispose`.
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


def _read_asyncpg(pool: Any) -> State:
    idle = pool.get_idle_size()
    used = max(0, pool.get_size() - idle)
    return State(idle, used, pool.get_max_size(), asyncpgs_waiting(pool))


def _reader(pool: Any) -> Callable[[], State]:
    if _has(pool, "get_size", "get_idle_size", "get_max_size"):
        return partial(_read_asyncpg, pool)
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
        pending = "Requests for a connection that have not got one yet."
        for name, unit, fields, description in (
            ("count", "{connection}", ("idle", "used"), "Connections, in use and idle."),
            ("max", "{connection}", ("max",), "Connections that may be open."),
            ("pending_requests", "{request}", ("pending",), pending),
        ):
            # The conventions have up-down counters, which would be added up over the workers. It
            # is each worker's own pool that is full.
            meter.create_observable_gauge(
                f"db.client.connection.{name}", [partial(self._observe, fields)], unit, description
            )

    def _observe(self, fields: tuple[str, ...], _: CallbackOptions) -> Iterable[Observation]:
        for name, read in self.readers.copy().items():
            state = read()
            for field in fields:
                if (value := getattr(state, field)) is not None:
                    attributes = {_STATE: field} if len(fields) > 1 else {}
                    yield Observation(value, {_NAME: name, **attributes})


_pools_of = once_per_provider(_Pools)


def observe_connections(provider: MeterProvider, pool: object, name: str) -> None:
    """Add a pool, or raise a TypeError, to the metrics named as OpenTelemetry's conventions say.

    https://opentelemetry.io/docs/specs/semconv/database/database-metrics/#connection-pools
    """
    reader = _reader(pool)
    _pools_of(provider).readers[name] = reader
