"""Expositions as values that a test can compare."""

from collections.abc import Mapping

from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Series:
    """Every sample of a Prometheus exposition, by name and labels; a series twice is an error."""
    series: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in series, f"twice: {sample.name}{sample.labels}"
            series[key] = sample.value
    return series


def parse_openmetrics(text: str) -> Series:
    """The same for OpenMetrics, whose parser is strict about the whole format."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in openmetrics_parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


def values(series: Series, name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric by its labels' values, in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(labels)): value
        for (each, labels), value in series.items()
        if each == name
    }


def label_names(series: Series, name: str) -> set[tuple[str, ...]]:
    """The sets of labels that the series of one metric have."""
    return {tuple(sorted(label for label, _ in labels)) for each, labels in series if each == name}


def total(series: Series, name: str, **labels: str) -> float:
    """The sum over the series of a metric that have these labels."""
    wanted: Mapping[str, str] = labels
    return sum(
        value
        for (each, has), value in series.items()
        if each == name and wanted.items() <= dict(has).items()
    )
