"""The metrics on a port of their own, away from the application's."""

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from socketserver import TCPServer
from threading import Thread

from telemetry.sdk.exposition.negotiation import format_for
from telemetry.sdk.exposition.page import Page, reason
from telemetry.sdk.exposition.protection import CHALLENGE, DENIED, guard


class MetricsServer(ThreadingHTTPServer):
    """Serves ``/metrics`` (GET and HEAD) and nothing else, in threads of its own.

    Parameters:
        page: What is served.
        host: The address to listen on.
        port: The port to listen on.

    Raises:
        OSError: Nothing can listen there.
    """

    daemon_threads = True

    def __init__(self, page: Page, host: str, port: int) -> None:
        self.page = page
        self.allowed = guard()
        if ":" in host:
            self.address_family = AF_INET6
        super().__init__((host, port), _Handler)
        Thread(target=self.serve_forever, name="metrics server", daemon=True).start()

    def server_bind(self) -> None:
        """Bind without asking the resolver for the address's name, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    server_version = "metrics"
    sys_version = ""
    # For a client that connects and sends nothing.
    timeout = 30

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.path.split("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, "Only /metrics is served here")
            return
        if not self.server.allowed(self.headers.get("Authorization", "")):
            self._send(HTTPStatus.UNAUTHORIZED, CHALLENGE, DENIED.encode())
            return
        form = format_for(
            ",".join(self.headers.get_all("Accept") or ()),
            ",".join(self.headers.get_all("Accept-Encoding") or ()),
        )
        writing = self.server.page.get(form)
        content: bytes | BaseException | None = None
        with suppress(TimeoutError):
            content = writing.content.result(writing.remaining)
        status, headers = HTTPStatus.OK, form.headers
        if not isinstance(content, bytes):
            status, headers = HTTPStatus.SERVICE_UNAVAILABLE, {"content-type": "text/plain"}
            content = reason(writing).encode()
        self._send(status, headers, content)

    def _send(self, status: HTTPStatus, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Scrapes are not logged."""
