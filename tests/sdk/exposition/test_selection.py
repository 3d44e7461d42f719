"""The samples that a scrape asks for by name."""

import asyncio
import time
from urllib.parse import urlencode

import pytest
from fastapi import Depends
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from telemetry.sdk.exposition.answer import Answer
from telemetry.sdk.exposition.selection import MAX_QUERY, Selection
from tests.support.applications import Measured, exchange
from tests.support.pages import page_of
from tests.support.series import parse, parse_openmetrics

ACCEPT = {False: "text/plain", True: "application/openmetrics-text"}


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        ["orders_total"],
        ["orders_total", "orders_created"],
        ["took_seconds_bucket", "app_info"],
        ["took_seconds_count", "took_seconds_sum", "orders_total"],
        ["target_info"],
        # The names of families, whose samples have others.
        ["orders", "took_seconds"],
        ["nothing", "#", "# EOF", "orders_total{"],
    ],
)
def test_the_samples_are_those_of_a_restricted_registry(
    names: list[str], openmetrics: bool
) -> None:
    registry = CollectorRegistry(target_info={"service": "shop"})
    orders = Counter("orders", "Orders # HELP", ["kind"], registry=registry)
    for kind in ("a b", "line\nfeed", "carriage\rreturn", '"{}', "# HELP x"):
        orders.labels(kind).inc(exemplar={"trace_id": "1"})
    Histogram("took_seconds", "Time", ["path"], registry=registry).labels("/{x}").observe(1)
    Info("app", "Version", registry=registry).info({"version": "1"})
    generate = generate_openmetrics if openmetrics else generate_latest
    selected = asyncio.run(Selection().of(generate(registry), [each.encode() for each in names]))
    # Restricted, prometheus_client's registry has its families in any order.
    restricted = generate(registry.restricted_registry(names))
    assert families(selected) == families(restricted)


def families(page: bytes) -> tuple[list[bytes], bool]:
    return sorted(page.removesuffix(b"# EOF\n").split(b"# HELP ")), page.endswith(b"# EOF\n")


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("guarded", [False, True])
def test_a_scrape_gets_the_samples_that_it_names_and_the_next_one_all(
    openmetrics: bool, guarded: bool
) -> None:
    measured = Measured(instrument=False)
    measured.instrument(metrics_dependencies=[Depends(lambda: None)] if guarded else [])
    measured.client.get("/nope")
    headers = {"accept": ACCEPT[openmetrics], "accept-encoding": "gzip"}
    read = parse_openmetrics if openmetrics else parse
    names = ["app_requests_total", "app_requests_processing_time_seconds_bucket"]
    answer = measured.client.get("/metrics", params={"name[]": names}, headers=headers)
    whole = measured.client.get("/metrics?name=app_requests_total", headers=headers)
    assert answer.headers["content-type"] == whole.headers["content-type"]
    assert {name for name, _ in read(answer.text)} == set(names)
    every = read(whole.text)
    assert {each for each in every if each[0] in names} == set(read(answer.text))
    assert {name for name, _ in every} > set(names)


@pytest.mark.parametrize("query", [b"name[]=", b"name[]", b"name=a", b"Name[]=a", b"\xff&name[]="])
def test_a_query_that_names_nothing_gets_the_whole_page(query: bytes) -> None:
    answer = Answer(page_of(lambda _: b"a 1\nb 2\n"))
    _, body = asyncio.run(exchange(answer, "/metrics", query_string=query))
    assert body["body"] == b"a 1\nb 2\n"


def test_names_are_decoded() -> None:
    answer = Answer(page_of(lambda _: b"a 1\nb 2\n"))
    query = urlencode({"name[]": ["b", "\N{SNOWMAN}"]}, doseq=True).encode()
    assert b"[" not in query
    _, body = asyncio.run(exchange(answer, "/metrics", query_string=query))
    assert body["body"] == b"b 2\n"


def test_a_query_of_megabytes_holds_up_nobody() -> None:
    answer = Answer(page_of(lambda _: b"a 1\n"))
    began = time.perf_counter()
    query = b"name[]=a&" * 2**20
    start, _ = asyncio.run(exchange(answer, "/metrics", query_string=query))
    assert start["status"] == 414
    start, _ = asyncio.run(exchange(answer, "/metrics", query_string=query[:MAX_QUERY]))
    assert start["status"] == 200
    assert time.perf_counter() - began < 0.5


def test_a_flood_of_names_leaves_the_processor_to_the_application() -> None:
    text = b"".join(b'series{number="%d"} 1.0\n' % number for number in range(20_000))
    answer = Answer(page_of(lambda _: text))
    answers = 0

    async def scraper(until: float, number: int) -> None:
        nonlocal answers
        while time.perf_counter() < until:
            query = b"name[]=a%d&name[]=series" % number
            await exchange(answer, "/metrics", query_string=query)
            answers += 1

    async def flood() -> None:
        until = time.perf_counter() + 1
        await asyncio.gather(*(scraper(until, number) for number in range(20)))

    began = time.perf_counter()
    asyncio.run(flood())
    # 20 MB a second.
    most = (time.perf_counter() - began) * 20_000_000 / len(text)
    assert 20 <= answers <= most + 1
