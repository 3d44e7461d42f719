"""SQLAlchemy 2.1, asyncpg 0.32 and the asyncio of Python 3.11."""

from telemetry.logger import limited_logger

_logger = limited_logger(__name__)


def sqlalchemys_max_overflow(pool: object) -> int | None:
    """How many connections a pool opens beyond its size; -1 is without a limit."""
    overflow = getattr(pool, "_max_overflow", None)
    if not isinstance(overflow, int):
        _logger.warning("The limit of a pool is not shown: SQLAlchemy has changed")
        return None
    return overflow


def asyncpgs_waiting(pool: object) -> int | None:
    """How many tasks wait for a connection, for which a pool has an `asyncio.Queue`."""
    getters = getattr(getattr(pool, "_queue", None), "_getters", None)
    if getters is None:
        # Before a pool is initialized, it has no queue.
        if not hasattr(pool, "_queue"):
            _logger.warning("Who waits for a pool is not shown: asyncpg has changed")
        return None
    return sum(not getter.done() for getter in list(getters))
