"""Payouts in a real browser: every page from all sides, and the first of the month from the preview to the payment."""

import asyncio
import re
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest
from playwright.async_api import expect

from tests.support import payouts, visitors
from tests.support.api import kept_up
from tests.support.paying_program import fill, paying_program

# As the page says it (`data-pause-s`).
PAUSE_S = 5


@pytest.fixture
async def program(database_url):
    """Yield a program that pays by every rail; its read models are kept up."""
    async with paying_program(database_url) as made, kept_up(database_url):
        yield made


@pytest.fixture
def enter(program, open_page):
    """Return what opens the site of the program for a visitor."""

    async def one(visitor, **options):
        return await open_page(str(program.api.client.make_url("/")), visitor.cookies, **options)

    return one


async def test_the_pages_can_be_looked_at_by_everybody(program, enter, look):
    """Every page of payouts with payouts in every state, in both themes and at both widths, without a fault of axe."""
    await fill(program)
    api = program.api
    states = {each["status"]: each["id"] for each in await program.of(limit="200")}
    owner = await visitors.user(api)
    page = await enter(owner)
    (first,) = (await api.get("/payout-runs")).json["data"]
    (batch,) = (await api.get("/bank-batches")).json["data"]
    for address, name in (
        ("/overview", "overview"), (f"/partners/{program.partners[1]}", "partner"), ("/payouts", "now"),
        ("/payouts/new", "new"), ("/payouts/runs", "runs"), (f"/payouts/runs/{first['id']}", "run"),
        ("/payouts/all", "all"), ("/payouts/all?status=failed&rail=paypal", "narrowed"), ("/payouts/bank", "bank"),
        (f"/payouts/bank/{batch['id']}", "batch"), ("/payouts/reconciliation", "reconciliation"),
        ("/payouts/outside", "outside"), *((f"/payouts/{id_}", f"one-{status}") for status, id_ in states.items()),
    ):  # fmt: skip
        await page.goto(address)
        await look(page, f"payouts-{name}")
    await page.goto(f"/payouts/{states['review']}")
    await page.locator("summary", has_text="Declare not paid").click()
    await page.locator(".audit summary").first.click()
    await look(page, "payouts-declaring")


async def two_partners(api):
    """Give acme two partners who are paid by hand, and a program that asks for a second person."""
    for number, name in enumerate(("Jane Holloway", "Zoë Ångström")):
        made = await api.partner(name=name, email=f"p{number}@partners.example", coupon_code=f"P{number}")
        await payouts.payable_to(api, made["id"])
        await payouts.earn(api, f"{number + 1}00.00", coupon_code=f"P{number}")
    await api.ask("PATCH", "/program", {"payout_approval": "second_person"})
    await api.project()


async def test_the_first_of_the_month(program, enter, look):
    """Preview, run, approved by another person, paid by hand, confirmed; each sees live what the other did."""
    api = program.api
    await two_partners(api)
    maker = await enter(await visitors.user(api))
    await maker.goto("/payouts")
    await maker.get_by_role("link", name="Pay partners").click()
    await maker.get_by_role("button", name="Make the run: pay $30.00").click()
    await expect(maker.locator("#state")).to_have_text("waits for approval")
    await expect(maker.get_by_text("it has to be somebody else")).to_be_visible()
    await expect(maker.locator("html")).to_have_attribute("data-live", "on")
    await look(maker, "payouts-waits")

    checker = await enter(await visitors.user(api, role="finance"))
    await checker.goto("/payouts")
    await checker.get_by_role("link", name="A run waits for approval").click()
    await look(checker, "payouts-to-approve")
    await checker.locator("summary", has_text="Approve").click()
    await checker.locator("details[open] button").click()
    await expect(checker.get_by_role("status").first).to_have_text("Approved: the payouts are on their way.")
    await expect(maker.get_by_text("Approved by Finance")).to_be_visible()
    await payouts.work(api)
    await expect(maker.locator(".run-counts")).to_contain_text("approved")

    await maker.goto("/payouts")
    await maker.get_by_role("link", name="2 payouts to be paid by hand").click()
    await maker.locator("#results tbody tr", has_text="Jane Holloway").locator("th a").click()
    await maker.locator("summary", has_text="Confirm as paid").click()
    await maker.get_by_label("Transaction number").fill("WISE-4711")
    await look(maker, "payouts-confirm")
    await checker.goto(maker.url)
    await expect(checker.locator("html")).to_have_attribute("data-live", "on")
    await maker.locator("details[open] button").click()
    await expect(maker.locator("#state")).to_have_text("paid")
    await expect(checker.locator("#state")).to_have_text("paid")
    await expect(checker.get_by_text("WISE-4711").first).to_be_visible()


