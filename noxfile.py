"""The unit tests on the lowest and on the newest supported versions: one session a cell.

``nox`` runs all cells, ``nox --session 'unit-3.14(lowest)'`` one. ``.ci/pythons`` gets the
interpreters that are missing.
"""

import os

import nox

nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = True
# An interpreter that is missing is an error and not fetched from anywhere.
os.environ["UV_PYTHON_DOWNLOADS"] = "never"

# Without what does not depend on the versions of packages: the slow ones, dashboards, documents.
UNIT_TESTS = ("tests", "-m", "not slow", "--ignore=tests/deployment", "--ignore=tests/docs")
# Where lines and branches are counted: there, Python itself does, at hardly a cost.
MEASURED = ("3.14", "newest")
# Where requests are counted by the SDK's own methods only, as all tests pass that way, too.
INDIRECT = "3.13"
# Python 3.13 is the image's, with the image's packages.
IMAGE = "3.13"
VERSIONS = """
import os
from importlib.metadata import version
from platform import python_version
names = "fastapi starlette opentelemetry-sdk prometheus-client uvicorn anyio pydantic".split()
direct = "direct " + os.environ.get("_TELEMETRY_DIRECT", "true")
versions = (f"{name} {version(name)}" for name in names)
print(f"python {python_version()}", *versions, direct, sep=", ")
"""


@nox.session(python=["3.11", "3.13", "3.14"])
@nox.parametrize("versions", ["lowest", "newest"], ids=["lowest", "newest"])
def unit(session: nox.Session, versions: str) -> None:
    """Run the unit tests, or the tests that are given."""
    constraints, more = [], []
    if versions == "lowest":
        constraints = ["--constraint", "constraints-lowest.txt"]
        # Old packages use what newer interpreters and packages have deprecated.
        # The app in app/ is no part of the package, and is tested with the newest ones.
        more = ["-W", "default", "--ignore=tests/app"]
    elif session.python == IMAGE:
        constraints = ["--constraint", "constraints.txt"]
    # Compiled at once: the tests start many processes, and old code warns when it is compiled.
    session.install("--compile-bytecode", "--editable", ".[unit]", *constraints)
    if session.python == INDIRECT:
        session.env["_TELEMETRY_DIRECT"] = "false"
    session.run("python", "-c", VERSIONS)
    tests = ("-q", "-p", "no:cacheprovider", *more, *(session.posargs or UNIT_TESTS))
    if (session.python, versions) != MEASURED or session.posargs:
        session.run("pytest", *tests)
        return
    session.install("coverage>=7.13,<8")
    files = {"COVERAGE_FILE": f"{session.create_tmp()}/coverage"}
    session.run("coverage", "erase", env=files)
    session.run("coverage", "run", "-m", "pytest", *tests, env=files)
    session.run("coverage", "combine", "--quiet", env=files)
    session.run("coverage", "report", env=files)
