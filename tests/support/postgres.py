"""A real PostgreSQL server."""

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.processes import free_port, program, wait_for


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a server's database, to which everybody has access until the end of the block."""
    # Where all of its programs are, of which a link may be on the PATH.
    bin_ = Path(program("pg_ctl")).resolve().parent
    # It refuses to be run by root.
    user = "nobody" if os.getuid() == 0 else None
    port = free_port()
    with TemporaryDirectory() as folder:
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data = f"{folder}/data"

        def run(name: str, *arguments: str) -> None:
            command = [str(bin_ / name), f"--pgdata={data}", *arguments]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=60, user=user, cwd=folder
            )
            assert done.returncode == 0, done.stdout + done.stderr

        run("initdb", "--auth=trust", "--username=postgres", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
        command = [str(bin_ / "postgres"), "-D", data, *options.split()]
        with (Path(folder) / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd=folder)
        try:
            ready = "ready to accept connections"
            written = Path(folder) / "log"
            wait_for(lambda: ready in written.read_text() or server.poll() is not None, ready)
            assert server.poll() is None, written.read_text()
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            # At once, also with clients that are connected.
            server.send_signal(signal.SIGQUIT)
            server.wait(30)
