"""The objectives in prometheus/objectives.toml, and which requests break them."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deploy.names import Names

PATH = Path(__file__).parents[1] / "prometheus/objectives.toml"
_KEYS = {
    "period": str,
    "links": {"runbook": str, "grafana": str},
    "availability": {"share": float, "least": int},
    "latency": {"share": float, "seconds": float, "least": int},
    "paths": list,
}


@dataclass(frozen=True)
class Target:
    """The objective of some paths: of those that match, or of all that match no other one."""

    share: float
    seconds: float
    operator: Literal["=~", "!~"]
    paths: str

    @property
    def budget(self) -> float:
        """The share of requests that may break the objective."""
        return round(1 - self.share, 9)

    def matcher(self, label: str) -> str:
        """What selects the paths by this label; nothing if it is all of them."""
        pattern = self.paths.replace("\\", "\\\\")
        return f'{label}{self.operator}"{pattern}"' if pattern else ""


@dataclass(frozen=True)
class Objective:
    """Of all services, with what differs for some paths. The first target is the general one."""

    name: Literal["availability", "latency"]
    least: int
    targets: tuple[Target, ...]

    def broken(self, names: Names, window: str, by: str, *matchers: str) -> str:
        """How many requests have broken it; nothing if there are none."""
        return " or ".join(
            self._broken(each, names, window, by, *matchers, each.matcher(names.path))
            for each in self.targets
        )

    def _broken(self, target: Target, names: Names, window: str, by: str, *matchers: str) -> str:
        if self.name == "availability":
            status = f'{names.status}=~"5.."'
            return names.total(names.responses, by, window, *matchers, status)
        # Whether or not the histogram has this bound, and however it is written.
        asked = f"histogram_fraction(0, {target.seconds:g}, {{}})"
        fast = names.observed(asked, names.latency, by, window, *matchers)
        # Of each request there is one duration. Not a number where there were none; a zero has to
        # stay, lest metrics of other names take the place of these.
        return f"((1 - ({fast})) * {names.total(names.requests, by, window, *matchers)} >= 0)"

    def allowed(self, names: Names, window: str, by: str, *matchers: str) -> str:
        """How many of the requests may break it."""

        def counted(target: Target) -> str:
            chosen = (by, window, *matchers, target.matcher(names.path))
            if self.name == "availability":
                return names.total(names.responses, *chosen, names.answered)
            return names.total(names.requests, *chosen)

        return " or ".join(f"{each.budget:g} * {counted(each)}" for each in self.targets)


@dataclass(frozen=True)
class Objectives:
    """All that the file says."""

    period: str
    runbook: str
    grafana: str
    availability: Objective
    latency: Objective

    @property
    def both(self) -> tuple[Objective, Objective]:
        """Each objective."""
        return self.availability, self.latency


def _check(content: Any, keys: Any, where: str) -> None:
    """Refuse what is misspelt or of another type, so that no wish goes unheard."""
    if isinstance(keys, dict):
        if content.keys() - {"paths"} != keys.keys() - {"paths"}:
            wrong = sorted(content.keys() ^ keys.keys())
            raise SystemExit(f"{PATH.name}: {where}: unknown or missing: {', '.join(wrong)}")
        for key, value in content.items():
            _check(value, keys[key], f"{where}.{key}")
    elif not isinstance(content, keys):
        raise SystemExit(f"{PATH.name}: {where} must be a {keys.__name__}")


def read(text: str | None = None) -> Objectives:
    """The objectives of the file, or of its text."""
    content = tomllib.loads(PATH.read_text(encoding="utf-8") if text is None else text)
    _check(content, _KEYS, "the file")
    paths = content.pop("paths", [])
    for each in paths:
        if "path" not in each or each.keys() - {"path", "availability", "latency"}:
            raise SystemExit(f"{PATH.name}: [[paths]] has path, availability and latency: {each}")

    def objective(name: Literal["availability", "latency"]) -> Objective:
        general = content[name]
        other = {each["path"]: each[name] for each in paths if name in each}
        targets = [Target(general["share"], general.get("seconds", 0.0), "!~", "|".join(other))]
        targets += [
            Target(value["share"], value.get("seconds", 0.0), "=~", path)
            for path, value in other.items()
            if value is not False
        ]
        return Objective(name, general["least"], tuple(targets))

    return Objectives(
        content["period"],
        **content["links"],
        availability=objective("availability"),
        latency=objective("latency"),
    )
