"""Live pages in a real browser: they follow the books without a reload, and say so when they cannot."""

import pytest
from playwright.async_api import expect

from tests.support import visitors
from tests.support.read_models import execute
from web.pages import live

# What issue 4 promises.
SOON_MS = 2_000


@pytest.fixture
async def page(site, browse):
    """Yield the overview, open before there is any order, its stream begun."""
    await site.partner()
    found = await browse(await visitors.user(site))
    await found.goto("/overview")
    await found.wait_for_function("() => document.documentElement.dataset.live === 'on'")
    return found


async def test_an_order_is_seen_without_a_reload(site, page):
    """An order that is booked while the page is open stands on it within two seconds; the page is the same one."""
    await page.evaluate("document.body.classList.add('still-the-same')")
    order = site.order(total="321.00")
    await site.post("/orders", [order])
    await expect(page.get_by_text("$321.00").first).to_be_visible(timeout=SOON_MS)
    await expect(page.get_by_role("link", name=order["order_id"], exact=True)).to_be_visible(timeout=SOON_MS)
    assert await page.locator("body.still-the-same").count() == 1


async def test_a_hidden_page_does_not_listen(site, page):
    """A page that nobody looks at gives up its stream, and hears of what it missed when it is looked at again."""
    await page.evaluate(
        """() => {
            window.heard = 0;
            document.body.addEventListener("books", () => window.heard++);
            Object.defineProperty(document, "hidden", {configurable: true, get: () => window.away});
            window.look = (away) => { window.away = away; document.dispatchEvent(new Event("visibilitychange")); };
            window.look(true);
        }"""
    )
    await site.post("/orders", [site.order()])
    await site.project()
    # It would have been told by now: somebody who looks is.
    other = await page.context.new_page()
    await other.goto("/overview")
    await expect(other.get_by_text("$100.00").first).to_be_visible()
    assert await page.evaluate("window.heard") == 0
    await page.evaluate("window.look(false)")
    await page.wait_for_function("() => window.heard > 0")
    await expect(page.get_by_text("$100.00").first).to_be_visible()


async def test_a_broken_stream_is_told(site, page, faults):
    """While nothing can be heard the page says so; when it can be again the page says nothing and is up to date."""
    faults.allow("/live")
    note = page.locator("[data-live-note]")
    await expect(note).to_be_hidden()
    await page.route("**/live*", lambda route: route.abort())
    for connection in site.client.server.runner.server.connections:
        connection.transport.abort()
    await expect(note).to_be_visible()
    await site.post("/orders", [site.order(total="77.00")])
    await page.unroute("**/live*")
    await expect(note).to_be_hidden(timeout=20_000)
    await expect(page.get_by_text("$77.00").first).to_be_visible()


async def test_a_session_that_ended_is_not_live(site, browse, faults, monkeypatch):
    """Whose session ended elsewhere is told nothing any more, and the page says that it is not live."""
    faults.allow("/live")
    monkeypatch.setattr(live, "SESSION_CHECK_S", 0.2)
    page = await browse(await visitors.user(site))
    await page.goto("/overview")
    await page.wait_for_function("() => document.documentElement.dataset.live === 'on'")
    execute(site.database_url, "DELETE FROM access.sessions")
    await expect(page.locator("[data-live-note]")).to_be_visible(timeout=15_000)


async def test_what_moves_while_the_page_is_on_its_way_is_not_missed(site, browse):
    """A page whose figures are older than its stream hears of the orders in between as soon as it listens."""
    await site.partner()
    page = await browse(await visitors.user(site))

    async def late(route):
        answer = await route.fetch()
        await site.post("/orders", [site.order(total="55.00")])
        await site.project()
        await route.fulfill(response=answer)

    await page.route("**/overview", late, times=1)
    await page.goto("/overview")
    await expect(page.get_by_text("$55.00").first).to_be_visible(timeout=SOON_MS)
