"""What `telemetry.instrument` takes, refuses, and does with it."""

import asyncio
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import StreamingResponse
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

import telemetry
from telemetry.request_names import names_in
from tests.support import protobuf
from tests.support.applications import Measured, exchange
from tests.support.series import label_names, total, values

DURATION = "app_requests_processing_time_seconds_bucket"


def measured(**options: Any) -> Measured:
    result = Measured(instrument=False)

    @result.app.get("/items/{item_id}")
    async def item(item_id: int) -> int:
        return item_id

    result.instrument(**options)
    return result


def bounds(app: Measured) -> set[str]:
    app.client.get("/items/1")
    return {dict(labels)["le"] for name, labels in app.series() if name == DURATION}


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"excluded_paths": "/health"}, TypeError, "a list of paths: '/health'"),
        ({"request_metrics": "http"}, ValueError, "'app', 'http.server', 'both': 'http'"),
        ({"excluded_paths": ["health"]}, ValueError, "begin with a slash: 'health'"),
        ({"excluded_paths": [1]}, TypeError, "excluded_paths takes a list of paths"),
        ({"meter_provider": "x"}, TypeError, "meter_provider takes a MeterProvider: 'x'"),
        ({"buckets": "0.1"}, TypeError, "list of seconds: '0.1'"),
        ({"buckets": 0.1}, TypeError, "list of seconds: 0.1"),
        ({"buckets": ["0.1"]}, TypeError, "list of seconds"),
        ({"buckets": [1, 0.5]}, ValueError, "ascend"),
        ({"buckets": []}, ValueError, "must be a non-empty, ascending list of seconds"),
        ({"buckets": [float("nan")]}, ValueError, "ascend"),
        ({"labels": ["team"]}, TypeError, "mapping of names to values"),
        ({"labels": {"team": 1}}, TypeError, r"labels\['team'\] takes a string or telemetry"),
        ({"labels": {"my-team": "x"}}, ValueError, "'my-team' is not the name"),
        ({"labels": {"path": "x"}}, ValueError, "'path' is taken"),
        ({"in_progress_by_route": 1}, TypeError, "in_progress_by_route takes True or False: 1"),
        ({"body_sizes": "yes"}, TypeError, "body_sizes takes True or False: 'yes'"),
        ({"prometheus_client_metrics": 1}, TypeError, "takes True or False: 1"),
        ({"native_histograms": 1}, TypeError, "native_histograms takes True or False: 1"),
        ({"metrics_path": 1}, TypeError, "metrics_path takes a path: 1"),
        ({"metrics_path": "internal"}, ValueError, "such as '/internal/metrics': 'internal'"),
        ({"metrics_path": "/"}, ValueError, "such as '/internal/metrics': '/'"),
        ({"metrics_path": "/metrics/"}, ValueError, "such as '/internal/metrics'"),
        ({"metrics_path": "/{path}"}, ValueError, "such as '/internal/metrics'"),
        ({"metrics_path": ""}, ValueError, "such as '/internal/metrics': ''"),
        ({"metrics_dependencies": Depends(print)}, TypeError, r"list of Depends\(...\)"),
        ({"metrics_dependencies": [print]}, TypeError, r"list of Depends\(...\)"),
        ({"bucket": [1]}, TypeError, "unexpected keyword argument 'bucket'"),
    ],
)
def test_what_is_wrong_is_an_error_at_the_call(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        telemetry.instrument(FastAPI(), **options)


def test_a_label_takes_a_list_of_values() -> None:
    with pytest.raises(TypeError, match="values takes a list of strings: 'abc'"):
        telemetry.RequestLabel("abc")
    with pytest.raises(TypeError, match="values takes a list of strings"):
        telemetry.RequestLabel([1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="header takes the name"):
        telemetry.RequestLabel(["a"], header=["x"])  # type: ignore[arg-type]


def test_the_buckets_of_the_durations() -> None:
    assert bounds(measured(buckets=(0.5, 1))) == {"0.5", "1.0", "+Inf"}
    assert bounds(measured(buckets=[0.5, float("inf")])) == {"0.5", "+Inf"}


def test_a_view_wins_over_the_buckets() -> None:
    app = Measured(instrument=False)
    view = View(
        instrument_type=Histogram, aggregation=ExplicitBucketHistogramAggregation(boundaries=[7])
    )
    app.provider = MeterProvider(views=[view], shutdown_on_exit=False)
    app.instrument(buckets=[0.5])
    assert bounds(app) == {"7.0", "+Inf"}


def natives(app: Measured) -> set[str]:
    app.client.get("/items/1")
    app.provider.get_meter("shop").create_histogram("wait").record(1)
    answer = app.client.get("/metrics", headers={"accept": f"{protobuf.ACCEPT},*/*;q=0.1"})
    if answer.headers["content-type"].startswith("text/plain"):
        return set()
    return {name for name, _ in protobuf.decode(answer.content).natives}


@pytest.mark.parametrize(
    ("variable", "option", "native"),
    [
        ("", None, False),
        ("", True, True),
        (" TRUE ", None, True),
        ("true", False, False),
        ("false", True, True),
        ("yes", None, False),
    ],
)
def test_native_histograms_where_they_are_asked_for(
    variable: str, option: bool | None, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRY_NATIVE_HISTOGRAMS", variable)
    app = measured(native_histograms=option)
    asked = {"app_requests_processing_time_seconds", "wait"}
    assert natives(app) & asked == (asked if native else set())
    assert ("0.0078125" in bounds(app)) is native
    assert ("0.005" in bounds(app)) is not native
    named = app.client.get("/metrics?name[]=wait_sum", headers={"accept": protobuf.ACCEPT})
    assert named.text.splitlines()[-1] == "wait_sum 1.0"


def test_of_applications_that_share_a_provider_the_first_decides_about_native_histograms(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = measured(), Measured(instrument=False)
    second.provider = first.provider
    second.instrument()
    assert not caplog.messages
    third = Measured(instrument=False)
    third.provider = first.provider
    third.instrument(native_histograms=True)
    (line,) = caplog.messages
    assert line.startswith("native_histograms=True: /metrics was set up before")
    assert "TELEMETRY_NATIVE_HISTOGRAMS=true" in line
    assert not natives(third)


def test_two_applications_with_different_buckets_need_two_providers() -> None:
    one, other = measured(), Measured(instrument=False)
    own, other.provider = other.provider, one.provider
    with pytest.raises(ValueError, match="or a meter provider of its own"):
        other.instrument(buckets=[1])
    other.provider = own
    other.instrument(buckets=[1])
    assert bounds(other) == {"1.0", "+Inf"}


def test_requests_in_progress_by_method_and_route(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> list[dict[tuple[str, ...], float]]:
        app = measured(in_progress_by_route=True, excluded_paths=["/metrics", "/left-out/{name}"])
        go_on = asyncio.Event()

        @app.app.get("/left-out/{name}")
        @app.app.get("/wait/{name}")
        async def wait(name: str) -> None:
            await go_on.wait()

        async def scrape() -> dict[tuple[str, ...], float]:
            *_, body = await exchange(app.app, "/metrics")
            text = body["body"].decode()
            lines = [line for line in text.splitlines() if line.startswith("app_requests_in_p")]
            found = dict[tuple[str, ...], float]()
            for line in lines:
                name, _, value = line.rpartition(" ")
                found[tuple(name.split('"')[1::2])] = float(value)
            return found

        shown = [await scrape()]
        waiting = [asyncio.create_task(exchange(app.app, f"/wait/{each}")) for each in "ab"]
        waiting.append(asyncio.create_task(exchange(app.app, "/left-out/c")))
        waiting.append(asyncio.create_task(exchange(app.app, "/wait/c", method="BREW")))
        await asyncio.sleep(0.01)
        shown.append(await scrape())
        go_on.set()
        await asyncio.gather(*waiting)
        return [*shown, await scrape()]

    before, during, after = asyncio.run(run())
    assert before == {}
    assert during == {("GET", "/wait/{name}"): 2}
    assert after == {("GET", "/wait/{name}"): 0}
    assert caplog.messages == []


def test_the_sizes_of_bodies() -> None:
    app = measured(body_sizes=True)

    @app.app.post("/upload")
    async def upload(request: Request) -> StreamingResponse:
        content = await request.body()
        return StreamingResponse(iter([content, content]))

    @app.app.post("/ignore")
    async def ignore(request: Request) -> None:
        return None

    # In chunks, without Content-Length.
    app.client.post("/upload", content=iter([b"x" * 2000, b"x" * 3000]))
    app.client.post("/ignore", content=b"x" * 5000)
    app.client.get("/items/123")
    app.client.head("/docs")
    series = app.series()
    read, answered = "app_request_body_size_bytes_sum", "app_response_body_size_bytes_sum"
    assert total(series, read, path="/upload") == 5_000
    assert total(series, answered, path="/upload") == 10_000
    # What the application has not read has not been read.
    assert total(series, read, path="/ignore") == 0
    assert total(series, answered, path="/ignore") == len("null")
    assert total(series, answered, path="/items/{item_id}") == len("123")
    assert total(series, "app_request_body_size_bytes_count") == 3
    assert not any("body_size" in name for name, _ in measured().series())


def test_a_dependency_that_a_scrape_must_pass() -> None:
    def only_monitoring(x_key: Annotated[str | None, Header()] = None) -> None:
        if x_key != "monitoring":
            raise HTTPException(403, "not for you")

    app = measured(metrics_dependencies=[Depends(only_monitoring)])
    app.client.get("/items/1")
    denied = app.client.get("/metrics")
    assert (denied.status_code, denied.json()) == (403, {"detail": "not for you"})
    accept = {"accept": "application/openmetrics-text"}
    passed = app.client.get("/metrics", headers={"x-key": "monitoring", **accept})
    assert passed.headers["content-type"].startswith("application/openmetrics-text")
    assert 'app_requests_total{method="GET",path="/items/{item_id}"} 1.0' in passed.text
    assert app.client.head("/metrics", headers={"x-key": "monitoring"}).status_code == 200
    assert "/metrics" not in app.client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize("by_variable", [False, True])
def test_another_path_for_the_metrics(by_variable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if by_variable:
        monkeypatch.setenv("TELEMETRY_METRICS_PATH", " /internal/metrics")
    app = measured(**({} if by_variable else {"metrics_path": "/internal/metrics"}))
    app.app.get("/{part}/metrics")(lambda part: "own")
    for path in ("/internal/metrics", "/other/metrics", "/metrics"):
        answer = app.client.get(path)
        assert (path == "/internal/metrics") is ("app_memory_usage_bytes" in answer.text)
        assert answer.status_code == (404 if path == "/metrics" else 200)
    series = app.series("/internal/metrics")
    # As by default, neither the metrics nor what an application may have at /metrics is counted.
    assert values(series, "app_requests_total") == {("GET", "/{part}/metrics"): 1}


def test_another_path_is_counted_where_the_metrics_are() -> None:
    app = measured(metrics_path="/internal/metrics", excluded_paths=["/health"])
    app.client.get("/internal/metrics")
    series = app.series("/internal/metrics")
    assert values(series, "app_requests_total") == {("GET", "/internal/metrics"): 1}


def test_the_argument_wins_over_the_variable_which_may_be_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TELEMETRY_METRICS_PATH", "internal metrics")
    measured(metrics_path="/x").series("/x")
    assert caplog.messages == []
    measured().series("/metrics")
    assert caplog.messages == [
        "TELEMETRY_METRICS_PATH=internal metrics: not a path such as /internal/metrics. The "
        "default is taken, /metrics."
    ]


def test_the_variable_that_chooses_the_names(caplog: pytest.LogCaptureFixture) -> None:
    chosen = {
        given: names_in({"TELEMETRY_REQUEST_METRICS": given})
        for given in ("", "app", " http.server", "both", "http")
    }
    assert list(chosen.values()) == [None, "app", "http.server", "both", None]
    (line,) = caplog.messages
    assert line == "TELEMETRY_REQUEST_METRICS=http: unknown; valid are app, http.server, both"


def test_no_series_has_labels_that_were_not_declared() -> None:
    app = measured(labels={})
    app.client.get("/items/1")
    assert label_names(app.series(), "app_requests_total") == {("method", "path")}
