"""Work in steps, between which an event loop gets to something else."""

from collections.abc import Generator
from typing import TypeVar

_Result = TypeVar("_Result")

Steps = Generator[bool, None, _Result]
"""Each step yields whether the next one may block, and so should not be made in an event loop."""


def result_of(steps: Steps[_Result]) -> _Result:
    """Make all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result
