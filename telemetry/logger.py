"""The package's loggers: lines that say where they come from, and not the same one all the time."""

import logging
import time

_INTERVAL = 60.0
_MAX_KINDS = 1_000


class OncePerMinute(logging.Filter):
    """Lets a message pass if the same one has not passed within a minute.

    Two records are the same if their logger, their level and their text before arguments are.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[tuple[str, int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is the first of its kind within a minute."""
        kind = (record.name, record.levelno, str(record.msg))
        now = time.monotonic()
        if now - self._passed.get(kind, float("-inf")) < _INTERVAL:
            return False
        if len(self._passed) >= _MAX_KINDS:
            self._passed.clear()
        self._passed[kind] = now
        return True


class Named(logging.Filter):
    """Puts the logger's name before a message that is printed without, as no handler is set."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if not logging.getLogger(record.name).hasHandlers():
            record.msg = f"{record.name}: {record.msg}"
        return True


def get_logger(name: str) -> logging.Logger:
    """The logger of this name, for lines that are each logged once."""
    return _with_filters(logging.getLogger(name), Named)


def limited_logger(name: str) -> logging.Logger:
    """The logger of this name, for lines that may come again and again: each once a minute."""
    return _with_filters(logging.getLogger(name), OncePerMinute, Named)


def _with_filters(logger: logging.Logger, *kinds: type[logging.Filter]) -> logging.Logger:
    """A filter does not hold for the loggers below its own."""
    for kind in kinds:
        if not any(isinstance(each, kind) for each in logger.filters):
            logger.addFilter(kind())
    return logger
