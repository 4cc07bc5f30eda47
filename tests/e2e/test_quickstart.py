"""The quickstarts are true: their commands are run as they stand there, and their answers are what comes."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cli.embedded.broker import binary
from cli.embedded.postgres import binaries
from tests.support.commands import bare
from tests.support.requirements import require
from tests.support.running import Up, up
from tests.support.servers import installed

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "quickstart.md"
USES = DOCS / "quickstart-uses.md"
FILES = DOCS / "imports-and-exports.md"
# The programs that a section needs beyond those of the first page.
PROGRAMS = {"Publish an order with Node": ("node", "npm")}
FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
ANYTHING = "..."
EVENTUALLY_S = 60
AGAIN_S = 0.1
COMMAND_S = 120


class Step(NamedTuple):
    """Commands to run, and what they must answer: JSON, lines of text, or nothing in particular.

    `files` are programs that are to be saved before, text by name.
    """

    commands: str
    eventually: bool
    files: tuple[tuple[str, str], ...] = ()
    json: Any = None
    text: str | None = None


def steps(page: str) -> list[Step]:
    """Return the commands of the page (blocks marked `sh test`), each with the block of answers that follows it."""
    found: list[Step] = []
    files: list[tuple[str, str]] = []
    for block in FENCE.finditer(page):
        kind, text = block["kind"], block["text"]
        if kind.startswith("sh test"):
            found.append(Step(text, kind.endswith("eventually"), tuple(files)))
            files.clear()
        elif " file=" in kind:
            files.append((kind.partition(" file=")[2], text))
        elif kind == "json":
            found[-1] = found[-1]._replace(json=json.loads(text))
        elif kind == "text":
            found[-1] = found[-1]._replace(text=text)
    return found


class Terminal:
    """A shell in which one block follows another, as in a user's second terminal."""

    _DONE = "-- done --"

    def __init__(self, folder: Path) -> None:
        self._shell = subprocess.Popen(
            ["bash", "-euo", "pipefail"], cwd=folder, env=bare(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, commands: str) -> str:
        """Return what the commands write. Raises AssertionError where one of them fails."""
        stdin, stdout = self._shell.stdin, self._shell.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{commands}\necho; echo '{self._DONE}'\n")
        stdin.flush()
        written = ""
        for line in stdout:
            if line.strip() == self._DONE:
                return written
            written += line
        raise AssertionError(f"the commands failed: {commands}\n{written}")

    def close(self) -> None:
        """End the shell."""
        self._shell.communicate(timeout=COMMAND_S)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Yield `up` as `make up` starts it (without the demo), in a folder that looks like a clone."""
    require(installed(binaries) and installed(binary), "the extra `embedded`")
    for program in ("kcat", "curl", "bash"):
        require(shutil.which(program), program)
    folder = tmp_path_factory.mktemp("clone")
    (folder / ".venv").symlink_to(sys.prefix)
    with up(folder / "data", "--no-demo") as started:
        yield started


@pytest.fixture
def terminal(running: Up):
    """Yield a second terminal in the same folder."""
    opened = Terminal(running.data.parent)
    yield opened
    opened.close()


def test_the_quickstart_is_true(running: Up, terminal: Terminal):
    """Every command of docs/quickstart.md works in its order, and answers what the page says."""
    for step in steps(addressed(PAGE, running)):
        take(step, terminal, running.data.parent)


def test_each_use_is_true(running: Up, terminal: Terminal):
    """Each section of docs/quickstart-uses.md works behind its first one: with kcat, Python, Node and curl.

    What the machine lacks for a section (Node) skips that section, and then says so; in CI it fails.
    """
    absent = []
    for title, text in sections(addressed(USES, running)):
        lacking = [program for program in PROGRAMS.get(title, ()) if not shutil.which(program)]
        absent += lacking
        for step in () if lacking else steps(text):
            take(step, terminal, running.data.parent)
    require(not absent, ", ".join(absent))


def test_imports_and_exports_are_true(running: Up, terminal: Terminal):
    """Every command of docs/imports-and-exports.md works in its order, and answers what the page says."""
    for step in steps(FILES.read_text(encoding="utf-8").replace("http://127.0.0.1:8000", running.ready["web_url"])):
        take(step, terminal, running.data.parent)


@pytest.mark.parametrize(("page", "count"), [(PAGE, 12), (USES, 9), (FILES, 8)])
def test_the_quickstarts_are_found(page: Path, count: int):
    """The pages' blocks are read: there is a step for each command, and most have an answer to be compared with."""
    found = steps(page.read_text(encoding="utf-8"))
    assert len(found) >= count
    assert sum(step.json is not None or step.text is not None for step in found) >= count / 2
    assert {title for title, _ in sections(USES.read_text(encoding="utf-8"))} > set(PROGRAMS)


def sections(page: str) -> list[tuple[str, str]]:
    """Return title and text of each section of a page."""
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def addressed(page: Path, running: Up) -> str:
    """Return the page with the addresses of what runs."""
    text = page.read_text(encoding="utf-8")
    addresses = {
        "http://127.0.0.1:8000": running.ready["web_url"],
        "127.0.0.1:9092": running.ready["bootstrap_servers"],
    }
    for told, found in addresses.items():
        assert told in text
        text = text.replace(told, found)
    return text


def take(step: Step, terminal: Terminal, folder: Path) -> None:
    """Run a step, again and again where the page says that it takes a while. Raises AssertionError."""
    for name, text in step.files:
        (folder / name).write_text(text)
    deadline = time.monotonic() + (EVENTUALLY_S if step.eventually else 0)
    while differs := difference(step, answer := terminal.run(step.commands)):
        if time.monotonic() >= deadline:
            break
        time.sleep(AGAIN_S)
    assert not differs, f"{step.commands}\n{differs}\nin: {answer}"


def difference(step: Step, answer: str) -> str:
    """Return in a few words where the answer differs from what the page says, empty where it does not."""
    if step.text is not None:
        return unlike_lines(step.text, answer)
    if step.json is None:
        return ""
    try:
        return unlike(step.json, json.loads(answer), "$")
    except json.JSONDecodeError:
        return "no JSON"


def unlike(told: Any, found: Any, path: str) -> str:
    """Return the first place where what was found lacks or contradicts what is told; more may be there than is told."""
    if told == ANYTHING:
        return ""
    if isinstance(told, dict) and isinstance(found, dict):
        missing = [name for name in told if name not in found]
        parts = [unlike(value, found[name], f"{path}.{name}") for name, value in told.items() if name in found]
        return f"{path} has no {missing}" if missing else next(filter(None, parts), "")
    if isinstance(told, list) and isinstance(found, list) and len(told) == len(found):
        pairs = enumerate(zip(told, found, strict=True))
        return next(filter(None, (unlike(*pair, f"{path}[{at}]") for at, pair in pairs)), "")
    return "" if told == found else f"{path} is {found!r}, not {told!r}"


def unlike_lines(told: str, found: str) -> str:
    """Return the first line that is told and does not come."""
    for line in told.splitlines():
        pattern = ".*".join(map(re.escape, line.split(ANYTHING)))
        if not any(re.fullmatch(pattern, each.rstrip()) for each in found.splitlines()):
            return f"no line {line!r}"
    return ""
