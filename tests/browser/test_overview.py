"""The overview in a real browser: it shows what is booked without a reload, its charts react, everybody can use it."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from tests.support import visitors
from tests.support.api import JANE, NOW

NAMES = ("Ada Lovelace", "Béla Bartók", "Chidi <b>Anagonye</b>", "Dora Maar")
SUITS = ("ADA10", "BELA10", "CHIDI10", "DORA10")
LIVE_MS = 2_000


@pytest.fixture
async def shop(site):
    """Yield the site of a program that has sold for a quarter of a year, with something waiting for somebody."""
    partners = [
        await site.partner(name=name, email=f"p{number}@example.com", coupon_code=code)
        for number, (name, code) in enumerate(zip(NAMES, SUITS, strict=True))
    ]
    orders = []
    for number in range(200):
        at = datetime(2026, 11, 22, 11, tzinfo=UTC) - timedelta(hours=number * 11)
        told = {"coupon_code": SUITS[number * number % 7 % 4], "total": f"{20 + number * 37 % 180}.50"}
        orders.append(site.order(occurred_at=at.isoformat(), **told))
    await site.post("/orders", orders)
    for number in range(40, 80):
        await site.post(f"/commissions/o-{number}/approve")
    for number in range(40, 60):
        await site.post(f"/commissions/o-{number}/mark-paid", {"reference": "wire 7"})
    await site.post("/orders", [site.refund("o-41", "20.00"), site.refund("o-1", "9000.00", refund_id="too-much")])
    await site.post("/commissions/o-3/hold", {"reason": "odd"})
    await site.post("/partners/apply", JANE | {"email": "new@example.com", "coupon_code": "NEW"})
    site.partners = partners
    await site.project()
    return site


async def test_the_overview_looks_right_everywhere(shop, browse, look):
    """Light and dark, narrow and wide: nothing overlaps or is beyond the edge, and axe finds nothing."""
    page = await browse(await visitors.user(shop))
    await page.goto("/overview?range=90-days")
    await expect(page.locator("#chart-revenue canvas")).to_be_visible()
    await look(page, "overview")


async def test_the_beginning_looks_right_everywhere(site, browse, look):
    """Before the first order, the steps to it can be read and followed by everybody."""
    page = await browse(await visitors.user(site))
    await page.goto("/overview")
    await expect(page.get_by_role("heading", name="No commissions yet")).to_be_visible()
    await look(page, "overview-beginning")


async def test_what_is_booked_is_shown_without_a_reload(shop, browse):
    """An order that is booked changes figure, chart and list within two seconds; what is open or typed stays."""
    page = await browse(await visitors.user(shop))
    await page.goto("/overview?range=7-days")
    await expect(page.locator("html[data-live=on]")).to_be_attached()
    before = await page.locator("#figure-conversions .figure-value").inner_text()
    await page.locator("#chart-conversions summary").click()
    await page.locator("#partner").fill("Ad")
    await shop.post("/orders", [shop.order(order_id="live-1", coupon_code=SUITS[3], total="80.00")])
    figure = page.locator("#figure-conversions .figure-value")
    await expect(figure).to_have_text(str(int(before) + 1), timeout=LIVE_MS)
    await expect(page.get_by_role("link", name="live-1")).to_be_visible()
    await expect(page.get_by_role("link", name="Dora Maar").first).to_be_visible()
    assert await page.locator("#chart-conversions tbody tr").last.locator("td").inner_text() == "3"
    await expect(page.locator("#chart-conversions details")).to_have_attribute("open", "")
    await expect(page.locator("#partner")).to_have_value("Ad")


async def test_the_first_order_turns_the_beginning_into_figures(site, browse):
    """Whoever waits for the first order sees it come in, with its chart, on the page that told how to send it."""
    await site.partner()
    page = await browse(await visitors.user(site))
    await page.goto("/overview")
    await expect(page.locator("html[data-live=on]")).to_be_attached()
    await site.post("/orders", site.order())
    await expect(page.locator("#figure-revenue .figure-value")).to_have_text("$100.00")
    await expect(page.locator("#chart-revenue canvas")).to_be_visible()


async def test_days_are_chosen_without_leaving_the_page(shop, browse):
    """Presets, days of one's own, the order of partners: the address says them, the focus stays, going back works."""
    page = await browse(await visitors.user(shop))
    await page.goto("/overview")
    await page.evaluate("window.stayed = true")
    await page.locator("#range-7-days").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#range-7-days")).to_have_attribute("aria-current", "true")
    assert page.url.endswith("/overview?range=7-days")
    await expect(page.locator("#range-7-days")).to_be_focused()
    await expect(page.locator("#chart-revenue tbody tr")).to_have_count(7)
    await page.locator("#sort-conversions").click()
    await expect(page.locator("#sort-conversions")).to_have_attribute("aria-current", "true")
    await page.locator("#partner").fill("ada")
    await page.keyboard.press("Enter")
    await expect(page.locator(".overview-chosen a").first).to_have_text("Ada Lovelace")
    assert await page.evaluate("window.stayed")
    await page.go_back()
    await expect(page.locator("#partner")).to_be_visible()


async def test_charts_react_to_a_pointer_and_to_keys(shop, browse):
    """Hovering tells the day and its values, dragging zooms in, the button shows all again, arrows go day by day."""
    page = await browse(await visitors.user(shop))
    await page.goto("/overview?range=30-days")
    chart = page.locator("#chart-owed")
    box = await chart.locator("canvas").bounding_box()
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await expect(chart.locator(".chart-told")).to_contain_text("Outstanding$1,")
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 3 / 4, box["y"] + box["height"] / 2, steps=5)
    await page.mouse.up()
    await expect(chart.get_by_role("button", name="Show all")).to_have_attribute("aria-disabled", "false")
    await chart.get_by_role("button", name="Show all").click()
    await expect(chart).to_have_attribute("data-seen-to", NOW.date().isoformat())
    await chart.get_by_role("slider").focus()
    await page.keyboard.press("Home")
    await expect(chart.get_by_role("slider")).to_have_attribute("aria-valuenow", "0")


async def test_everything_can_be_read_without_scripts(shop, browse):
    """Without JavaScript the figures, tables and filters are all there, and a preset is a plain link."""
    page = await browse(await visitors.user(shop), java_script_enabled=False)
    await page.goto("/overview")
    await page.get_by_role("link", name="7 days").click()
    await page.wait_for_url("**/overview?range=7-days")
    await expect(page.locator("#figure-revenue .figure-value")).to_be_visible()
    await expect(page.locator("#chart-revenue table")).to_be_visible()


async def test_a_partner_that_there_is_not_is_told_beside_the_field(shop, browse, faults):
    """Words that no partner fits stay in the field, with the message, and the figures of all stand below."""
    faults.allow("422")
    page = await browse(await visitors.user(shop))
    await page.goto("/overview")
    await page.locator("#partner").fill("nobody")
    await page.keyboard.press("Enter")
    await expect(page.locator("#fault-partner")).to_contain_text("no such partner")
    await expect(page.locator("#partner")).to_have_value("nobody")
    await expect(page.locator("#figure-revenue")).to_be_visible()
