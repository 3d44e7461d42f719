"""The rules for Prometheus: of the objectives, and the links that each alert has."""

import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.names import APP, HTTP, Names
from deploy.objectives import Objective, Objectives, read

_ROOT = Path(__file__).parents[1]
Pairs = tuple[tuple[float, str, str], ...]

# How many times as fast as allowed, over a long window and still over a short one: see "Alerting on
# SLOs" in Google's Site Reliability Workbook. The budget of 30 days lasts 50 hours, 5 days, 10, 30.
PAGES: Pairs = ((14.4, "1h", "5m"), (6, "6h", "30m"))
TICKETS: Pairs = ((3, "1d", "2h"), (1, "3d", "6h"))
WINDOWS = sorted({each for _, *windows in (*PAGES, *TICKETS) for each in windows})
EXCEPTIONS = "job_path_type:app_exceptions:increase1h"
COUNTED = ("5m", "1h")
"""The windows that are asked of the counters themselves; the others are sums of five minutes."""

_HEAD = """\
# Made from objectives.toml by: python -m grafana
#
# allowed: how many requests may break the objective. bad: how many have broken it. burn: how many
# times as many as allowed that is. Both names of metrics are known, app_* and http_server_*.
groups:
  - name: fastapi-objectives
    rules:"""

_OPERATOR = """\
# Made from prometheus/rules and prometheus/native by: python -m grafana
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: fastapi
  labels: { release: kube-prometheus-stack }
spec:
  groups:
"""

_WORDS = {
    "availability": ("Errors", "{share:.4g} % of the responses are no server errors", "error"),
    "latency": ("Slow", "{share:.4g} % of the responses begin within {seconds:g} s", "slow"),
}
_DO = {
    "availability": (
        "See in the table of the dashboard which path fails. The app's log at that time has the "
        "text of the exceptions below. If all paths fail, look at what they share: the database, "
        "another service, the last release."
    ),
    "latency": (
        "See in the table of the dashboard which path is slow. If all are, look at the event loop, "
        "the threads and the CPU; if one is, look at what it waits for."
    ),
}


def _exceptions(level: str) -> str:
    """What a template shows of the exceptions that an alert may be about."""
    labels = level.split("_")
    chosen = ", ".join(f"{each}=%q" for each in labels)
    values = " ".join(f"$labels.{each}" for each in labels)
    shown = '{{ . | label "error_type" }} ({{ . | label "path" }})'
    return (
        "The most frequent unhandled exceptions of the last hour: "
        f'{{{{ range printf "topk(3, {EXCEPTIONS}{{{chosen}}} > 0)" {values} | query }}}}'
        f"{shown}, {{{{ else }}}}none, {{{{ end }}}}as the panel Exceptions shows."
    )


def _record(name: str, expression: str, objective: str = "") -> str:
    labels = f"\n        labels: {{ objective: {objective} }}" if objective else ""
    lines = expression.replace("\n", "\n          ")
    return f"      - record: {name}\n        expr: |\n          {lines}{labels}"


def _counted(objective: Objective, window: str) -> Iterator[str]:
    def either(query: Callable[[Names, str, str], str]) -> str:
        one, other = (query(names, window, "job, path") for names in (APP, HTTP))
        return f"({one})\nor on (job)\n({other})"

    allowed = total("job_path", "allowed", window)
    yield _record(allowed, either(objective.allowed), objective.name)
    none = f"0 * {total('job_path', 'allowed', window, objective.name)}"
    bad = f"({either(objective.broken)})\nor on (job, path)\n{none}"
    yield _record(total("job_path", "bad", window), bad, objective.name)


def total(level: str, what: str, window: str, objective: str = "") -> str:
    """How many requests a window had, at the level of job or job_path."""
    selected = f'{{objective="{objective}"}}' if objective else ""
    if window in COUNTED:
        return f"{level}:app_objective_{what}:increase{window}{selected}"
    # Windows of five minutes beside each other: no long window is asked of the counters.
    return f"sum_over_time({level}:app_objective_{what}:increase5m{selected}[{window}:5m])"


def _recorded(objectives: Objectives) -> Iterator[str]:
    for window in COUNTED:
        for each in objectives.both:
            yield from _counted(each, window)
        for what in ("allowed", "bad"):
            name = f"app_objective_{what}:increase{window}"
            yield _record(f"job:{name}", f"sum by (job, objective) (job_path:{name})")
    for level in ("job", "job_path"):
        for window in WINDOWS:
            bad, allowed = (total(level, what, window) for what in ("bad", "allowed"))
            yield _record(f"{level}:app_objective:burn{window}", f"{bad} / ({allowed} > 0)")
    quantile = "job_path:app_requests_time_to_first_byte_seconds:p95_5m"
    asked = "histogram_quantile(0.95, {})"
    one, other = (
        names.observed(asked, names.latency, "job, path", "5m", function="rate")
        for names in (APP, HTTP)
    )
    yield _record(quantile, f"({one})\nor on (job)\n({other})")
    one, other = (
        names.total(names.requests, "job, path", "5m", function="rate") for names in (APP, HTTP)
    )
    yield _record("job_path:app_requests:rate5m", f"{one}\nor on (job)\n{other}")
    one, other = (
        names.total(names.exceptions, "job, path, error_type", "1h", names.failed)
        for names in (APP, HTTP)
    )
    # With the standard's names, those of WebSockets alone are counted by the other ones.
    yield _record(EXCEPTIONS, f"{one}\nor on (job, path)\n{other}")


