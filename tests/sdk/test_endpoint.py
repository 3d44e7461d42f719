"""/metrics over ASGI: formats, compression, methods, and who waits for whom."""

import asyncio
import gzip
import time
from collections.abc import Iterator

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import CollectorRegistry

from telemetry.sdk.endpoint import MetricsEndpoint
from telemetry.sdk.exposition import Exposition
from tests.support.applications import Measured, exchange
from tests.support.series import parse, parse_openmetrics, values

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.fixture
def measured() -> Measured:
    measured = Measured()
    measured.client.get("/nope")
    return measured


def test_text_is_the_default(measured: Measured) -> None:
    answer = measured.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert values(parse(answer.text), "app_requests_total") == {("GET", "unmatched"): 1}


@pytest.mark.parametrize("accept", [OPENMETRICS, PROMETHEUS_3])
def test_openmetrics_where_it_is_asked_for(measured: Measured, accept: str) -> None:
    answer = measured.client.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    series = parse_openmetrics(answer.text)
    assert values(series, "app_requests_total") == {("GET", "unmatched"): 1}


@pytest.mark.parametrize(
    "accept", ["text/plain;version=x", "application/openmetrics-text;version=-"]
)
def test_an_accept_header_that_cannot_be_read_gets_text(measured: Measured, accept: str) -> None:
    answer = measured.client.get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")


def test_gzip_where_it_is_accepted(measured: Measured) -> None:
    plain = measured.client.get("/metrics", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    sent = asyncio.run(
        exchange(measured.app, "/metrics", headers=[(b"accept-encoding", b"gzip, br")])
    )
    assert (b"content-encoding", b"gzip") in sent[0]["headers"]
    assert values(parse(gzip.decompress(sent[1]["body"]).decode()), "app_requests_total")


def test_get_and_head_only(measured: Measured) -> None:
    assert measured.client.head("/metrics").status_code == 200
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = measured.client.request(method, "/metrics")
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def slow_registry(seconds: float) -> tuple[CollectorRegistry, list[float]]:
    collections: list[float] = []

    class Slow:
        def collect(self) -> Iterator[GaugeMetricFamily]:
            collections.append(time.monotonic())
            time.sleep(seconds)
            yield GaugeMetricFamily("slow", "slow", value=len(collections))

        def describe(self) -> list[GaugeMetricFamily]:
            return []

    registry = CollectorRegistry()
    registry.register(Slow())
    return registry, collections


def test_other_requests_go_on_while_the_text_is_written() -> None:
    registry, _ = slow_registry(0.3)

    async def longest_gap() -> float:
        scrape = asyncio.create_task(exchange(MetricsEndpoint(Exposition(registry)), "/metrics"))
        gaps, last = [], time.perf_counter()
        while not scrape.done():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now
        return max(gaps)

    assert asyncio.run(longest_gap()) < 0.25


def test_scrapes_that_overlap_share_one_writing_and_later_ones_are_fresh() -> None:
    registry, collections = slow_registry(0.1)
    endpoint = MetricsEndpoint(Exposition(registry))

    async def scrapes() -> None:
        answers = await asyncio.gather(*(exchange(endpoint, "/metrics") for _ in range(200)))
        assert {answer[1]["body"] for answer in answers} == {answers[0][1]["body"]}
        assert len(collections) == 1
        assert b"slow 2.0" in (await exchange(endpoint, "/metrics"))[1]["body"]

    asyncio.run(scrapes())


def test_a_flood_of_scrapes_leaves_the_processor_to_the_application() -> None:
    registry, collections = slow_registry(0.02)
    endpoint = MetricsEndpoint(Exposition(registry))
    answers = 0

    async def scraper(until: float) -> None:
        nonlocal answers
        while time.perf_counter() < until:
            await exchange(endpoint, "/metrics")
            answers += 1

    async def flood() -> None:
        until = time.perf_counter() + 2
        await asyncio.gather(*(scraper(until) for _ in range(200)))

    began = time.perf_counter()
    asyncio.run(flood())
    took = time.perf_counter() - began
    # A fifth of the time is spent on texts, and answers are 2 ms apart.
    assert 2 <= len(collections) <= took / 0.1 + 2
    assert 200 <= answers <= took / 0.002 + 1


def test_no_header_makes_texts_without_end() -> None:
    """Each form that a client can ask for is kept: there must be few of them."""
    registry, _ = slow_registry(0)
    endpoint = MetricsEndpoint(Exposition(registry))

    async def scrapes() -> set[bytes]:
        forms = set()
        for number in range(50):
            for kind in ("application/openmetrics-text", "text/plain"):
                accept = f"{kind};version=1.0.{number};escaping=x{number}".encode()
                start, _ = await exchange(endpoint, "/metrics", headers=[(b"accept", accept)])
                forms.add(dict(start["headers"])[b"content-type"])
        return forms

    assert len(asyncio.run(scrapes())) <= 3


def test_forms_that_are_asked_for_in_turn_do_not_shorten_the_rest() -> None:
    registry, collections = slow_registry(0.02)
    endpoint = MetricsEndpoint(Exposition(registry))
    accepts = [b"text/plain", OPENMETRICS.encode(), b"text/plain;version=1.0.0"]

    async def scraper(accept: bytes, until: float) -> None:
        while time.perf_counter() < until:
            await exchange(endpoint, "/metrics", headers=[(b"accept", accept)])

    async def flood() -> None:
        until = time.perf_counter() + 1
        await asyncio.gather(*(scraper(accept, until) for accept in accepts))

    began = time.perf_counter()
    asyncio.run(flood())
    assert len(collections) <= (time.perf_counter() - began) / 0.1 + 2


def test_one_scraper_alone_does_not_wait() -> None:
    registry, _ = slow_registry(0)
    endpoint = MetricsEndpoint(Exposition(registry))

    async def scrapes() -> float:
        began = time.perf_counter()
        for _ in range(10):
            await exchange(endpoint, "/metrics")
        return time.perf_counter() - began

    assert asyncio.run(scrapes()) < 1


def test_a_scraper_that_leaves_takes_nothing_from_the_others() -> None:
    registry, _ = slow_registry(0.2)
    endpoint = MetricsEndpoint(Exposition(registry))

    async def scrapes() -> None:
        leaving = asyncio.create_task(exchange(endpoint, "/metrics"))
        staying = asyncio.create_task(exchange(endpoint, "/metrics"))
        await asyncio.sleep(0.05)
        leaving.cancel()
        assert (await staying)[0]["status"] == 200
        with pytest.raises(asyncio.CancelledError):
            await leaving

    asyncio.run(scrapes())


def test_formats_that_are_asked_for_at_once_are_all_whole(measured: Measured) -> None:
    def callback(_: CallbackOptions) -> Iterator[Observation]:
        time.sleep(0.05)
        yield Observation(1)

    measured.provider.get_meter("slow").create_observable_gauge("slow", callbacks=[callback])

    async def scrapes() -> None:
        accepts = [OPENMETRICS.encode(), b"text/plain"] * 3
        answers = await asyncio.gather(
            *(exchange(measured.app, "/metrics", headers=[(b"accept", each)]) for each in accepts)
        )
        for accept, answer in zip(accepts, answers, strict=True):
            text = answer[1]["body"].decode()
            series = parse(text) if accept == b"text/plain" else parse_openmetrics(text)
            assert values(series, "app_requests_total") == {("GET", "unmatched"): 1}
            assert values(series, "slow") == {(): 1}

    asyncio.run(scrapes())
