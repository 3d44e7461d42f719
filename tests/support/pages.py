"""Pages that a function writes, and what a reader's page has."""

from collections.abc import Callable

from telemetry.sdk.exposition.negotiation import Exposition, Format
from telemetry.sdk.exposition.page import Add, Page
from telemetry.sdk.exposition.reader import EndpointReader
from telemetry.sdk.steps import Steps


def page_of(content: Callable[[Exposition], bytes]) -> Page:
    """A page that a function writes, which may block."""

    def write(exposition: Exposition, add: Add) -> Steps[None]:
        yield True
        add([content(exposition)])
        yield False

    return Page(write)


def text_of(reader: EndpointReader) -> str:
    """The page of a reader as text."""
    content = reader.page.get(Format(Exposition.TEXT, compressed=False)).content.result(10)
    assert isinstance(content, bytes)
    return content.decode()
