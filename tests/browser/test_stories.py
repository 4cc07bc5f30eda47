"""Whole days at the dashboards, on the real service: worker, projector, web, broker, PostgreSQL, kcat and Chromium."""

import json
import secrets
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

# What issue 4 promises of a message that kcat published.
SOON_MS = 2_000
PASSWORD = secrets.token_urlsafe(12)
EMAIL = "owner@acme.example"


def order(number, **change):
    """Return an order of 80.00 with Jane's code, as a storefront tells it."""
    told = {
        "type": "order.placed", "event_id": f"evt-{number}", "merchant_id": "acme", "order_id": f"A-{number}",
        "occurred_at": "2026-11-22T10:00:00Z", "currency": "USD", "total": "80.00", "coupon_code": "JANE10",
        "customer": {"id": "c-77", "email": "kim@customers.example", "name": "Kim Possible"},
    }  # fmt: skip
    return json.dumps(told | change).encode()


@pytest.fixture
async def opened(service, open_page):
    """Return what opens another browser at the service."""

    async def one():
        return await open_page(f"http://127.0.0.1:{service.web.port}")

    return one


@pytest.fixture
async def merchant(service, opened):
    """Return a browser whose user came by the one-time link of a new merchant, and has added Jane with a code."""
    made = service.cli_json(
        "merchant", "create", "--slug", "acme", "--name", "Acme", "--currency", "USD", "--email", EMAIL
    )
    page = await opened()
    await page.goto(urlsplit(made["login_url"]).path)
    await set_password(page)
    await log_in(page)
    await page.get_by_role("link", name="Partners", exact=True).click()
    await page.get_by_role("link", name="Add a partner").first.click()
    await page.get_by_label("Name").fill("Jane Doe")
    await page.get_by_label("E-mail").fill("jane@partners.example")
    await page.get_by_label("Coupon code").fill("JANE10")
    await page.locator("[name='rate.value']").fill("10")
    await page.get_by_role("button", name="Add the partner").click()
    await expect(page.get_by_role("heading", name="Jane Doe")).to_be_visible()
    return page


async def set_password(page):
    """Fill in and send the form that sets a password."""
    for field in await page.locator("main input[type=password]").all():
        await field.fill(PASSWORD)
    await page.locator("main button.primary").click()


async def log_in(page):
    """Log in as the merchant's owner."""
    await page.goto("/login")
    await page.get_by_label("E-mail address").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/overview**")


async def watch(page, address):
    """Go to a page that is live, and return once it listens."""
    await page.goto(address)
    await page.wait_for_function("() => document.documentElement.dataset.live === 'on'")


async def test_a_merchants_day(merchant, kcat, look):
    """What kcat publishes is on the open page within two seconds, and every figure leads to what is behind it."""
    page = merchant
    await watch(page, "/overview")
    kcat.publish_plain(order(1), "-k", "acme/A-1")
    await expect(page.get_by_text("$80.00").first).to_be_visible(timeout=SOON_MS)
    kcat.publish_plain(order(2, currency="XXX"), "-k", "acme/A-2")
    await expect(page.get_by_role("link", name="1 dead letter")).to_be_visible(timeout=SOON_MS)
    await look(page, "story-overview")
    await page.get_by_role("link", name="1 dead letter").click()
    await expect(page.get_by_text("unknown_currency").first).to_be_visible()
    await page.get_by_role("link", name="Commissions", exact=True).click()
    await page.get_by_role("link", name="A-1", exact=True).click()
    await expect(page.get_by_text("$8.00").first).to_be_visible()
    await look(page, "story-commission")
    await page.get_by_role("button", name="Log out").click()
    await page.goto("/overview")
    assert "/login" in page.url


async def test_a_partner_from_the_first_visit_to_paid_out(merchant, opened, kcat, look):
    """The address shows nothing until a password is set; then the partner follows an order until it was paid, live."""
    address = urlsplit(await merchant.locator("input[value*='/dashboard/']").first.input_value()).path
    partner, passer_by = await opened(), await opened()
    await partner.goto(address)
    await look(partner, "story-first-visit")
    await set_password(partner)
    await expect(partner.get_by_role("heading", name="Your earnings")).to_be_visible()
    await passer_by.goto(address)
    await expect(passer_by.get_by_text("Jane")).to_have_count(0)
    await expect(passer_by.get_by_label("Password")).to_be_visible()

    await watch(partner, partner.url)
    kcat.publish_plain(order(1), "-k", "acme/A-1")
    await expect(partner.get_by_text("$8.00").first).to_be_visible(timeout=SOON_MS)
    for private in ("Kim Possible", "kim@customers.example", "c-77"):
        assert private not in await partner.content()

    await merchant.goto("/commissions/A-1")
    await merchant.get_by_text("Approve", exact=True).first.click()
    if await merchant.locator("details[open] button").count():
        await merchant.locator("details[open] button").click()
    await expect(merchant.locator(".badge.approved").first).to_be_visible()
    await merchant.get_by_text("Mark as paid", exact=True).first.click()
    await merchant.get_by_label("Reference").fill("SEPA 4711")
    await merchant.locator("details[open] button").click()
    await expect(merchant.locator(".badge.paid").first).to_be_visible()

    await partner.get_by_role("link", name="Payouts", exact=True).click()
    await expect(partner.get_by_text("SEPA 4711").first).to_be_visible()
    await expect(partner.get_by_text("$8.00").first).to_be_visible()
    await look(partner, "story-paid-out")
