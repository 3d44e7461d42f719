"""A page as gzip has it: by ISA-L where that is installed, four times as fast as zlib."""

from functools import cache
from typing import Any, Protocol

_LEVEL = 1
# With gzip's header and checksum.
_WINDOW_BITS = 31


class Compressor(Protocol):
    """Takes a page in parts."""

    def compress(self, data: bytes, /) -> bytes:
        """What there is so far, which may be nothing."""

    def flush(self) -> bytes:
        """What is left at the end."""


def compressor() -> Compressor:
    """A compressor for one page."""
    made: Compressor = _library().compressobj(level=_LEVEL, wbits=_WINDOW_BITS)
    return made


@cache
def _library() -> Any:
    try:
        # The extra isal: https://pypi.org/project/isal/.
        from isal import isal_zlib
    except ImportError:
        import zlib

        return zlib
    return isal_zlib
