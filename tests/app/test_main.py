"""The tutorial's application, as somebody reads and calls it."""

from fastapi.testclient import TestClient

from app.main import app
from tests.support.processes import ROOT
from tests.support.series import label_names, parse, values

client = TestClient(app)


def test_its_endpoints() -> None:
    assert client.get("/").json() == {"message": "Hello World"}
    assert client.get("/health").json() == {"status": "ok"}
    assert 0.1 <= client.get("/random_sleep").json()["process_time"] <= 0.5
    assert client.get("/health/").status_code == 404


def test_increase_count_counts_its_own_calls_in_its_answer_and_in_its_metric() -> None:
    first = client.get("/increase_count").json()["count"]
    assert client.get("/increase_count").json()["count"] == first + 1
    series = parse(client.get("/metrics").text)
    assert values(series, "app_increase_count_total") == {(): first + 1}
    assert label_names(series, "app_increase_count_total") == {()}


def test_it_fits_on_a_page_and_knows_the_api_only() -> None:
    source = (ROOT / "app/main.py").read_text()
    assert len(source.splitlines()) <= 70
    assert "opentelemetry.sdk" not in source
    assert "prometheus_client" not in source
