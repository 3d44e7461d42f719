"""What is recorded in batches, for those who look whether anything was recorded."""

from typing import Protocol
from weakref import WeakSet


class Batch(Protocol):
    """Measurements that wait to be recorded together."""

    def flush(self) -> bool:
        """Record them now. Whether what callbacks tell changes as well."""


batches: WeakSet[Batch] = WeakSet()
