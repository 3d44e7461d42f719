"""Runs the benchmarks: ``python -m benchmarks``."""

import argparse
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks import (
    exemplars,
    flood,
    footprint,
    http,
    native,
    options,
    page,
    push,
    request,
    saturation,
    scaling,
    scrape,
    workers,
)
from benchmarks.table import Table

TABLES = {
    "request": request.run,
    "options": options.run,
    "zero-code": options.zero_code,
    "http": http.run,
    "scrape": scrape.run,
    "flood": flood.run,
    "memory": footprint.memory,
    "page-memory": footprint.page,
    "startup": footprint.startup,
    "workers": workers.run,
    "push": push.run,
    "page": page.run,
    "native": native.run,
    "scaling": scaling.run,
    "exemplars": exemplars.run,
    "saturation": saturation.run,
}
_VERSIONS = (
    "fastapi",
    "starlette",
    "uvicorn",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-fastapi",
    "prometheus_client",
    "prometheus-fastapi-instrumentator",
    "starlette_exporter",
)


def _machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {platform.system()}, "
        f"{platform.python_implementation()} {platform.python_version()}; {versions}. "
        "Medians, with the quartiles in parentheses; what is compared was measured in turn."
    )


def main() -> int:
    """Measure what was asked for; the exit status is 1 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)} (all)")
    parser.add_argument("--short", action="store_true", help="only to see that it works")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there, too")
    options = parser.parse_args()
    for name in options.tables:
        if name not in TABLES:
            parser.error(f"there is no table {name}; there are {', '.join(TABLES)}")
    tables: list[Table] = []
    failed = False
    for name in options.tables or TABLES:
        try:
            tables.append(TABLES[name](options.short))
        except Exception as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
        else:
            print(tables[-1].text(), flush=True)
    print(_machine())
    if options.markdown:
        text = "\n".join([*(table.markdown() for table in tables), _machine(), ""])
        options.markdown.write_text(text, encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
