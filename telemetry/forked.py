"""What a process that was forked does with what it has inherited."""

import os
from collections.abc import Callable
from weakref import WeakMethod


def when_forked(method: Callable[[], object]) -> None:
    """Have a method called in each child of this process, for as long as its object is there."""
    if hasattr(os, "register_at_fork"):
        forked = WeakMethod(method)
        os.register_at_fork(after_in_child=lambda: (found := forked()) and found())
