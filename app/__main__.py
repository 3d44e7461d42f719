"""Runs the application: ``python -m app``."""

import argparse
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from app.addresses import local, metrics_addresses
from app.logs import without_health_checks


def main(arguments: Sequence[str] | None = None) -> None:
    """Say where the application is to be found and hand over to uvicorn.

    Parameters:
        arguments: The command line's, by default those of this process.

    Raises:
        SystemExit: With a line that names the cause and the cure where the address cannot
            be listened on; with uvicorn's own status when the server ends.
    """
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="Run the tutorial's FastAPI application.",
        epilog="Every other option goes to uvicorn, as 'uvicorn --help' lists them.",
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (%(default)s)")
    parser.add_argument("--port", default=8000, type=_port, help="port to listen on (%(default)s)")
    parser.add_argument("--workers", type=int, metavar="N", help="worker processes (1)")
    parser.add_argument("--reload", action="store_true", help="restart when the code changes")
    options, rest = parser.parse_known_args(arguments)

    if problem := _cannot_listen(options.host, options.port):
        sys.exit(f"{parser.prog}: {problem}; choose another with --host and --port")
    # Compose publishes the port under a number of its own.
    address = os.environ.get("APP_URL") or local(options.host, options.port)
    lines = [f"Docs    {address}/docs"]
    lines += [f"Metrics {each}" for each in metrics_addresses(address)]
    print("\n".join(lines), flush=True)

    server = ["app.main:app", "--host", options.host, "--port", str(options.port), *rest]
    if options.workers is not None:
        server += ["--workers", str(options.workers)]
    if options.reload:
        server.append("--reload")
    without_health_checks(LOGGING_CONFIG)
    if hasattr(signal, "SIGQUIT"):
        # How app/healthcheck.sh ends an application that hangs: the log then says where. A shell
        # has programs in the background ignore the signal.
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        faulthandler.register(signal.SIGQUIT, chain=True)
    # uvicorn ends gracefully and then raises the signal once more, to end by it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.main(server, prog_name=parser.prog)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not between 0 and 65535")
    return port


def _cannot_listen(host: str, port: int) -> str | None:
    """Why nothing can listen there, or None: uvicorn finds out only after it has started."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return f"cannot listen on {host} port {port} ({error.strerror or error})"
    return None


if __name__ == "__main__":
    main()
