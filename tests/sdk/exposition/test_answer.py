"""/metrics over ASGI: formats, compression, methods, and who waits for whom."""

import asyncio
import gzip
import time
from collections.abc import Iterator

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from starlette.types import Message

from telemetry.sdk.exposition.answer import Answer
from telemetry.sdk.exposition.page import Page
from tests.support.applications import Measured, exchange
from tests.support.pages import page_of
from tests.support.series import parse, parse_openmetrics, values

OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
def measured() -> Measured:
    measured = Measured()
    measured.client.get("/nope")
    return measured


def test_text_is_the_default(measured: Measured) -> None:
    answer = measured.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert values(parse(answer.text), "app_requests_total") == {("GET", "unmatched"): 1}


def test_openmetrics_where_it_is_asked_for(measured: Measured) -> None:
    answer = measured.client.get("/metrics", headers={"accept": OPENMETRICS.decode()})
    assert answer.headers["content-type"] == OPENMETRICS.decode()
    assert answer.text.endswith("# EOF\n")
    series = parse_openmetrics(answer.text)
    assert values(series, "app_requests_total") == {("GET", "unmatched"): 1}
    (began,) = values(series, "app_requests_created").values()
    assert time.time() - 60 < began < time.time()


def test_no_lines_of_when_a_series_began_where_they_are_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROMETHEUS_DISABLE_CREATED_SERIES", "true")
    measured = Measured()
    measured.client.get("/nope")
    text = measured.client.get("/metrics", headers={"accept": OPENMETRICS.decode()}).text
    assert "app_requests_total" in text
    assert not [line for line in text.splitlines() if line.startswith("app") and "_created" in line]


def test_gzip_where_it_is_accepted(measured: Measured) -> None:
    plain = measured.client.get("/metrics", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    sent = asyncio.run(
        exchange(measured.app, "/metrics", headers=[(b"accept-encoding", b"gzip, br")])
    )
    assert (b"content-encoding", b"gzip") in sent[0]["headers"]
    assert values(parse(gzip.decompress(sent[1]["body"]).decode()), "app_requests_total")


@pytest.mark.parametrize("name", [b"accept", b"accept-encoding", b"authorization"])
def test_a_header_of_megabytes_holds_up_nobody(
    name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRY_METRICS_TOKEN", "s3cret")
    answer = Answer(page_of(lambda _: b"page"))
    token = [] if name == b"authorization" else [(b"authorization", b"Bearer s3cret")]

    async def took(value: bytes) -> float:
        began = time.perf_counter()
        sent = await exchange(answer, "/metrics", headers=[*token, (name, value)])
        assert sent[0]["status"] == (401 if name == b"authorization" else 200)
        return time.perf_counter() - began

    assert asyncio.run(took(b"a;b=c," * 2**20)) < 0.5


def test_get_and_head_only(measured: Measured) -> None:
    assert measured.client.head("/metrics").status_code == 200
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = measured.client.request(method, "/metrics")
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def slow_page(seconds: float) -> tuple[Page, list[float]]:
    collections: list[float] = []

    def write(*_: object) -> bytes:
        collections.append(time.monotonic())
        time.sleep(seconds)
        return f"slow {len(collections)}".encode()

    return page_of(write), collections


def test_other_requests_go_on_while_the_text_is_written() -> None:
    page, _ = slow_page(0.3)

    async def longest_gap() -> float:
        scrape = asyncio.create_task(exchange(Answer(page), "/metrics"))
        gaps, last = [], time.perf_counter()
        while not scrape.done():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now
        return max(gaps)

    assert asyncio.run(longest_gap()) < 0.25


def test_scrapes_that_overlap_share_one_writing_and_later_ones_are_fresh() -> None:
    page, collections = slow_page(0.1)
    endpoint = Answer(page)

    async def scrapes() -> None:
        answers = await asyncio.gather(*(exchange(endpoint, "/metrics") for _ in range(200)))
        assert {answer[1]["body"] for answer in answers} == {answers[0][1]["body"]}
        assert len(collections) == 1
        assert b"slow 2" in (await exchange(endpoint, "/metrics"))[1]["body"]

    asyncio.run(scrapes())


def test_a_flood_of_scrapes_leaves_the_processor_to_the_application() -> None:
    page, collections = slow_page(0.02)
    endpoint = Answer(page)
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


def test_formats_that_are_asked_for_in_turn_do_not_shorten_the_cooldown() -> None:
    page, collections = slow_page(0.02)
    endpoint = Answer(page)
    accepts = [b"text/plain", OPENMETRICS]

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
    page, _ = slow_page(0)
    endpoint = Answer(page)

    async def scrapes() -> float:
        began = time.perf_counter()
        for _ in range(10):
            await exchange(endpoint, "/metrics")
        return time.perf_counter() - began

    assert asyncio.run(scrapes()) < 1


def test_a_scraper_that_leaves_takes_nothing_from_the_others() -> None:
    page, _ = slow_page(0.2)
    endpoint = Answer(page)

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
        accepts = [OPENMETRICS, b"text/plain"] * 3
        answers = await asyncio.gather(
            *(exchange(measured.app, "/metrics", headers=[(b"accept", each)]) for each in accepts)
        )
        for accept, answer in zip(accepts, answers, strict=True):
            text = answer[1]["body"].decode()
            series = parse(text) if accept == b"text/plain" else parse_openmetrics(text)
            assert values(series, "app_requests_total") == {("GET", "unmatched"): 1}
            assert values(series, "slow") == {(): 1}

    asyncio.run(scrapes())


def test_a_scrape_is_answered_on_trio() -> None:
    trio = pytest.importorskip("trio")
    page, _ = slow_page(0.05)

    async def scrape() -> list[Message]:
        return await exchange(Answer(page), "/metrics")

    start, body = trio.run(scrape)
    assert (start["status"], body["body"]) == (200, b"slow 1")
