"""The dashboard to run a service with: whether something is wrong, where, and since when."""

from deploy.names import APP, HTTP, Names
from deploy.objectives import read
from grafana.dashboards.operation import objectives, operation
from grafana.dashboards.overview import graphs, table, tiles
from grafana.dashboards.panels import DATASOURCE, Json, Text, dashboard, link, variable
from grafana.dashboards.paths import by_path
from grafana.dashboards.queries import ALERTS, CHOSEN, Queries, started
from grafana.dashboards.saturation import saturation


def _event(name: Text, series: str, colour: str, text: str) -> Json:
    """A mark on all graphs where a series begins."""
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "expr": started(series),
        "step": "60s",
        "titleFormat": text,
    }


def service(names: Names = APP) -> Json:
    """The dashboard of any number of services, instances and paths."""
    ask = Queries(names, read())
    known = '{__name__=~"app_memory_usage_bytes|ALERTS", alertname=~"FastAPI.*|"'
    word = "" if names is APP else " (http.server)"
    return dashboard(
        ask.uid,
        Text(f"FastAPI 서비스 대시보드{word}", f"FastAPI service{word}"),
        Text(
            "운영용 화면: 이상 여부, 문제가 있는 경로, 포화도, 알림",
            "For operation: whether something is wrong, on which path, saturation, alerts",
        ),
        [
            *tiles(ask),
            table(ask),
            *graphs(ask),
            *by_path(ask),
            *objectives(ask),
            *saturation(ask),
            *operation(),
        ],
        refresh="30s",
        links=[
            # Its panels would be empty with other names.
            *(
                [
                    link(
                        Text("튜토리얼 대시보드", "Tutorial dashboard"),
                        Text("fastapi-metrics", "fastapi-metrics-en"),
                    )
                ]
                if names is APP
                else []
            ),
            link(Text("English", "한국어"), Text(*reversed(ask.uid))),
        ],
        variables=[
            # Also jobs that only an alert knows: those that have never been up.
            variable("job", Text("잡 (job)", "Job"), f"{known}}}, job"),
            variable("instance", Text("인스턴스", "Instance"), f'{known}, job=~"$job"}}, instance'),
            variable(
                "path",
                Text("경로", "Path"),
                f"{names.select(names.requests, CHOSEN)}, {names.path}",
                ".*",
            ),
        ],
        annotations=[
            _event(
                Text("앱 시작", "Starts"),
                f"target_info{{{CHOSEN}}}",
                "blue",
                "{{instance}} {{service_version}}",
            ),
            _event(
                Text("알림", "Alerts"),
                f'{ALERTS}, alertstate="firing"}}',
                "red",
                "{{alertname}}",
            ),
        ],
    )


def service_http() -> Json:
    """The same for the names of OpenTelemetry's semantic conventions."""
    return service(HTTP)
