"""A real browser for tests: Debian's Chromium, pages whose faults are counted, and a look at a page from all sides."""

import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright

from tests.support import axe

RESULTS = Path(__file__).resolve().parents[2] / "browser-results"
WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")
_HEIGHT = 800
_TIMEOUT_MS = 10_000
_NAMES = ("chromium", "chromium-browser", "google-chrome")
# A page that is left while it still asks for something does not fail.
_LEFT = re.compile(r"net::ERR_ABORTED")


def program() -> str | None:
    """Return the browser's program: `CHROMIUM`, or one of the usual names; None where there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next((found for name in _NAMES if (found := shutil.which(name))), None)


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """Yield a running browser."""
    # Chromium refuses to run in its sandbox as root.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program(), args=options)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Faults:
    """What went wrong in the pages of a test: errors on the console, broken scripts, lost requests."""

    found: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        """Let faults pass that the regular expression finds something in: for what a test brings about on purpose."""
        self.allowed.append(pattern)

    @property
    def left(self) -> list[str]:
        """The faults that nobody allowed."""
        return [each for each in self.found if not any(re.search(pattern, each) for pattern in self.allowed)]

    def watch(self, context: BrowserContext) -> None:
        """Count what goes wrong in all pages of the context."""
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.found.append(f"script: {error.error}"))
        context.on("requestfailed", self._on_failed)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.found.append(f"console: {message.text} ({message.location.get('url')})")

    def _on_failed(self, request: Request) -> None:
        if not _LEFT.search(request.failure or ""):
            self.found.append(f"request: {request.method} {request.url}: {request.failure}")


async def opened(
    browser: Browser, url: str, faults: Faults, cookies: Mapping[str, str] | None = None, **options: Any
) -> Page:
    """Return a new page in a context of its own; addresses are relative to `url`, faults are counted.

    `options` are those of a context (`locale`, `color_scheme`, `reduced_motion`, `java_script_enabled`, ...).
    """
    context = await browser.new_context(base_url=url, viewport={"width": WIDTHS[-1], "height": _HEIGHT}, **options)
    context.set_default_timeout(_TIMEOUT_MS)
    faults.watch(context)
    if cookies:
        secure = url.replace("http://", "https://")
        told = [
            {"name": name, "value": value, "url": secure, "secure": True, "httpOnly": True, "sameSite": "Lax"}
            for name, value in cookies.items()
        ]
        await context.add_cookies(told)  # type: ignore[arg-type]
    return await context.new_page()


async def settled(page: Page) -> None:
    """Return when the page was drawn as it is now."""
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


async def look(page: Page, name: str, script: str) -> None:
    """Look at the page, narrow and wide, light and dark: axe finds nothing, nothing stands beyond the right edge.

    Pictures of all four go into `browser-results/`. Raises AssertionError with everything that was found.
    """
    found = []
    before = page.viewport_size
    for scheme in SCHEMES:
        # Colours that are on their way from one to the other are no colours to judge.
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for width in WIDTHS:
            await page.set_viewport_size({"width": width, "height": _HEIGHT})
            await settled(page)
            RESULTS.mkdir(exist_ok=True)
            await page.screenshot(path=RESULTS / f"{name}-{scheme}-{width}.png", full_page=True)
            problems = await axe.violations(page, script)
            if await page.evaluate("document.scrollingElement.scrollWidth > document.scrollingElement.clientWidth"):
                problems.append("the page is wider than the window")
            found += [f"{scheme}, {width} px: {problem}" for problem in problems]
    await page.emulate_media(color_scheme=None, reduced_motion=None)
    if before:
        await page.set_viewport_size(before)
    assert not found, "\n".join(found)
