"""Pages in all formats, of what a service has measured and of prometheus_client's registry."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from prometheus_client import generate_latest

from telemetry.sdk.exposition.classic import ClassicBuckets
from telemetry.sdk.exposition.families import FamilyWriter
from telemetry.sdk.exposition.native import NativeWriter
from telemetry.sdk.exposition.negotiation import Exposition
from telemetry.sdk.exposition.page import Add
from telemetry.sdk.exposition.registry import has_collectors, openmetrics_text, registry_text
from telemetry.sdk.exposition.registry_protobuf import protobuf_family
from telemetry.sdk.exposition.text import TextWriter
from telemetry.sdk.service import Reading
from telemetry.sdk.steps import Steps

_CREATED = "PROMETHEUS_DISABLE_CREATED_SERIES"
# How a family of prometheus_client's registry is written.
_FAMILIES: dict[Exposition, Callable[[Any], bytes]] = {
    Exposition.TEXT: generate_latest,
    Exposition.OPENMETRICS: openmetrics_text,
    Exposition.PROTOBUF: protobuf_family,
}


class PageWriter:
    """Writes pages, and keeps what was written in each format for the next one."""

    def __init__(self) -> None:
        # prometheus_client's own variable: without these lines the page has fewer series.
        created = os.environ.get(_CREATED, "").strip().lower() not in ("true", "1", "t")
        self._writers: dict[Exposition, FamilyWriter] = {
            Exposition.TEXT: TextWriter(False),
            Exposition.OPENMETRICS: TextWriter(True, created),
            Exposition.PROTOBUF: NativeWriter(),
        }
        self._classic = ClassicBuckets()

    def steps(
        self, reading: Reading, exposition: Exposition, shows_registry: bool, add: Add
    ) -> Steps[None]:
        """Write a page in steps."""
        registry = partial(registry_text, _FAMILIES[exposition], reading.several)
        further = registry if shows_registry else lambda _: b""
        about = reading.resource.attributes
        classic = yield from self._classic.steps(reading.snapshot)
        for parts in self._writers[exposition].slices(classic, about, further):
            if parts is None:
                yield shows_registry and has_collectors()
            else:
                add(parts)
                yield False
