"""A partner's dashboard in a real browser: from every side, by keyboard, live, printed, without scripts."""

from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from tests.support import visitors

COMMISSIONS = 14


@pytest.fixture
async def jane(site):
    """Return a partner with a few weeks of history in two currencies, and the path of her dashboard."""
    await site.ask("PATCH", "/program", {"minimum_payout": {"USD": "50.00"}})
    partner = await site.partner(name="Jane Doe")
    orders = [
        site.order(
            occurred_at=f"2026-{10 + day // 30:02}-{day % 30 + 1:02}T09:00:00Z",
            total=f"{20 + day * 7 % 90}.49",
            customer={"id": f"customer-{day % 3}"},
        )
        for day in range(24, 24 + COMMISSIONS)
    ]
    await site.post("/orders", [*orders, site.order(currency="JPY", total="12000")])
    for number in range(1, 9):
        await site.post(f"/commissions/o-{number}/approve", {})
    for number in range(1, 5):
        await site.post(f"/commissions/o-{number}/mark-paid", {"reference": "SEPA 2026-11"})
    await site.post("/commissions/o-9/hold", {"reason": "looks odd"})
    await site.post("/orders", [site.refund("o-2", "10.00"), site.refund("o-10", "5.00")])
    await site.project()
    partner["home"] = urlsplit(partner["dashboard_url"]).path
    return partner


@pytest.fixture
async def page(site, browse, jane):
    """Return a browser in which Jane is logged in."""
    return await browse(await visitors.partner(site, jane["id"]))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("", "start"), ("/commissions", "commissions"), ("/commissions/o-2", "commission"), ("/payouts", "payouts"),
        ("/statements", "statements"), ("/statements/2026-11", "statement"), ("/account", "account"),
    ],
)  # fmt: skip
async def test_every_page_is_well_made(page, look, jane, path, name):
    """No page of a partner has a fault that axe finds, in both themes, on a telephone and on a desk."""
    await page.goto(jane["home"] + path)
    await look(page, f"dashboard-{name}")


async def test_a_new_partner_s_pages_are_well_made(site, browse, look):
    """A dashboard without any figures is as well made as one with many."""
    partner = await site.partner(name="Kim", email="kim@k.example", coupon_code="KIM10")
    await site.project()
    page = await browse(await visitors.partner(site, partner["id"]))
    await page.goto(urlsplit(partner["dashboard_url"]).path)
    await look(page, "dashboard-empty")


async def test_a_commission_shows_without_a_reload(site, page, jane):
    """An order that comes while the partner looks is on the page a moment later, and in the balance."""
    await page.goto(jane["home"])
    await expect(page.locator("html")).to_have_attribute("data-live", "on")
    await site.post("/orders", [site.order(order_id="o-live", total="500.00")])
    await expect(page.get_by_role("link", name="o-live")).to_be_visible()


async def test_filters_apply_at_once(page, jane):
    """Choosing a status narrows the list, and the address says so."""
    await page.goto(f"{jane['home']}/commissions")
    await page.get_by_label("Status").select_option("paid")
    await page.wait_for_url("**status=paid**")
    await expect(page.locator("tbody tr")).to_have_count(4)


async def test_a_code_is_copied(site, browse, jane):
    """The button beside a code copies it, and says so."""
    page = await browse(
        await visitors.partner(site, jane["id"]), permissions=["clipboard-read", "clipboard-write"]
    )  # fmt: skip
    await page.goto(jane["home"])
    button = page.get_by_role("button", name="Copy JANE10")
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".codes button")).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == "JANE10"


async def test_everything_can_be_read_without_scripts(site, browse, jane):
    """Without JavaScript the figures, the chart's table, the filters and the statement are there."""
    page = await browse(await visitors.partner(site, jane["id"]), java_script_enabled=False)
    await page.goto(jane["home"])
    await expect(page.get_by_text("Payouts begin at $50.00")).to_be_visible()
    await expect(page.locator("#earnings table")).to_be_visible()
    await page.goto(f"{jane['home']}/commissions")
    await page.get_by_label("Status").select_option("held")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("tbody tr")).to_have_count(1)


async def test_a_statement_prints_without_the_navigation(page, jane):
    """On paper there are the figures and the lines, and nothing that is only for the screen."""
    await page.goto(f"{jane['home']}/statements/2026-11")
    await page.emulate_media(media="print")
    await expect(page.get_by_role("navigation")).to_have_count(0)
    await expect(page.locator("main table")).to_be_visible()
