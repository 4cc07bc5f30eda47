"""Settings, dead letters, intake and imports in a real browser: both themes, two widths, keyboard, swapped parts."""

import asyncio
import re

import psycopg
import pytest
from playwright.async_api import expect

from tests.support import visitors
from tests.support.api import NOW

PARTNERS = """\
name,email,coupon_code,rate_type,rate_value
Kim,kim@example.com,KIM,percentage,5
Eve,eve@,EVE,fixed,1.00
"""
# Tells the page that the books moved, and returns how many parts ask for themselves anew.
BOOKS_MOVE = """() => {
  let asked = 0;
  const count = () => { asked += 1; };
  document.addEventListener("htmx:beforeSend", count);
  document.body.dispatchEvent(new CustomEvent("books"));
  document.removeEventListener("htmx:beforeSend", count);
  return asked;
}"""


async def fill(site):
    """Give the merchant something on every page: an order, ignored ones, dead letters, keys, users, a webhook."""
    await site.partner()
    orders = [
        site.order(), site.order(coupon_code=None), site.order(total="12.345"), site.order(currency="XXX"),
        site.order(total="1.00", customer={"id": "c", "email": "no\u202ebody"}, metadata={"note": "<b>hi</b>"}),
    ]  # fmt: skip
    await site.post("/orders", orders)
    await site.post("/users", {"name": "Vera", "email": "vera@example.com", "role": "viewer"})
    await site.post("/keys", {"name": "storefront", "scopes": ["orders:write"]})
    hook = (await site.post("/webhooks", {"url": "https://shop.example.com/hook", "types": ["partner.*"]})).json
    await asyncio.to_thread(deliver, site, hook["id"], 3)
    await site.ask("PATCH", "/program", {"hold_days": 30, "minimum_payout": {"USD": "50.00"}})
    await site.project()
    return hook["id"]


def deliver(site, hook, position):
    """Write down what the sender would have: a message that was refused once, and given up."""
    with psycopg.connect(site.database_url) as conn:
        conn.execute(
            "INSERT INTO webhooks.deliveries (webhook_id, position, merchant_id, delivery_id, type, subject, status,"
            " attempts, created_at, finished_at)"
            " VALUES (%s, %s, 'acme', %s, 'partner.banned', 'partner/p', 'failed', 1, %s, %s)",
            (hook, position, f"dlv_{position}", NOW, NOW),
        )
        conn.execute(
            "INSERT INTO webhooks.attempts VALUES (%s, %s, 1, 'acme', %s, 12, 500, %s, NULL)",
            (hook, position, NOW, "first words of the answer" if position == 3 else "no"),
        )


@pytest.mark.parametrize(
    "name",
    ["", "users", "keys", "webhooks", "webhooks/new", "webhooks/{id}", "payouts", "imports", "imports/partners",
     "exports", "access-log"],
)  # fmt: skip
async def test_settings_look_right(site, browse, look, name):
    """Every page of the settings is accessible in both themes at both widths."""
    hook = await fill(site)
    page = await browse(await visitors.user(site))
    await page.goto("/settings" + ("/" + name.format(id=hook) if name else ""))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Settings")
    await look(page, "settings-" + (re.sub(r"[^a-z]+", "-", name.replace("{id}", "one")) or "program"))


async def test_dead_letters_and_intake_look_right(site, browse, look):
    """The list of dead letters, one of them, and the intake are accessible; the field at fault is marked."""
    await fill(site)
    page = await browse(await visitors.user(site))
    await page.goto("/intake")
    await expect(page.get_by_text("adds up").first).to_be_attached()
    await look(page, "intake")
    await page.goto("/dead-letters")
    await look(page, "dead-letters")
    await page.get_by_role("link", name="2 decimals, not 3").click()
    await expect(page.locator("mark")).to_have_text('  "total": "12.345",')
    await look(page, "dead-letter")


