"""The trace store, the log store and Grafana's data sources: that they name each other rightly.

Neither store runs here: their files are held to what the others say of them.
"""

import json
from typing import Any

import yaml

from tests.support.processes import ROOT


def content(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


PROVISIONING = ROOT / "grafana/provisioning"
COMPOSE = content("docker-compose.traces.yaml")["services"]
SOURCES = {each["uid"]: each for each in content("traces/datasources.yml")["datasources"]}


def test_the_app_exports_to_where_the_stores_listen() -> None:
    tempo, loki = content("traces/tempo.yaml"), content("traces/loki.yaml")
    environment = COMPOSE["app"]["environment"]
    (receiver,) = tempo["distributor"]["receivers"]["otlp"]["protocols"].values()
    port = receiver["endpoint"].partition(":")[2]
    assert environment["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == f"http://tempo:{port}/v1/traces"
    port = loki["server"]["http_listen_port"]
    assert environment["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] == f"http://loki:{port}/otlp/v1/logs"
    assert environment["OTEL_TRACES_EXPORTER"] == environment["OTEL_LOGS_EXPORTER"] == "otlp"
    assert SOURCES["tempo"]["url"] == f"http://tempo:{tempo['server']['http_listen_port']}"
    assert SOURCES["loki"]["url"] == f"http://loki:{port}"


def test_the_stores_keep_what_they_have_in_their_volumes() -> None:
    trace = content("traces/tempo.yaml")["storage"]["trace"]
    for path in (trace["wal"]["path"], trace["local"]["path"]):
        assert path.startswith("/var/tempo/")
    assert "tempo-data:/var/tempo" in COMPOSE["tempo"]["volumes"]
    common = content("traces/loki.yaml")["common"]
    for path in common["storage"]["filesystem"].values():
        assert path.startswith(f"{common['path_prefix']}/")
    assert f"loki-data:{common['path_prefix']}" in COMPOSE["loki"]["volumes"]


def test_every_mounted_file_is_there_and_grafanas_takes_the_place_of_its_own() -> None:
    mounted = [each for service in COMPOSE.values() for each in service.get("volumes", [])]
    sources = {target: source for source, target, *_ in (each.split(":") for each in mounted)}
    files = [source for source in sources.values() if source.startswith(".")]
    assert all((ROOT / source).is_file() for source in files)
    own = (PROVISIONING / "datasources/datasource.yml").relative_to(ROOT / "grafana")
    assert sources[f"/etc/grafana/{own}"] == "./traces/datasources.yml"


def test_prometheus_is_the_same_data_source_but_for_the_way_to_a_trace() -> None:
    (plain,) = content("grafana/provisioning/datasources/datasource.yml")["datasources"]
    linked = SOURCES["prometheus"]
    (destination,) = linked["jsonData"].pop("exemplarTraceIdDestinations")
    # The label that /metrics gives an exemplar.
    assert destination == {"name": "trace_id", "datasourceUid": "tempo"}
    assert linked == plain


def test_the_links_lead_to_data_sources_that_there_are() -> None:
    tempo, loki = SOURCES["tempo"]["jsonData"], SOURCES["loki"]["jsonData"]
    assert tempo["tracesToLogsV2"]["datasourceUid"] == "loki"
    assert tempo["tracesToMetrics"]["datasourceUid"] == "prometheus"
    (field,) = loki["derivedFields"]
    assert field["datasourceUid"] == "tempo"
    for text in (tempo["tracesToLogsV2"]["query"], field["url"]):
        # Grafana would put a variable of its own environment there.
        assert "$" not in text.replace("$$", "")


def test_the_latency_panel_shows_exemplars() -> None:
    panels = json.loads((PROVISIONING / "dashboards/service_dashboard.json").read_text())["panels"]
    panels += [inner for panel in panels for inner in panel.get("panels", [])]
    targets = [each for panel in panels for each in panel.get("targets", [])]
    shown = [each["expr"] for each in targets if each.get("exemplar")]
    # Grafana asks for those of the series in the expression, which has to name the buckets.
    assert shown
    assert all("app_requests_time_to_first_byte_seconds_bucket" in each for each in shown)
