"""The rules of the house that no linter knows: sizes, docstrings of tests, what may not be committed, living links."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500

# Written by a tool, or by somebody else: their size and their words are not ours.
NOT_OURS = (
    "LICENSE", "requirements/", "schemas/json/", "schemas/asyncapi", "schemas/openapi", "tests/golden/",
    "web/static/vendor/", "web/fonts/", "docs/pictures/",
)  # fmt: skip

# In two pieces each, or this file would break its own rule.
MACHINE_PATHS = tuple("/" + folder + "/" for folder in ("work", "root", "home", "Users"))
REGISTRY_HOSTS = tuple(
    name + "." + domain
    for name, domain in (
        ("pypi", "org"), ("pythonhosted", "org"), ("maven", "org"), ("repo.maven.apache", "org"), ("npmjs", "org"),
        ("proxy.golang", "org"), ("deb.debian", "org"), ("registry-1.docker", "io"),
    )
)  # fmt: skip
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME)\b")

HEADINGS = ("Context", "Decision", "Consequences", "Alternatives")
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
MAKE_CALL = re.compile(r"\bmake ((?:[a-z][a-z-]*\b(?!=) ?)+)")


@cache
def committed_files() -> tuple[Path, ...]:
    """Return every file that is, or would be, committed: what git ignores does not count."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=False, text=True,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def relative(path: Path) -> str:
    """Return the path as seen from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


def ours(*suffixes: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of the committed files that we wrote by hand, of all suffixes when none is given."""
    for path in committed_files():
        name = relative(path)
        if (not suffixes or path.suffix in suffixes) and not name.startswith(NOT_OURS):
            yield name, path.read_text(encoding="utf-8", errors="replace")


