"""What is recorded in batches, for those who look whether anything was recorded."""

from collections.abc import Iterator
from typing import Protocol
from weakref import WeakSet


class Batch(Protocol):
    """Measurements that wait to be recorded together."""

    def flush(self) -> Iterator[None]:
        """Record them in steps."""

    def is_busy(self) -> bool:
        """Whether something is going on, so that what callbacks tell changes as well."""


batches: WeakSet[Batch] = WeakSet()


def flush() -> Iterator[None]:
    """Record what waits in all batches, in steps."""
    for batch in list(batches):
        yield from batch.flush()
