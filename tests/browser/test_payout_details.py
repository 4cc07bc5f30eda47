"""A partner's payout details and payouts in a real browser: from every side, by keyboard, to Stripe and back."""

from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect
from pydantic import SecretStr

from ledger import payouts as decisions
from ledger.payouts import Act
from tests.support import logins, visitors
from tests.support.api import PAYOUTS, kept_up, running
from tests.support.doubles.stripe import KEY, stripe_double
from tests.support.payouts import confirm, earn, later, payable_to, payouts, run

IBAN = "DE89 3704 0044 0532 0130 00"
# A form that is refused is a failed request to the browser, which says so on its console.
REFUSED = "status of 422"
LONG = "Konstantinopolitanische Dudelsackpfeifenmacher GmbH & Söhne"


@pytest.fixture
async def stripe():
    """Yield Stripe, on the loopback."""
    async with stripe_double() as double:
        yield double


@pytest.fixture
async def site(database_url, stripe):
    """Yield the running application, on which partners can be paid in all four ways."""
    settings = PAYOUTS.model_copy(
        update={
            "stripe_api_key": SecretStr(KEY), "stripe_api_base": stripe.url, "paypal_client_id": "client",
            "paypal_client_secret": SecretStr("secret"), "paypal_api_base": "http://127.0.0.1:9",
            "bank_debtor_name": "Acme", "bank_debtor_iban": IBAN, "paypal_off": True,
            "stripe_payout_max": {"USD": 500_000, "EUR": 450_000}, "stripe_day_max": {"USD": 5_000_000},
        }
    )  # fmt: skip
    async with running(database_url, payouts=settings) as app, kept_up(database_url):
        yield app


@pytest.fixture
async def jane(site):
    """Return a partner with a password, and the path of her dashboard."""
    terms = {"minimum_payout": {"USD": "50.00"}, "payout_schedule": {"every": "month", "day": 5}}
    await site.ask("PATCH", "/program", terms)
    partner = await site.partner(name="Jane Doe")
    await site.project()
    partner["home"] = urlsplit(partner["dashboard_url"]).path
    stranger = visitors.Visitor(site)
    page = await stranger.get(f"{partner['home']}/login")
    await stranger.submit(page, password=logins.GOOD, again=logins.GOOD)
    partner["visitor"] = stranger
    return partner


async def paid(site, transaction_id, *totals):
    """Let Jane earn these totals and be paid by hand; return the payout's id."""
    await earn(site, *totals)
    await run(site, minimum={})
    (payout,) = await payouts(site, status="requested")
    await confirm(site, payout, transaction_id)
    return payout["id"]


@pytest.fixture
async def history(site, stripe, jane):
    """Let Jane have had payouts that ended in every way; return the id of the last."""
    await payable_to(site, jane["id"], name="Jane Doe")
    await paid(site, "WIRE-2026-0001", "400.00", "260.50")
    back = await paid(site, f"{LONG}-{'9' * 40}", "750.00")

    act = Act(site.now, "test")
    site.paying.books.decide(("acme", back), lambda payout: decisions.returned(payout, act, 7_500, "AC04"), act)
    await site.project()
    later(site)
    await run(site)
    (payout,) = await payouts(site, status="requested")
    await site.post(f"/payouts/{payout['id']}/cancel", {"reason": "too early"})
    await site.project()
    await payable_to(site, jane["id"], "stripe", stripe.account("acct_1", "inactive"))
    later(site, timedelta(days=4))
    await run(site)
    later(site, timedelta(days=4))
    await payable_to(site, jane["id"], name="Jane Doe")
    later(site, timedelta(days=4))
    await run(site)
    await earn(site, "120.00")
    return (await payouts(site, status="requested"))[0]["id"]


async def test_the_forms_are_well_made(browse, look, jane):
    """The form of each way of being paid is well made, before anything was entered."""
    page = await browse(jane["visitor"])
    for method in ("stripe", "bank"):
        await page.goto(f"{jane['home']}/payout-details?method={method}")
        await look(page, f"payout-details-{method}")
    await page.goto(f"{jane['home']}/payouts")
    await look(page, "partner-payouts-none")


async def test_a_form_with_faults_is_well_made(browse, look, faults, jane):
    """A refused form, and one that asks for the password again, are well made, and lead to what is wrong."""
    faults.allow(REFUSED)
    page = await browse(jane["visitor"])
    await page.goto(f"{jane['home']}/payout-details?method=bank")
    await page.get_by_label("IBAN").fill("DE89 3704 0044 0532 0130 01")
    await page.get_by_label("Account holder").fill(LONG)
    await page.get_by_label("Your password").fill(logins.GOOD)
    await page.get_by_role("button", name="Pay me there").click()
    await expect(page.get_by_label("IBAN")).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("IBAN")).to_have_value("")
    await expect(page.get_by_label("Account holder")).to_have_value(LONG)
    await look(page, "payout-details-refused")