@cache
def functions() -> tuple[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef], ...]:
    """Return every function of ours with the file in which it stands."""
    return tuple(
        (name, node)
        for name, text in ours(".py")
        for node in ast.walk(ast.parse(text, name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def committed_lines() -> Iterator[tuple[str, str]]:
    """Yield place (`file:line`) and text of every line of every committed text file, generated ones too."""
    for path in committed_files():
        text = path.read_bytes()
        if b"\0" not in text:
            for number, line in enumerate(text.decode("utf-8", errors="replace").splitlines(), start=1):
                yield f"{relative(path)}:{number}", line


def test_functions_are_short() -> None:
    """No function is longer than 70 lines."""
    lengths = ((f"{name}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1) for name, node in functions())
    assert [f"{place}: {length} lines" for place, length in lengths if length > FUNCTION_LINES_MAX] == []


def test_every_test_states_its_rule() -> None:
    """Every test has a docstring whose first line is a whole sentence: the rule that it proves."""
    tests = [(name, node) for name, node in functions() if name.startswith("tests/") and node.name.startswith("test_")]
    assert tests, "no test was found, so this one looked in the wrong place"
    mute = [
        f"{name}:{node.lineno} {node.name}"
        for name, node in tests
        if not (ast.get_docstring(node) or "").partition("\n\n")[0].rstrip().endswith(".")
    ]
    assert mute == []


def test_files_are_short() -> None:
    """No file that we write by hand is longer than 500 lines."""
    lengths = ((name, len(text.splitlines())) for name, text in ours())
    assert [f"{name}: {length} lines" for name, length in lengths if length > FILE_LINES_MAX] == []


def test_no_machine_paths_or_registry_hosts() -> None:
    """Nothing that is committed names a folder of somebody's machine, or the address of a package registry."""
    forbidden = (*MACHINE_PATHS, *REGISTRY_HOSTS)
    assert [f"{place}: {line.strip()}" for place, line in committed_lines() if any(f in line for f in forbidden)] == []


def test_secrets_and_books_are_ignored() -> None:
    """Neither the secrets of `make env` nor the books in the data folder can be committed by accident."""
    assert committed_files()
    for name in (".env", "data/postgres"):
        ignored = subprocess.run(["git", "check-ignore", "--quiet", name], cwd=ROOT, check=False)
        assert ignored.returncode == 0, name


def test_nothing_is_left_for_later() -> None:
    """No committed file of ours carries a note that something is still to be done."""
    found = [(name, match[0]) for name, text in ours() for match in UNFINISHED.finditer(text)]
    assert found == []


def test_no_vague_names() -> None:
    """No module or folder is called by a name that would fit anything."""
    vague = re.compile(r"(^|[/_])(utils?|helpers?|common|managers?|base|misc)(_|\.|/|$)")
    assert [name for name, _ in ours(".py", ".sql") if vague.search(name)] == []


def test_decisions_have_the_four_headings() -> None:
    """Every decision record has its own number, and Context, Decision, Consequences and Alternatives in this order."""
    records = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert records
    for record in records:
        headings = re.findall(r"^## (.+)$", record.read_text(encoding="utf-8"), re.MULTILINE)
        assert tuple(headings) == HEADINGS, record.name
    numbers = [record.name[:4] for record in records]
    assert len(set(numbers)) == len(numbers)


def test_decisions_are_listed() -> None:
    """The list of decisions names every record."""
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "docs/decisions").glob("[0-9]*.md") if f"({path.name})" not in index] == []


def test_links_lead_somewhere() -> None:
    """Every link from one of our pages to a file of the repository leads to a file that exists."""
    dead = [
        f"{name}: {target}"
        for name, text in ours(".md")
        for target in LINK.findall(CODE.sub("", text))
        if "://" not in target and not (ROOT / name).parent.joinpath(target).exists()
    ]
    assert dead == []


def test_make_targets_in_the_documentation_exist() -> None:
    """Every `make` target that a page or the CI script tells people to call is in the Makefile."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    steps = [(".ci/run", target) for target in re.findall(r"^step .* make ([a-z-]+)", ci, re.MULTILINE)]
    assert steps
    told = [
        (name, target)
        for name, text in ours(".md")
        for code in CODE.findall(text)
        for call in MAKE_CALL.findall(code)
        for target in call.split()
    ]
    assert sorted({(name, target) for name, target in steps + told if target not in targets}) == []


def test_makefile_says_what_its_targets_do() -> None:
    """Every target of the Makefile that is no file explains itself in `make help`."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony
    explained = set(re.findall(r"^([a-z][a-z-]*):.* ## \S", makefile, re.MULTILINE))
    assert set(phony[1].split()) == explained


def test_every_promise_names_its_proof() -> None:
    """Each row of the README's table of promises links to a test file that exists, and names only tests that it has."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## Promises\n")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| *\d+ *\|.*$", section, re.MULTILINE):
        proofs = re.findall(r"\[([^\]]+)\]\((tests/[^)#]+\.py)\)", row)
        assert proofs, f"no test is linked from: {row}"
        for label, target in proofs:
            path = ROOT / target
            assert path.is_file(), row
            named = re.search(r"\btest_\w+(?!\w*\.py)\b", label)
            assert named is None or f"def {named[0]}(" in path.read_text(encoding="utf-8"), row


def locked(name: str) -> dict[str, str]:
    """Return the pinned version of each package in `requirements/NAME.txt`."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE)
    return {canonicalize_name(package): version for package, version in pins}


@pytest.mark.parametrize(
    ("name", "extras"),
    [("runtime", []), ("embedded", ["embedded"]), ("dev", ["embedded", "dev"])],
)
def test_locks_are_current(name: str, extras: list[str]) -> None:
    """Each lock holds every package that pyproject.toml asks for, in a version that it allows; `make lock` mends it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    versions = locked(name)
    unmet = [line for line in asked if not allows(Requirement(line), versions)]
    assert unmet == []


def allows(asked: Requirement, versions: dict[str, str]) -> bool:
    """Return whether the locked version of the package is one that was asked for."""
    version = versions.get(canonicalize_name(asked.name))
    return version is not None and asked.specifier.contains(version, prereleases=True)


def test_locks_agree() -> None:
    """What is tested is what runs: the locks pin the same version of each package."""
    tested = locked("dev").items()
    assert locked("runtime").items() - tested == set()
    assert locked("embedded").items() - tested == set()


def test_locks_are_hashed() -> None:
    """Every package in every lock comes with its hashes, so that pip refuses anything else."""
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        entries = re.split(r"^(?=\w)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        assert entries, path.name
        assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
