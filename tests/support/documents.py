"""The blocks of code in the documents, and a session in which a reader follows them."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT, Process, free_port, program, wait_for
from tests.support.prometheus import samples

_FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_SERVER = re.compile(r"(?:^|\s)(?:python -m app(?!\.)|uvicorn|opentelemetry-instrument)(?:\s|$)")


@dataclass(frozen=True)
class Block:
    """One block, and the output that the document shows below it.

    `reason` says why it is not run, where the document has such a mark.
    """

    language: str
    text: str
    line: int
    output: str | None
    reason: str | None


def blocks(name: str) -> list[Block]:
    """The blocks of a document in their order; what is shown as output is with its cause."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        block = Block(match["language"], match["text"], line, None, match["reason"])
        if block.language == "text":
            cause = found[-1]
            assert cause.output is None, f"{name}:{line}: two outputs of one block"
            found[-1] = Block(cause.language, cause.text, cause.line, block.text, cause.reason)
        else:
            found.append(block)
    return found


def pattern(output: str) -> re.Pattern[str]:
    """What an output must match in full: ``...`` stands for anything in a line, or for lines."""
    lines = [
        r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"\n"
        for line in output.splitlines()
    ]
    return re.compile("".join(lines))


class Reader:
    """Somebody who follows a document, in a copy of the repository and an environment.

    Ports, the numbers of repetitions and durations are changed, nothing else.

    Parameters:
        folder: An empty folder, for the copy and the logs.
        install: Runs a ``pip install`` in the copy.
        path: The folder of the environment's programs.
        port: Takes the place of 8000.
        prometheus: The address of one that scrapes that port.
    """

    def __init__(
        self,
        folder: Path,
        install: Callable[[str, Path], None],
        path: Path,
        port: int,
        prometheus: str,
    ) -> None:
        self._copy = folder / "clone"
        ignored = shutil.ignore_patterns(".git", ".*_cache", "__pycache__", "tests", "dist")
        shutil.copytree(ROOT, self._copy, ignore=ignored)
        self._folder = folder
        self._install = install
        self._port = port
        self._private = free_port()
        self._prometheus = prometheus
        self._server: Process | None = None
        self._environment = _environment(path)

    def follow(self, block: Block) -> None:
        """Do what a block says, and compare what comes of it.

        Raises:
            AssertionError: Where the output is another one, or the command fails.
        """
        match block.language:
            case "sh" if _SERVER.search(block.text):
                self._serve(block)
            case "sh":
                self._run(block)
            case "promql":
                self._ask(block)
            case "python":
                self._write(block.text)
            case "yaml":
                self._compare(block.text)
            case "mermaid":
                assert block.text.startswith("flowchart")
            case _:
                raise AssertionError(f"line {block.line}: nobody can say what this is")

    def install(self, command: str) -> None:
        """Install something into the environment, once in all."""
        self._install(command, self._copy)

    def stop(self) -> None:
        """End the server that was started last."""
        if self._server is not None:
            self._server.kill()
            self._server = None

    def _elsewhere(self, command: str) -> str:
        command = command.replace("localhost:8000", f"localhost:{self._port}")
        command = command.replace("9464", str(self._private)).replace("{1..100}", "{1..12}")
        command = command.replace("--duration 60", "--duration 3")
        command = command.replace("app.watch", f"app.watch localhost:{self._port}")
        return command.replace("app.load", f"app.load --url http://localhost:{self._port}")

    def _serve(self, block: Block) -> None:
        self.stop()
        *before, command = self._elsewhere(block.text.strip()).split(" && ")
        for each in before:
            assert each.startswith("pip install ")
            self.install(each)
        command += f" --host 127.0.0.1 --port {self._port}"
        log = self._folder / f"line-{block.line}.log"
        self._server = Process(
            ["bash", "-c", command], log, environment=self._environment, cwd=self._copy
        )
        self._server.wait_until_up(f"http://127.0.0.1:{self._port}/openapi.json")
        if block.output is not None:
            expected, server = pattern(block.output), self._server
            wait_for(lambda: expected.search(server.log), f"line {block.line}: its output")

    def _run(self, block: Block) -> None:
        if block.text.startswith("pip install "):
            self.install(block.text.strip())
            return
        expected = pattern(block.output or "...")

        def matches() -> bool:
            result = subprocess.run(
                ["bash", "-c", self._elsewhere(block.text)],
                capture_output=True,
                text=True,
                timeout=120,
                cwd=self._copy,
                env=self._environment,
            )
            # curl does not end its output with a new line, as the app's answers have none.
            shown = result.stdout if result.stdout.endswith("\n") else f"{result.stdout}\n"
            if expected.fullmatch(shown) and result.returncode == 0:
                return True
            # What is only looked at may need a moment to be there.
            assert "/metrics" in block.text, f"line {block.line}: {shown}{result.stderr}"
            return False

        wait_for(matches, f"line {block.line}: its output")

    def _ask(self, block: Block) -> None:
        def answered() -> bool:
            shown = samples(self._prometheus, block.text.strip())
            if block.output is None:
                return bool(shown)
            return pattern(block.output).fullmatch("\n".join([*shown, ""])) is not None

        wait_for(answered, f"line {block.line}: what Prometheus answers")

    def _write(self, text: str) -> None:
        """Into the file that the first line names, at its end."""
        path = self._copy / text.splitlines()[0].removeprefix("# ")
        assert path.suffix == ".py", text
        with path.open("a") as file:
            file.write(text)

    def _compare(self, text: str) -> None:
        """With the file that the first line names, of which the block is a part."""
        first, rest = text.split("\n", 1)
        assert rest in (self._copy / first.removeprefix("# ")).read_text(encoding="utf-8")


def _environment(path: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "PYTHON", "VIRTUAL_ENV"))
    }
    return {**kept, "PATH": f"{path}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}


def empty_environment(folder: Path) -> tuple[Path, Callable[[str, Path], None]]:
    """A virtual environment's folder of programs, and what installs into it, each thing once."""
    program("curl")
    subprocess.run(["python3", "-m", "venv", folder], check=True, timeout=120)
    path = folder / "bin"
    done: set[str] = set()

    def install(command: str, cwd: Path) -> None:
        if command in done:
            return
        done.add(command)
        result = subprocess.run(
            ["bash", "-c", f"{command} --quiet --disable-pip-version-check"],
            capture_output=True,
            text=True,
            timeout=600,
            cwd=cwd,
            env=_environment(path),
        )
        assert result.returncode == 0, result.stdout + result.stderr

    return path, install