async def test_what_only_a_person_can_do_is_well_made(program, enter, look):
    """A missed day and payments by hand lead on; the list that says where to pay is a file, and no page shows it."""
    api = program.api
    await api.ask("PATCH", "/program", {"payout_schedule": {"every": "month", "day": 5}})
    with api.ledger.connection() as conn:
        # Later than any run that is made here.
        conn.execute("UPDATE ledger.payout_schedules SET missed_on = %s", (api.now + timedelta(days=20),))
    jane = (await api.partner())["id"]
    await payouts.payable_to(api, jane, address="Wise: jane@wise.example")
    await payouts.earn(api, "100.00")
    await payouts.run(api)
    page = await enter(await visitors.user(api))
    await page.goto("/payouts")
    await expect(page.get_by_role("link", name=re.compile("was missed: make it by hand"))).to_be_visible()
    await look(page, "payouts-needs")
    for address in ("/payouts", f"/payouts/{(await payouts.payouts(api))[0]['id']}"):
        await page.goto(address)
        async with page.expect_download() as started:
            await page.get_by_role("link", name="Payment list (CSV)").click()
        file = await started.value
        assert file.suggested_filename == "by-hand.csv"
        assert "Wise: jane@wise.example" in await asyncio.to_thread(Path(await file.path()).read_text)
        assert "wise.example" not in await page.content()
    await look(page, "payouts-one-by-hand")


async def test_what_is_due_follows_the_books_with_pauses(program, enter):
    """The page of what is due asks anew when the books move: at once, and then not before some seconds are over."""
    api = program.api
    await two_partners(api)
    page = await enter(await visitors.user(api))
    await page.goto("/payouts")
    await expect(page.locator("html")).to_have_attribute("data-live", "on")
    asked = []
    page.on("request", lambda request: asked.append(monotonic()) if request.url.endswith("/payouts") else None)
    due = page.locator("section[aria-labelledby=due] .figure-value")
    for each in ("$40.00", "$50.00"):
        await payouts.earn(api, "100.00", coupon_code="P0")
        await expect(due).to_have_text(each, timeout=15_000)
    assert len(asked) > 1
    assert min(after - before for before, after in pairwise(asked)) > PAUSE_S - 0.5


async def test_partners_are_left_out_with_the_keyboard(program, enter):
    """Ticked with the space bar, left out with the return key, and taken back in by a click."""
    await two_partners(program.api)
    page = await enter(await visitors.user(program.api))
    await page.goto("/payouts/new")
    box = page.get_by_label("Leave out Jane Holloway")
    await box.focus()
    await page.keyboard.press("Space")
    await page.get_by_role("button", name="Leave out those that are ticked").focus()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"exclude=p_"))
    await expect(page.get_by_role("button", name="Make the run: pay $20.00")).to_be_visible()
    await page.locator(".chips a").click()
    await expect(page.get_by_role("button", name="Make the run: pay $30.00")).to_be_visible()


async def test_all_of_it_works_without_scripts(program, enter):
    """A run is made and called off with plain links and forms."""
    await two_partners(program.api)
    page = await enter(await visitors.user(program.api), java_script_enabled=False)
    await page.goto("/payouts/new")
    await page.get_by_role("button", name=re.compile("Make the run")).click()
    await page.locator("summary", has_text="Call off").click()
    await page.get_by_label("Reason").fill("too early")
    await page.locator("details[open] button").click()
    await expect(page.locator("#state")).to_have_text("called off")
    await expect(page.get_by_text("Reason: too early")).to_be_visible()
