"""What the application has called when its metrics are collected, so that it spoils little."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from telemetry.logger import limited_logger
from telemetry.sdk import health

_logger = limited_logger(__name__)

_running: list[str] = []


def running() -> list[str]:
    """What is being called at present, by any thread."""
    return list(dict.fromkeys(_running))


@contextmanager
def calling(name: str) -> Iterator[None]:
    """Note what is called meanwhile, so that a log line about a wait can name it."""
    _running.append(name)
    try:
        yield
    finally:
        _running.remove(name)


def guarded(instrument: str, callback: Callable[[Any], Iterable[Any]]) -> Callable[[Any], Any]:
    """An observable instrument's callback; what it raises is logged and costs its metric only."""

    def call(options: Any) -> Iterator[Any]:
        try:
            with calling(f"the callback of {instrument}"):
                yield from callback(options)
        except GeneratorExit:
            raise
        except BaseException as error:
            # A SystemExit, too, which would end the thread that collects.
            health.dropped("callback_failed")
            # Not by arguments: each metric has a line of its own a minute.
            _logger.error(
                f"The callback of {instrument} has failed: its metric is not shown", exc_info=error
            )

    return call
