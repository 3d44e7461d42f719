"""What the application has called when its metrics are collected, and how little that can spoil."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from telemetry.quiet import quiet_logger
from telemetry.sdk import health

_logger = quiet_logger(__name__)

_running: list[str] = []


def running() -> list[str]:
    """What is being called at present, by any thread."""
    return list(dict.fromkeys(_running))


@contextmanager
def calling(name: str) -> Iterator[None]:
    """Call something of the application's under a name.

    What would end the thread that collects, as SystemExit does, is raised as a RuntimeError.
    """
    _running.append(name)
    try:
        yield
    except GeneratorExit:
        raise
    except BaseException as error:
        health.dropped("callback_failed")
        if isinstance(error, Exception):
            raise
        raise RuntimeError(f"it has raised {type(error).__name__}: {error}") from error
    finally:
        _running.remove(name)


def guarded(instrument: str, callback: Callable[[Any], Iterable[Any]]) -> Callable[[Any], Any]:
    """An observable instrument's callback; what it raises is logged and costs its metric only."""

    def call(options: Any) -> Iterator[Any]:
        try:
            with calling(f"the callback of {instrument}"):
                yield from callback(options)
        except Exception as error:
            # Not by arguments: each metric has a line of its own a minute.
            _logger.error(
                f"The callback of {instrument} has failed: its metric is not shown", exc_info=error
            )

    return call