def _alert(objective: Objective, level: str, severity: str) -> str:
    pairs = PAGES if severity == "critical" else TICKETS
    word, promise, kind = _WORDS[objective.name]
    general = objective.targets[0]
    promise = promise.format(share=100 * general.share, seconds=general.seconds)
    selected = f'{{objective="{objective.name}"}}'
    conditions = "\nor\n".join(
        f"(\n  {level}:app_objective:burn{long}{selected} > {burn}\n"
        f"  and {level}:app_objective:burn{short}{selected} > {burn}\n"
        f"  and {total(level, 'bad', long, objective.name)} >= {objective.least}\n)"
        for burn, long, short in pairs
    ).replace("\n", "\n          ")
    burns = '{{ $value | printf "%.1f" }}'
    where = "{{ $labels.job }}" + (" {{ $labels.path }}" if level == "job_path" else "")
    name = f"FastAPI{'Path' if level == 'job_path' else ''}{word}"
    windows = ", or ".join(
        f"{burn:g} times as fast over {long} and {short}" for burn, long, short in pairs
    )
    text = (
        f"The objective is that {promise}; objectives.toml may have another one for a path. The "
        f"error budget is used up faster than the objective allows: {windows}. At least "
        f"{objective.least} requests broke the objective. {_DO[objective.name]}"
    )
    lines = textwrap.wrap(text, 88)
    if objective.name == "availability":
        lines.append(_exceptions(level))
    description = "\n".join(lines).replace("\n", "\n            ")
    return f"""\
      - alert: {name}
        expr: |
          {conditions}
        labels:
          severity: {severity}
        annotations:
          summary: '{where}: the {kind} budget burns {burns} times too fast'
          description: >-
            {description}"""


def objectives_rules(objectives: Objectives) -> str:
    """Recording rules and alerts that tell whether the objectives hold."""
    alerts = [
        _alert(objective, level, severity)
        for objective in objectives.both
        for level in ("job", "job_path")
        for severity in ("critical", "warning")
    ]
    group = "\n  - name: fastapi-objectives-alerts\n    rules:"
    text = "\n".join([_HEAD, *_recorded(objectives), group, *alerts]) + "\n"
    return linked(text, objectives)


def linked(text: str, objectives: Objectives) -> str:
    """The rules, each alert with a link to its runbook and one to the dashboard in place of any."""
    text = re.sub(r" *(runbook_url|dashboard): .*\n", "", text)

    def links(found: re.Match[str]) -> str:
        name, body = found[1], found[0]
        chosen = "".join(
            f"&var-{label}={{{{ $labels.{label} | urlquery }}}}"
            for label, given in (("job", True), ("path", name.startswith("FastAPIPath")))
            if given and name != "FastAPIMetricsMissing"
        )
        # An alert is sent again and again; the link leads to the hour before it was sent last.
        moment = '{{{{ query "1000 * (time(){})" | first | value | printf "%.0f" }}}}'
        span = f"from={moment.format(' - 3600')}&to={moment.format('')}"
        page = f"{objectives.grafana}/d/fastapi-service-en?{span}{chosen}"
        return (
            f"{body}          runbook_url: {objectives.runbook}#{name.lower()}\n"
            f"          dashboard: '{page}'\n"
        )

    return re.sub(r"- alert: (\w+)\n(?: {8}.*\n)*? {8}annotations:\n", links, text)


def rules() -> dict[Path, str]:
    """The content of each file with rules: for Prometheus, and for its operator."""
    objectives = read()
    given = _ROOT / "prometheus/rules/fastapi.yml"
    texts = linked(given.read_text(encoding="utf-8"), objectives), objectives_rules(objectives)
    native = (_ROOT / "prometheus/native/counts.yml").read_text(encoding="utf-8")
    groups = "".join(
        textwrap.indent(each.partition("groups:\n")[2], "  ") for each in (*texts, native)
    )
    return {
        given: texts[0],
        given.with_name("objectives.yml"): texts[1],
        _ROOT / "deploy/kubernetes/operator/rules.yaml": _OPERATOR + groups,
    }
