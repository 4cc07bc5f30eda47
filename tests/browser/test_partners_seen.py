"""Partners and customers in a real browser: found while one types, changed by keyboard, live, right in every light."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from tests.support import visitors

PEOPLE = (
    ("Ada Lovelace", "ADA10", "approved", ["VIP", "blog"]),
    ("Béla Bartók", "BELA10", "approved", []),
    ("Chidi <b>Anagonye</b> of a very long name that does not fit into one line", "CHIDI10", "applied", ["new"]),
    ("Dora Maar", "DORA10", "invited", []),
)


@pytest.fixture
async def shop(site):
    """Yield the site of a program with partners of several standings, a quarter of orders, refunds and payments."""
    site.partners = [
        await site.partner(name=name, email=f"p{number}@example.com", coupon_code=code, status=status, tags=tags)
        for number, (name, code, status, tags) in enumerate(PEOPLE)
    ]
    orders = []
    for number in range(60):
        at = datetime(2026, 11, 22, 11, tzinfo=UTC) - timedelta(hours=number * 29)
        customer = {
            "id": f"customer/{number % 9}",
            "name": f"Kim {number % 9}",
            "email": f"kim{number % 9}@example.com",
        }
        orders.append(
            site.order(
                order_id=f"order-{number}", occurred_at=at.isoformat(), coupon_code=PEOPLE[number % 2][1],
                total=f"{20 + number * 37 % 180}.50", customer=customer,
            )
        )  # fmt: skip
    await site.post("/orders", orders)
    for number in range(10, 50):
        await site.post(f"/commissions/order-{number}/approve")
    for number in range(30, 50):
        await site.post(f"/commissions/order-{number}/mark-paid", {"reference": "wire 7"})
    ada = f"/partners/{site.partners[0]['id']}"
    await site.post(
        "/orders", [site.refund("order-40", "20.00"), site.order(currency="JPY", coupon_code="ADA10", total="9000")]
    )
    await site.post(f"{ada}/coupons", {"code": "ADA-FALL", "rate": {"type": "fixed", "value": "4.00"}})
    await site.post(f"{ada}/notes", {"note": "Wants to be paid by wire.\nAsk in January."})
    await site.ask("PATCH", ada, {"rate": {"type": "percentage", "value": "12.5"}, "rate_from": "2026-12-01T00:00:00Z"})
    await site.project()
    return site


async def test_partners_look_right_everywhere(shop, browse, look):
    """The list, a partner, its forms: light and dark, narrow and wide, without a fault that axe can find."""
    page = await browse(await visitors.user(shop))
    ada = f"/partners/{shop.partners[0]['id']}"
    await page.goto("/partners")
    await expect(page.get_by_role("link", name="Ada Lovelace")).to_be_visible()
    await look(page, "partners")
    await page.goto(ada)
    await expect(page.locator("#earned canvas")).to_be_visible()
    await look(page, "partner")
    await page.locator("summary", has_text="Ban").click()
    await look(page, "partner-ban")
    for address, name in (
        ("/partners/new", "partner-new"),
        (f"{ada}/edit", "partner-edit"),
        (f"{ada}/codes/ADA-FALL", "partner-code"),
    ):
        await page.goto(address)
        await look(page, name)


async def test_customers_look_right_everywhere(shop, browse, look):
    """The list and a customer: light and dark, narrow and wide, without a fault that axe can find."""
    page = await browse(await visitors.user(shop))
    await page.goto("/customers")
    await look(page, "customers")
    await page.get_by_role("link", name="Kim 4").click()
    await expect(page.get_by_role("heading", name="Kim 4")).to_be_visible()
    await look(page, "customer")


async def test_empty_pages_look_right_everywhere(site, browse, look):
    """Before anything happened the lists and a new partner's page say what comes next."""
    page = await browse(await visitors.user(site))
    await page.goto("/partners")
    await look(page, "partners-empty")
    await page.goto("/customers")
    await look(page, "customers-empty")
    jane = await site.partner()
    await site.project()
    await page.goto(f"/partners/{jane['id']}")
    await look(page, "partner-empty")


