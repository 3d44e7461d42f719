"""The requests that the ways of the metrics are compared by."""

from collections.abc import Iterable

from tests.support.processes import Service, query, wait_for

TRAFFIC = {"/": 40, "/health": 30, "/random_sleep": 5, "/nope": 20, "/increase_count": 12}
"""Paths of the project's application, and how often each is asked for."""
ONCE = dict.fromkeys(TRAFFIC, 1)


def send(app: Service, traffic: dict[str, int], stores: Iterable[str], before: int = 0) -> int:
    """Send it, and wait until each store knows of all that was sent, which it returns.

    Parameters:
        stores: The addresses of what answers queries.
        before: The requests that were sent before.
    """
    for path, count in traffic.items():
        for _ in range(count):
            app.status(path)
    total = before + sum(traffic.values())
    for url in stores:
        arrived = lambda url=url: query(url, "sum(app_requests_total)") == {(): total}  # noqa: E731
        wait_for(arrived, f"{total} requests at {url}")
    return total


def known(stores: Iterable[str]) -> None:
    """Wait until each store knows the application, so that new counters count alike in all."""
    for url in stores:
        there = lambda url=url: query(url, "count(app_memory_usage_bytes)")  # noqa: E731
        wait_for(there, f"the app is known at {url}")
