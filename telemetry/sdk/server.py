"""The metrics on a port of their own, away from the application's."""

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from threading import Thread

from telemetry.sdk.exposition import PATIENCE, Exposition, form_for


class MetricsServer(ThreadingHTTPServer):
    """Serves ``/metrics`` (GET and HEAD) and nothing else, in threads of its own.

    Parameters:
        exposition: What is shown.
        host: The address to listen on.
        port: The port to listen on.

    Raises:
        OSError: Nothing can listen there.
    """

    daemon_threads = True

    def __init__(self, exposition: Exposition, host: str, port: int) -> None:
        self.exposition = exposition
        if ":" in host:
            self.address_family = AF_INET6
        super().__init__((host, port), _Handler)
        Thread(target=self.serve_forever, name="metrics server", daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    server_version = "metrics"
    sys_version = ""
    # For a client that sends nothing; a scrape's own text takes as long as it takes.
    timeout = 30

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.path.split("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, "Only /metrics is served here")
            return
        form = form_for(
            ",".join(self.headers.get_all("Accept") or ()),
            ",".join(self.headers.get_all("Accept-Encoding") or ()),
        )
        try:
            text = self.server.exposition.write(form).result(PATIENCE)
        except Exception as fault:
            text = self.server.exposition.before(form, fault)
        self.send_response(HTTPStatus.OK)
        for name, value in text.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Scrapes are not worth a line each."""
