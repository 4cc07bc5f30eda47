"""Commissions and payouts in a real browser: ticking many, the note of what is new, one commission, a payment."""

import re

from playwright.async_api import expect

from tests.support import visitors


async def filled(site):
    """Give acme commissions in most states, of three partners, in two currencies; return the orders' ids."""
    jane = await site.partner(name="Jane Holloway", email="jane@holloway.example")
    await site.partner(name="Bartholomew Featherstonehaugh-Cholmondeley", email="bart@example.com", coupon_code="BART")
    await site.partner(name="Zoë Ångström", email="zoe@example.com", coupon_code="ZOE")
    placed = [
        site.order(
            order_id=f"W-{10480 + number}", total=f"{37 + number * 13.37:.2f}", tax="3.20",
            currency="EUR" if number % 7 == 6 else "USD",
            coupon_code=("JANE10", "BART", "ZOE")[number % 3], customer={"id": f"c-{900 + number % 4}"},
            occurred_at=f"2026-11-{3 + number:02}T10:00:00Z",
        )
        for number in range(16)
    ]  # fmt: skip
    await site.post("/orders", placed)
    ids = [order["order_id"] for order in placed]
    await site.post("/commissions/bulk", {"action": "approve", "order_ids": ids[:9]})
    await site.post(
        "/commissions/bulk", {"action": "mark-paid", "order_ids": ids[:3], "reference": "bank transfer 4711"}
    )
    await site.post("/orders", [site.refund(ids[0], "20.00"), site.refund(ids[9], "12.34")])
    await site.post("/commissions/bulk", {"action": "hold", "order_ids": ids[3:4], "reason": "address looks odd"})
    await site.post("/commissions/bulk", {"action": "reject", "order_ids": ids[15:], "reason": "test order"})
    body = {"partner_id": jane["id"], "amount": "25.00", "currency": "USD", "reason": "launch bonus"}
    await site.post("/commissions", body)
    zoe = (await site.get("/partners?search=zoe")).json["data"]
    await site.project()
    zoe = (await site.get("/partners?search=zoe")).json["data"]
    body = {"partner_id": zoe[0]["id"], "amount": "-90.00", "currency": "USD", "reason": "counted twice"}
    await site.post("/commissions", body)
    await site.ask("PATCH", "/program", {"minimum_payout": {"USD": "50.00"}})
    await site.project()
    return ids


async def test_the_pages_can_be_looked_at_by_everybody(site, browse, look):
    """Every page of commissions and payouts, at both widths and in both themes, without a fault that axe finds."""
    ids = await filled(site)
    page = await browse(await visitors.user(site))
    jane = (await site.get("/partners?search=jane")).json["data"][0]["id"]
    for address, name in (
        ("/commissions", "commissions"), ("/commissions?status=held&currency=USD", "commissions-narrowed"),
        (f"/commissions/{ids[0]}", "commission-paid"), (f"/commissions/{ids[9]}", "commission-pending"),
        ("/commissions/new", "commission-new"), ("/payouts/outside", "payouts"),
        ("/payouts/history", "payouts-history"),
        (f"/payouts/pay?partner_id={jane}&currency=USD", "payouts-pay"),
        ("/commissions?partner=e", "commissions-which"),
    ):  # fmt: skip
        await page.goto(address)
        await look(page, name)
    await page.goto(f"/commissions/{ids[9]}")
    await page.get_by_text("The events as they are recorded").click()
    await page.locator("summary", has_text="Hold").click()
    await look(page, "commission-open")


async def test_many_are_ticked_and_moved_with_the_keyboard(site, browse):
    """All are ticked by one box, only the fields of the move are shown, and what was done is told."""
    await filled(site)
    page = await browse(await visitors.user(site))
    await page.goto("/commissions?status=pending")
    boxes = page.locator('[name="order_ids"]')
    count = await boxes.count()
    assert count > 3
    every = page.get_by_label("Tick all that are shown")
    await every.focus()
    await page.keyboard.press("Space")
    await expect(page.locator('[name="order_ids"]:checked')).to_have_count(count)
    await expect(page.get_by_label("Reason")).to_be_hidden()
    await page.get_by_label("With those that are ticked").select_option("hold")
    await expect(page.get_by_label("Reference of the payment")).to_be_hidden()
    await page.get_by_label("Reason").fill("let us look")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status").first).to_have_text("Done with all that were ticked.")
    await expect(page.get_by_text("No commissions here")).to_be_visible()


async def test_filters_change_the_list_and_the_address(site, browse):
    """A tab or a filter changes the list without leaving the page, and the address goes along, also back again."""
    await filled(site)
    page = await browse(await visitors.user(site))
    await page.goto("/commissions")
    await page.get_by_role("link", name="Paid", exact=True).click()
    await expect(page).to_have_url(re.compile(r"/commissions\?status=paid$"))
    await expect(page.locator("#results tbody tr")).to_have_count(3)
    await page.get_by_label("Partner").fill("jane")
    await page.keyboard.press("Enter")
    await expect(page.locator(".chip")).to_contain_text("Jane Holloway")
    await expect(page).to_have_url(re.compile(r"status=paid&partner_id=p_"))
    await expect(page.locator("#results tbody tr")).to_have_count(1)
    await page.locator(".chip").click()
    await expect(page.locator("#results tbody tr")).to_have_count(3)


async def test_what_is_new_is_told_and_not_pushed_under_the_finger(site, browse):
    """A new order makes a note above the list, which stays as it is, ticks and all, until the note is clicked."""
    await filled(site)
    page = await browse(await visitors.user(site))
    await page.goto("/commissions")
    await expect(page.locator("html")).to_have_attribute("data-live", "on")
    rows = await page.locator("#results tbody tr").count()
    await page.locator('[name="order_ids"]').first.check()
    await site.post("/orders", site.order(order_id="NEW-1", occurred_at="2026-11-22T11:00:00Z"))
    note = page.get_by_role("link", name="1 new commission: show")
    await expect(note).to_be_visible()
    await expect(page.locator('[name="order_ids"]').first).to_be_checked()
    await expect(page.locator("#results tbody tr")).to_have_count(rows)
    await note.click()
    await expect(page.locator("#results tbody tr").first).to_contain_text("NEW-1")


async def test_a_commission_s_page_follows_what_happens(site, browse):
    """State, figures and story change while the page is open; a form that is being filled in stays as it is."""
    ids = await filled(site)
    page = await browse(await visitors.user(site))
    await page.goto(f"/commissions/{ids[9]}")
    await expect(page.locator("html")).to_have_attribute("data-live", "on")
    await page.locator("summary", has_text="Hold").click()
    reason = page.locator("#field-hold-reason")
    await reason.fill("half a sen")
    await site.post(f"/commissions/{ids[9]}/approve", {})
    await expect(page.locator("#state")).to_have_text("approved")
    await expect(page.locator(".story li").last).to_contain_text("became payable")
    await expect(reason).to_have_value("half a sen")


async def test_a_partner_is_paid_without_scripts(site, browse):
    """From what is due to the mark in the history, with plain links and forms."""
    await filled(site)
    page = await browse(await visitors.user(site, role="finance"), java_script_enabled=False)
    await page.goto("/payouts/outside")
    await page.get_by_role("link", name=re.compile("Mark as paid.*Jane Holloway, USD")).click()
    await page.get_by_label("Reference").fill("bank transfer 4712")
    await page.get_by_role("button", name=re.compile("as paid")).click()
    await expect(page.get_by_role("status")).to_contain_text("nothing that is approved is left")
    await expect(page.locator("section[aria-labelledby=paid] tbody tr").first).to_contain_text("bank transfer 4712")
