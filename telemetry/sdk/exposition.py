"""The text that a scrape gets, written at most once at a time."""

import gzip
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock, Thread

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, gzip_accepted
from prometheus_client.registry import Collector

from telemetry.quiet import quiet_logger
from telemetry.sdk.turns import Turns, without_garbage_collection

PATIENCE = 5.0
"""Seconds that a scrape waits for its text before it gets the last one."""

_RESTS = 4
_LONGEST_REST = 0.5

_logger = quiet_logger(__name__)

_KNOWN = re.compile(r"[^;]+; ?version=(?:0\.0\.4|1\.0\.0)(?:;[\x20-\x7e]{0,60})?")
_Encoder = Callable[[Collector], bytes]


@dataclass(frozen=True, slots=True)
class Text:
    """One exposition: its bytes and the headers that describe them."""

    content: bytes
    headers: dict[str, str]


class Exposition:
    """A registry in the Prometheus text format or, where asked, in OpenMetrics.

    The text is written by a thread of its own, so that a long one does not hold up an event
    loop; those who ask while one of the same form is being written get that one. Where it
    cannot be written or takes too long, they get the one before it. After each text comes a
    rest of four times as long as it took, half a second at most, so that a flood of scrapes
    leaves the processor to the application; those who ask meanwhile wait for the next text.

    Parameters:
        registry: What is shown.

    Attributes:
        reading: Held while the registry is read. OpenTelemetry's reader hands over what it
            has collected through a queue, so it must collect for one at a time.
        turns: Given to the thread beside the event loop that serves the application.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._writing: dict[_Form, Future[Text]] = {}
        self._written: dict[_Form, Text] = {}
        self._lock = Lock()
        self.reading = Lock()
        self.turns = Turns()
        self._rest_until = 0.0

    def write(self, form: "_Form") -> Future[Text]:
        """The text in a form: the one that is being written or, where none is, a new one.

        Parameters:
            form: What `form_for` has chosen.
        """
        with self._lock:
            text = self._writing.get(form)
            if text is not None:
                return text
            text = self._writing[form] = Future()

        def run() -> None:
            try:
                result = self._text(form)
            except Exception as error:
                self._done(form)
                text.set_exception(error)
            except BaseException as error:
                # Meant to end this thread, not the one that waits.
                self._done(form)
                text.set_exception(RuntimeError(f"collecting was ended by {error!r}"))
            else:
                self._written[form] = result
                self._done(form)
                text.set_result(result)

        # Not from a pool: a pool's threads are waited for when the process ends, and a
        # callback that hangs would keep it from ending.
        Thread(target=run, name="metrics", daemon=True).start()
        return text

    def before(self, form: "_Form", fault: BaseException) -> Text:
        """The last text of this form, or an empty one, where there is none now.

        Parameters:
            form: What `form_for` has chosen.
            fault: Why there is none; it is logged.
        """
        if isinstance(fault, TimeoutError):
            _logger.error(
                "The metrics were not collected within %g s, a callback or an exporter hangs; "
                "those of the last scrape are shown",
                PATIENCE,
            )
        else:
            _logger.error(
                "The metrics could not be written; those of the last scrape are shown",
                exc_info=fault,
            )
        return self._written.get(form) or _shown(form, form.encoder(CollectorRegistry()))

    def _text(self, form: "_Form") -> Text:
        while True:
            time.sleep(max(0.0, self._rest_until - time.monotonic()))
            with self.reading:
                began = time.monotonic()
                if began < self._rest_until:
                    # Another form was written meanwhile.
                    continue
                with self.turns.taken(), without_garbage_collection():
                    try:
                        content = form.encoder(self._registry)
                    except UnicodeEncodeError:
                        content = form.encoder(_Encodable(self._registry))
                ended = time.monotonic()
                self._rest_until = ended + min(_RESTS * (ended - began), _LONGEST_REST)
            return _shown(form, content)

    def _done(self, form: "_Form") -> None:
        with self._lock:
            del self._writing[form]


class _Encodable(Collector):
    """The same metrics, with a question mark for what UTF-8 has no bytes for.

    JSON can hold half of a surrogate pair, and so can a label that an application takes from
    it; https://datatracker.ietf.org/doc/html/rfc8259#section-8.2.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.documentation = _encodable(metric.documentation)
            metric.samples = [
                sample._replace(
                    labels={key: _encodable(value) for key, value in sample.labels.items()}
                )
                for sample in metric.samples
            ]
            yield metric


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class _Form:
    """How a text is to be written; two are the same whichever way they were asked for."""

    content_type: str
    compressed: bool
    encoder: _Encoder = field(compare=False)


def form_for(accept: str, accept_encoding: str) -> _Form:
    """The form that two request headers ask for.

    Parameters:
        accept: The value of ``Accept``, see
            https://prometheus.io/docs/instrumenting/content_negotiation/.
        accept_encoding: The value of ``Accept-Encoding``; gzip is used where it is named.
    """
    encoder, content_type = _choose(accept)
    return _Form(content_type, gzip_accepted(accept_encoding), encoder)


def _shown(form: _Form, content: bytes) -> Text:
    headers = {"content-type": form.content_type, "vary": "Accept, Accept-Encoding"}
    if form.compressed:
        content = gzip.compress(content, compresslevel=6)
        headers["content-encoding"] = "gzip"
    return Text(content, headers)


def _choose(accept: str) -> tuple[_Encoder, str]:
    try:
        encoder, content_type = choose_encoder(accept)
    except Exception:
        # prometheus_client reads version numbers that a client sends without checking them,
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    if not _KNOWN.fullmatch(content_type):
        # and puts them into its answer, of which there would be as many as there are numbers.
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    return encoder, content_type