async def test_the_list_follows_what_is_typed(shop, browse):
    """The list is narrowed while one types, the address says by what, and the field keeps the cursor."""
    page = await browse(await visitors.user(shop))
    await page.goto("/partners?sort=name")
    await page.get_by_label("Search").press_sequentially("dora", delay=20)
    await expect(page.locator("#results tbody tr")).to_have_count(1)
    await expect(page).to_have_url("/partners?search=dora&sort=name")
    await expect(page.get_by_label("Search")).to_be_focused()
    await page.get_by_role("link", name="Applied").click()
    await expect(page.get_by_text("No partner fits")).to_be_visible()
    await expect(page.get_by_label("Search")).to_have_value("dora")


async def test_a_partner_is_added_and_banned_by_keyboard(shop, browse, faults):
    """Everything can be reached and done without a mouse; what was refused takes the words along."""
    faults.allow("status of 422")
    page = await browse(await visitors.user(shop))
    await page.goto("/partners")
    await page.get_by_role("link", name="Add a partner").press("Enter")
    await page.get_by_label("Name").fill("Eve")
    await page.get_by_label("E-mail").fill("eve@example.com")
    await page.get_by_label("Rate", exact=True).fill("7,5")
    await page.get_by_label("Rate", exact=True).press("Enter")
    await expect(page.get_by_label("Rate", exact=True)).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Rate", exact=True).fill("7.5")
    await page.get_by_label("Rate", exact=True).press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Eve")
    await page.locator("summary", has_text="Ban").press("Enter")
    reason = page.locator("#field-ban-reason")
    await reason.fill("cheated")
    await reason.press("Enter")
    await expect(page.locator("h1 .badge")).to_have_text("banned")


async def test_a_new_order_is_on_the_partner_s_page_without_a_reload(shop, browse):
    """The balance and the latest commissions follow the books; what is being typed into a note stays."""
    page = await browse(await visitors.user(shop))
    await page.goto(f"/partners/{shop.partners[1]['id']}")
    await page.get_by_label("New note").fill("half a sent")
    await page.wait_for_function("() => document.querySelector('[data-live-note]').hidden")
    await shop.post("/orders", shop.order(order_id="brand-new", coupon_code="BELA10", total="1234.00"))
    await expect(page.get_by_role("link", name="brand-new")).to_be_visible(timeout=4_000)
    # The chart is drawn anew of what its table says now.
    await expect(page.locator("#earned canvas")).to_be_visible()
    await expect(page.locator("#earned td").last).to_have_attribute("data-value", re.compile("^1[2-9][0-9]"))
    await expect(page.get_by_label("New note")).to_have_value("half a sent")


async def test_the_dashboard_s_address_is_copied(shop, browse):
    """The button puts the address into the clipboard, and says so."""
    page = await browse(await visitors.user(shop), permissions=["clipboard-read", "clipboard-write"])
    await page.goto(f"/partners/{shop.partners[1]['id']}")
    await page.get_by_role("button", name="Copy").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == shop.partners[1]["dashboard_url"]


async def test_without_scripts_everything_works(shop, browse):
    """Search, tabs, a note and a move are plain links and forms; the chart is a table."""
    page = await browse(await visitors.user(shop), java_script_enabled=False)
    await page.goto("/partners")
    await page.get_by_label("Search").fill("béla")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("link", name="Béla Bartók").click()
    await page.get_by_text("Table", exact=True).click()
    await expect(page.locator("#earned tbody tr").first).to_be_visible()
    await page.get_by_label("New note").fill("noted")
    await page.get_by_role("button", name="Add the note").click()
    await expect(page.locator(".note-text")).to_have_text("noted")