async def test_a_file_is_tried_and_imported_without_choosing_it_twice(site, browse, look):
    """The form stays while the report is swapped: the file that was tried is the one that is imported."""
    await site.partner()
    page = await browse(await visitors.user(site))
    await page.goto("/settings/imports/partners")
    file = {"name": "p.csv", "mimeType": "text/csv", "buffer": PARTNERS.encode()}
    await page.get_by_label("File", exact=True).set_input_files(file)
    await page.get_by_role("button", name="Try it, book nothing").click()
    report = page.locator("#report")
    await expect(report.get_by_role("heading", name="Tried: p.csv")).to_be_visible()
    await expect(report.locator("tbody tr").first).to_contain_text("email")
    await look(page, "settings-import-report")
    await report.get_by_role("button", name="Import 1 row").click()
    await expect(report.get_by_role("heading", name="Imported: p.csv")).to_be_visible()
    await expect(page.get_by_role("button", name="Try it, book nothing")).to_be_enabled()
    await site.project()
    assert len((await site.get("/partners")).json["data"]) == 2


async def test_a_refused_file_is_told_in_the_report(site, browse, faults):
    """A file that is none is refused where the report would stand, with the way to mend it."""
    faults.allow("422")
    page = await browse(await visitors.user(site))
    await page.goto("/settings/imports/partners")
    file = {"name": "p.csv", "mimeType": "text/csv", "buffer": PARTNERS.encode("utf-16")}
    await page.get_by_label("File", exact=True).set_input_files(file)
    await page.get_by_role("button", name="Try it, book nothing").click()
    await expect(page.locator("#report .note.bad")).to_contain_text("save it as UTF-8")


async def test_a_key_is_copied_by_the_keyboard(site, browse, look):
    """A key is made without a mouse, stands there once with a button that copies it, and is gone with the page."""
    page = await browse(await visitors.user(site), permissions=["clipboard-read", "clipboard-write"])
    await page.goto("/settings/keys")
    await page.get_by_label("What it is for").press_sequentially("shop")
    await page.get_by_role("button", name="Make the key").press("Enter")
    secret = page.locator(".secret input")
    await expect(secret).to_have_value(re.compile("^cl_"))
    await look(page, "settings-key-made")
    await page.get_by_role("button", name="Copy").press("Enter")
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == await secret.input_value()
    await page.goto("/settings/keys")
    await expect(secret).to_have_count(0)


async def test_counts_follow_while_a_letter_is_being_ticked(site, browse):
    """A message that is refused while the list is open is counted at once, and no tick is lost."""
    await site.post("/orders", site.order(total="1.234"))
    page = await browse(await visitors.user(site))
    await page.goto("/dead-letters")
    tick = page.get_by_role("checkbox").nth(1)
    await tick.check()
    await page.wait_for_function("document.documentElement.dataset.live === 'on'")
    await site.post("/orders", site.order(total="2.345"))
    await expect(page.get_by_role("link", name="Open 2")).to_be_visible()
    await expect(tick).to_be_checked()


async def test_what_is_being_read_is_not_swapped_away(site, browse):
    """The log of a webhook refreshes itself, but not while somebody has an attempt open."""
    hook = (await site.post("/webhooks", {"url": "https://shop.example.com/hook", "types": ["*"]})).json["id"]
    await asyncio.to_thread(deliver, site, hook, 3)
    page = await browse(await visitors.user(site))
    await page.goto(f"/settings/webhooks/{hook}")
    await page.wait_for_function("document.documentElement.dataset.live === 'on'")
    rows = page.locator("#deliveries tbody tr")
    await page.get_by_text("1 attempt").click()
    await asyncio.to_thread(deliver, site, hook, 4)
    assert await page.evaluate(BOOKS_MOVE) == 0
    await expect(page.get_by_text("first words of the answer")).to_be_visible()
    await expect(rows).to_have_count(1)
    await page.get_by_text("1 attempt").click()
    await page.locator("h1").click()
    assert await page.evaluate(BOOKS_MOVE) == 1
    await expect(rows).to_have_count(2)
