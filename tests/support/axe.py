"""axe-core, which finds what keeps people out of a page: fetched once with npm, since its licence is not ours."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Page

VERSION = "4.14.1"
_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
_FETCH_S = 120
# Everything that WCAG 2.2 AA asks for, and what is good practice beside; the size of targets is off unless asked for.
_OPTIONS = {
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    },
    "rules": {"target-size": {"enabled": True}},
    "resultTypes": ["violations"],
}


def source() -> str | None:
    """Return axe-core's script; None where there is neither npm nor a cache. Raises RuntimeError where npm fails.

    The cache is `COMMISSION_LEDGER_CACHE` or `~/.cache/commission-ledger`.
    """
    cache = Path(os.environ.get("COMMISSION_LEDGER_CACHE", "~/.cache/commission-ledger")).expanduser()
    kept = cache / f"axe-core-{VERSION}.min.js"
    if not kept.is_file():
        npm = shutil.which("npm")
        if npm is None:
            return None
        cache.mkdir(parents=True, exist_ok=True)
        _fetch(npm, kept)
    script = kept.read_bytes()
    if hashlib.sha256(script).hexdigest() != _SHA256:
        raise RuntimeError(f"{kept} is not axe-core {VERSION}: remove it")
    return script.decode()


def _fetch(npm: str, kept: Path) -> None:
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix="fetching-") as folder:
        command = [npm, "pack", "--silent", f"axe-core@{VERSION}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_FETCH_S)
        if done.returncode != 0:
            raise RuntimeError(f"npm could not fetch axe-core {VERSION}: {done.stderr[-2000:]}")
        with tarfile.open(Path(folder, f"axe-core-{VERSION}.tgz")) as packed:
            packed.extract("package/axe.min.js", folder, filter="data")
        # Moved there whole: a cut download never looks complete.
        Path(folder, "package/axe.min.js").replace(kept)


async def violations(page: Page, script: str) -> list[str]:
    """Return what axe finds wrong with the page as it is shown now: the rule, and the elements."""
    # Evaluated, because a script tag is what the page's own policy forbids.
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate(script)
    found: list[dict[str, Any]] = await page.evaluate(
        f"axe.run(document, {json.dumps(_OPTIONS)}).then((found) => found.violations)"
    )
    return [_said(each) for each in found]


def _said(violation: dict[str, Any]) -> str:
    nodes = [f"{' '.join(map(str, node['target']))}: {node['failureSummary']}" for node in violation["nodes"][:5]]
    return f"{violation['id']} ({violation['impact']}): {violation['help']}\n  " + "\n  ".join(nodes)