async def test_details_are_changed_by_keyboard(site, browse, look, jane):
    """Everything can be done without a mouse; after a change the page says until when nothing goes there."""
    page = await browse(jane["visitor"])
    for method, fields in (("manual", ["in cash"]), ("bank", ["Jane Doe", IBAN, ""])):
        await page.goto(f"{jane['home']}/payout-details?method={method}")
        first = "How to pay" if method == "manual" else "Account holder"
        await page.get_by_label(first).focus()
        for typed in (*fields, logins.GOOD):
            await page.keyboard.type(typed)
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("Saved")
    await expect(page.get_by_text("DE89•••3000")).to_be_visible()
    await look(page, "payout-details-cooling")
    await earn(site, "700.00")
    await page.goto(f"{jane['home']}/payouts")
    await expect(page.get_by_text("nothing is paid there before")).to_be_visible()


async def test_to_stripe_and_back(site, browse, look, faults, jane):
    """The way leads to Stripe's own page and back, and what Stripe says then is on the page."""
    # Where Stripe leads back to is the public address, which is not the one under test.
    faults.allow("ledger.example")
    page = await browse(jane["visitor"])

    async def here(route):
        """Lead an address of the public site to the one under test."""
        place = urlsplit(route.request.url)._replace(scheme="", netloc="").geturl()
        await route.fulfill(status=303, headers={"Location": str(site.client.make_url(place))})

    await page.route("https://ledger.example/**", here)
    await page.goto(f"{jane['home']}/payout-details?method=stripe")
    await page.get_by_label("Your password").fill(logins.GOOD)
    await page.get_by_role("button", name="Set up at Stripe").click()
    await look(page, "payout-details-link")
    await page.get_by_role("link", name="Continue at Stripe").click()
    await page.get_by_role("button", name="Fill in everything").click()
    await expect(page.get_by_text("Your account at Stripe can be paid")).to_be_visible()
    await look(page, "payout-details-stripe-set-up")


async def test_payouts_of_every_kind_are_well_made(site, browse, look, jane, history):
    """The list, and one payout, are well made with payouts that ended in every way, and long transaction ids."""
    page = await browse(await visitors.partner(site, jane["id"]))
    await page.goto(f"{jane['home']}/payouts")
    await expect(page.locator("#payouts-title ~ table tbody tr")).to_have_count(5)
    await look(page, "partner-payouts")
    await page.goto(f"{jane['home']}/payouts/{history}")
    await look(page, "partner-payout")
    await page.goto(f"{jane['home']}/statements/2026-11")
    await look(page, "partner-statement-payouts")


async def test_a_payout_shows_without_a_reload(site, browse, jane, history):
    """What becomes of a payout while the partner looks is on the page a moment later."""
    page = await browse(await visitors.partner(site, jane["id"]))
    await page.goto(f"{jane['home']}/payouts/{history}")
    await expect(page.locator("html")).to_have_attribute("data-live", "on")
    (payout,) = await payouts(site, status="requested")
    await confirm(site, payout, "WIRE-LIVE")
    await expect(page.get_by_text("WIRE-LIVE")).to_be_visible()


async def test_a_long_address_stays_in_its_card(site, browse, look, jane):
    """As long as the masked address is, it is broken rather than cut off or drawn over what is beside it."""
    await payable_to(site, jane["id"], "paypal", f"jane@{'.'.join(['very-long-name-of-a-host'] * 4)}.example")
    page = await browse(await visitors.user(site))
    await page.goto(f"/partners/{jane['id']}")
    for width in (360, 800, 1280):
        await page.set_viewport_size({"width": width, "height": 900})
        beyond = await page.evaluate(
            """() => { const card = document.querySelector("#payout-details");
            const edge = card.getBoundingClientRect().right;
            const found = [...card.querySelectorAll("*")].filter((each) => each.getBoundingClientRect().right > edge);
            return found.map((each) => each.outerHTML) }"""
        )
        assert (width, beyond) == (width, [])
    await look(page, "merchant-partner-long-address")


async def test_the_merchants_view_is_well_made(site, browse, look, jane):
    """The partner's page, the details behind it, and the settings are well made."""
    await payable_to(site, jane["id"], "bank", IBAN, name=LONG[:60])
    later(site)
    await payable_to(site, jane["id"], "paypal", "jane@example.com")
    page = await browse(await visitors.user(site))
    await page.goto(f"/partners/{jane['id']}")
    await look(page, "partner-with-details")
    await page.goto(f"/partners/{jane['id']}/payout-details?method=bank")
    await look(page, "merchant-payout-details")
    await page.goto("/settings/payouts")
    await look(page, "settings-payout-methods")


async def test_the_days_of_payouts_are_chosen(site, browse, look, jane):
    """Of the days only the field that the choice takes is in sight; saved, the next day stands in words."""
    page = await browse(await visitors.user(site))
    await page.goto("/settings")
    await look(page, "settings-payout-terms")
    await expect(page.get_by_label("Day of the month")).to_be_visible()
    await expect(page.get_by_label("Day of the week")).to_be_hidden()
    await page.get_by_label("Days of payouts").select_option("week")
    await expect(page.get_by_label("Day of the month")).to_be_hidden()
    await page.get_by_label("Day of the week").select_option("friday")
    await page.get_by_label("When money was sent").uncheck()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("The next payout run is made on Nov 27, 2026.")).to_be_visible()
