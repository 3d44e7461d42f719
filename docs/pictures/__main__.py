"""Draw the service dashboard's first screen into docs/pictures, from real requests.

An app and Prometheus run until there is enough to see; one path fails in the last minutes. The
page that draws is Grafana's own components without its server. Needs
prometheus, npm, and Chromium with a Korean font (Debian: chromium, fonts-noto-cjk). Some 500 MB of
packages are kept in the user's cache folder.
"""

import argparse
import asyncio
import math
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docs.pictures.shop import PATHS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PICTURES = {
    "service_dashboard.en.json": "service_dashboard.png",
    "service_dashboard.json": "service_dashboard.ko.png",
}
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
FAILURE = 400.0
CONFIGURATION = """
global: {{scrape_interval: 5s, evaluation_interval: 5s}}
rule_files: ["{root}/prometheus/rules/*.yml"]
scrape_configs:
  - job_name: fastapi
    static_configs:
      - targets: ["127.0.0.1:{app}"]
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(*command: str, **environment: str) -> Iterator[None]:
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _load(port: int, seconds: float) -> None:
    """Some forty requests per second, more and fewer in turn."""

    async def ask(path: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        path = path.replace("{item}", str(random.randrange(95)))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n".encode())
        await reader.read()
        writer.close()

    began = time.monotonic()
    tasks = set()
    while (passed := time.monotonic() - began) < seconds:
        task = asyncio.create_task(ask(random.choice(list(PATHS))))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(random.expovariate(40 + 15 * math.sin(passed / 60)))


def _built() -> Path:
    """The folder with the page, ready to be drawn."""
    folder = CACHE / "fastapi-otel-metrics/picture"
    shutil.copytree(
        HERE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py", "*.png", "__*")
    )
    install = ["npm", "install", "--legacy-peer-deps", "--ignore-scripts", "--silent"]
    subprocess.run(install, cwd=folder, check=True)
    public = folder / "node_modules/@grafana/ui/dist/public"
    shutil.copytree(public, folder / "public/public", dirs_exist_ok=True)
    subprocess.run(["npx", "vite", "build", "--logLevel", "error"], cwd=folder, check=True)
    return folder


def main() -> None:
    """Run the app, and draw."""
    parser = argparse.ArgumentParser(prog="python -m docs.pictures", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15, help="of requests; default: 15")
    seconds = parser.parse_args().minutes * 60
    page = _built()
    app, prometheus = _free_port(), _free_port()
    url = f"http://127.0.0.1:{prometheus}"
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder, "prometheus.yml")
        configuration.write_text(CONFIGURATION.format(root=ROOT, app=app))
        with (
            _running(
                *(sys.executable, "-m", "uvicorn", "docs.pictures.shop:app"),
                *("--port", str(app), "--no-access-log"),
                FAILS_AFTER=str(seconds - FAILURE),
            ),
            _running(
                "prometheus",
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder}/data",
                "--enable-feature=created-timestamp-zero-ingestion",
                f"--web.listen-address=127.0.0.1:{prometheus}",
                "--web.cors.origin=.*",
            ),
        ):
            time.sleep(5)
            asyncio.run(_load(app, seconds))
            for dashboard, picture in PICTURES.items():
                source = ROOT / "grafana/provisioning/dashboards" / dashboard
                target = ROOT / "docs/pictures" / picture
                target.parent.mkdir(exist_ok=True)
                subprocess.run(["node", "shoot.mjs", url, source, target], cwd=page, check=True)
                print(target.relative_to(ROOT))


if __name__ == "__main__":
    main()
