"""Gives the application something to do: ``python -m app.load``."""

import http.client
import itertools
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import click

PATHS = ("/", "/random_sleep", "/health", "/increase_count")
"""What is asked for, in turn, if nothing else is said."""

NO_ANSWER = "no answer"
"""Counted in the place of a status where the connection failed."""

_PATIENCE = 30.0


@dataclass
class Result:
    """What came back.

    Attributes:
        answers: How many requests had each status, or `NO_ANSWER`.
        seconds: How long each answered request took, in seconds.
        took: How long all of them took, in seconds.
    """

    answers: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    took: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether a request had no answer, or a server error."""
        return any(status == NO_ANSWER or status.startswith("5") for status in self.answers)

    def text(self) -> str:
        """A summary in a few lines."""
        requests = self.answers.total()
        lines = [f"{requests} requests in {self.took:.1f} s, {requests / self.took:.1f} a second"]
        lines += [f"  {status}: {count}" for status, count in sorted(self.answers.items())]
        if self.seconds:
            lines.append("answered within")
            lines += [
                f"  {share:3d}%: {self.percentile(share) * 1000:.1f} ms"
                for share in (50, 95, 99, 100)
            ]
        return "\n".join(lines)

    def percentile(self, share: int) -> float:
        """The time in seconds within which so many percent of the answers came."""
        return sorted(self.seconds)[math.ceil(share / 100 * len(self.seconds)) - 1]


class Load:
    """Requests from several connections at once.

    Parameters:
        url: Where the application is, such as ``http://localhost:8000``.
        paths: What is asked for, in turn.
        requests: How many requests there are to be; None where only time ends them.
        duration: After how many seconds no request begins any more; None where only their
            number ends them.
    """

    def __init__(
        self, url: str, paths: tuple[str, ...], requests: int | None, duration: float | None
    ) -> None:
        self._url = urlsplit(url)
        self._turns = itertools.islice(itertools.cycle(paths), requests)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._duration = duration
        self._begin = time.perf_counter()
        self.result = Result()

    def run(self, connections: int) -> Iterator[float]:
        """Send them, and yield now and then how far it is: requests done, or seconds passed."""
        self._begin = time.perf_counter()
        try:
            with ThreadPoolExecutor(connections) as threads:
                futures = [threads.submit(self._connection) for _ in range(connections)]
                try:
                    while not all(future.done() for future in futures):
                        time.sleep(0.05)
                        if self._duration is None:
                            yield self.result.answers.total()
                        else:
                            yield min(time.perf_counter() - self._begin, self._duration)
                finally:
                    self._over.set()
                for future in futures:
                    future.result()
        finally:
            self.result.took = time.perf_counter() - self._begin

    def _next(self) -> str | None:
        if self._over.is_set():
            return None
        if self._duration is not None and time.perf_counter() - self._begin >= self._duration:
            return None
        with self._lock:
            return next(self._turns, None)

    def _connection(self) -> None:
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        connection = kinds[self._url.scheme](self._url.netloc, timeout=_PATIENCE)
        try:
            while (path := self._next()) is not None:
                began = time.perf_counter()
                status = self._ask(connection, path)
                seconds = time.perf_counter() - began
                with self._lock:
                    self.result.answers[status] += 1
                    if status != NO_ANSWER:
                        self.result.seconds.append(seconds)
                if status == NO_ANSWER:
                    # Nobody is served by trying again at once.
                    time.sleep(0.05)
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection, path: str) -> str:
        # A server may close a connection between two requests (uvicorn does so after an
        # unhandled exception): what was sent on a used one is sent again on a new one.
        used = connection.sock is not None
        try:
            connection.request("GET", self._url.path.rstrip("/") + path)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return self._ask(connection, path) if used else NO_ANSWER
        return str(answer.status)


def _url(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise click.BadParameter(f"{value} is not like http://localhost:8000")
    return value


@click.command(context_settings={"show_default": True})
@click.option("--url", default="http://localhost:8000", callback=_url, help="Where the app is.")
@click.option("--requests", "-n", type=click.IntRange(1), help="How many requests.  [default: 100]")
@click.option("--duration", "-d", type=click.FloatRange(0.1), help="For so many seconds at most.")
@click.option("--concurrency", "-c", type=click.IntRange(1, 500), default=10, help="At a time.")
@click.option("--path", "paths", multiple=True, default=PATHS, help="What to ask for, in turn.")
def main(
    url: str,
    requests: int | None,
    duration: float | None,
    concurrency: int,
    paths: tuple[str, ...],
) -> None:
    """Give the app something to do, and say how it went.

    Exits with 0 where every request was answered without a server error, with 1 where not, and
    with 130 where it was interrupted.
    """
    if requests is None and duration is None:
        requests = 100
    if not all(path.startswith("/") for path in paths):
        raise click.BadParameter("a path begins with /", param_hint="--path")
    load = Load(url, paths, requests, duration)
    length = 1000
    with click.progressbar(length=length, label="Requests", file=sys.stderr) as progress:
        shown, interrupted = 0, False
        whole = requests if duration is None else duration
        try:
            for done in load.run(concurrency):
                now = int(length * done / (whole or 1))
                progress.update(now - shown)
                shown = now
            progress.update(length - shown)
        except KeyboardInterrupt:
            interrupted = True
    # Also of what was done until an interruption.
    click.echo(load.result.text())
    if set(load.result.answers) == {NO_ANSWER}:
        click.echo(f"Nothing answers at {url}. Start the app with: python -m app", err=True)
    sys.exit(130 if interrupted else int(load.result.failed))


if __name__ == "__main__":
    main(prog_name="python -m app.load")
