"""Real-browser tests. `make test-browser`; skipped aloud where no Chromium is installed, a failure in CI.

    async def test_partners_can_be_found(site, browse, look):
        # Everything is as in tests/pages: the real application, the projector, PostgreSQL, a clock that is set.
        await site.partner()
        page = await browse(await visitors.user(site))        # logged in; browse() alone: a stranger
        await page.goto("/partners")                          # addresses are those of the site
        await expect(page.get_by_role("link", name="Jane")).to_be_visible()
        await look(page, "partners")                          # axe and pictures: light, dark, 360 and 1280 px

- A test fails for whatever goes wrong in its pages besides: an error or warning on the console (a violated policy is
  one), a script that breaks, a request that fails. `faults.allow("regular expression")` for what is meant to.
- `browse(visitor, locale="de-DE", color_scheme="dark", reduced_motion="reduce", java_script_enabled=False, ...)` takes
  what a Playwright context takes. Each call is another browser to the server.
- Wait with `expect(...)` or `page.wait_for_function("() => ...")` (an expression that is no function would be what the
  page's policy forbids), never for a time. Pictures lie in `browser-results/` (`failed-...` where a test failed);
  CHROMIUM names another browser.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.support import axe, browser
from tests.support.api import Api, kept_up, running
from tests.support.browser import RESULTS, Faults
from tests.support.requirements import require
from tests.support.visitors import Visitor

_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember that a test failed, for the pictures of its pages."""
    report = yield
    if report.when == "call":
        item.stash[_failed] = report.failed
    return report


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Yield the session's browser."""
    require(browser.program(), "Chromium (Debian: apt-get install chromium fonts-dejavu-core)")
    async with browser.launched() as running_browser:
        yield running_browser


@pytest.fixture(scope="session")
def axe_script() -> str:
    """Return the script of axe-core."""
    script = axe.source()
    require(script, "npm, to fetch axe-core")
    return str(script)


@pytest.fixture
async def site(database_url: str) -> AsyncIterator[Api]:
    """Yield the running application of two merchants, acme and zenith, whose read models are kept up."""
    async with running(database_url) as app, kept_up(database_url):
        yield app


@pytest.fixture
def faults() -> Iterator[Faults]:
    """Yield what goes wrong in the test's pages; nothing may, beyond what the test allows."""
    counted = Faults()
    yield counted
    assert counted.left == []


@pytest.fixture
async def open_page(
    request: pytest.FixtureRequest, chromium: Browser, faults: Faults
) -> AsyncIterator[Callable[..., Awaitable[Page]]]:
    """Yield what opens a page on any site, by its address, with cookies and the options of a context."""
    pages: list[Page] = []

    async def one(url: str, cookies: dict[str, str] | None = None, **options: Any) -> Page:
        pages.append(await browser.opened(chromium, url, faults, cookies, **options))
        return pages[-1]

    yield one
    for number, page in enumerate(pages, 1):
        picture = RESULTS / f"failed-{request.node.name}-{number}.png".replace("/", "_")
        picture.unlink(missing_ok=True)
        if request.node.stash.get(_failed, False) and not page.is_closed():
            RESULTS.mkdir(exist_ok=True)
            await page.screenshot(path=picture)
        await page.context.close()


@pytest.fixture
def browse(site: Api, open_page: Callable[..., Awaitable[Page]]) -> Callable[..., Awaitable[Page]]:
    """Return what opens a page of the site, for a visitor of `tests/support/visitors.py` or for a stranger."""

    async def one(visitor: Visitor | None = None, **options: Any) -> Page:
        return await open_page(str(site.client.make_url("/")), visitor and visitor.cookies, **options)

    return one


@pytest.fixture
def look(axe_script: str) -> Callable[[Page, str], Awaitable[None]]:
    """Return what looks at a page from all sides, and keeps the pictures under a name."""
    return lambda page, name: browser.look(page, name, axe_script)
