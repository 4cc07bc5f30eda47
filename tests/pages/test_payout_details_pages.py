"""Payout details as pages: changed by the partner with the password, seen masked, by nobody else but who may pay."""

import re
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from schemas.payout_settings import PayoutSettings
from tests.support import logins, visitors
from tests.support.api import PAYOUTS, kept_up, running
from tests.support.doubles.stripe import KEY, stripe_double
from tests.support.payouts import earn, payable_to, run

IBAN = "DE89370400440532013000"
OTHER_IBAN = "FR1420041010050500013M02606"
MAIL = "jane.doe@example.com"
HOSTILE = "<script>alert(1)</script>'\"&"
KIM = {"name": "Kim", "email": "kim@k.example", "coupon_code": "KIM10"}
BANK = {"bank_debtor_name": "Acme", "bank_debtor_iban": IBAN}
PAYPAL = {
    "paypal_client_id": "id",
    "paypal_client_secret": SecretStr("secret"),
    "paypal_api_base": "http://127.0.0.1:9",
}


@pytest.fixture
async def stripe():
    """Yield Stripe, on the loopback."""
    async with stripe_double() as double:
        yield double


@pytest.fixture
async def api(database_url, stripe):
    """Yield the application, with every way of being paid."""
    told = {**BANK, **PAYPAL, "stripe_api_key": SecretStr(KEY), "stripe_api_base": stripe.url}
    async with running(database_url, payouts=PAYOUTS.model_copy(update=told)) as app, kept_up(database_url):
        yield app


@pytest.fixture
async def jane(api):
    """Return Jane's browser, the address of her dashboard, and Jane: with a password, and without details."""
    partner = await api.partner()
    home = urlsplit(partner["dashboard_url"]).path
    return await entered(api, home), home, partner


async def entered(api, home):
    """Return a browser in which the partner of this dashboard set a password."""
    await api.project()
    browser = visitors.Visitor(api)
    page = await browser.submit(await browser.get(f"{home}/login"), password=logins.GOOD, again=logins.GOOD)
    assert page.status == 200
    return browser


async def filled(browser, home, method="bank", **fields):
    """Return the page after the form of a way of being paid was filled in and sent."""
    told = {"bank": {"address": IBAN, "name": "Jane Doe"}, "paypal": {"address": MAIL}, "manual": {"address": "cash"}}
    page = await browser.get(f"{home}/payout-details?method={method}")
    form = f"form[action$='/payout-details/{method}']"
    return await browser.submit(page, form, **{**told.get(method, {}), "current": logins.GOOD, **fields})


def stored(page):
    """Return what the page says of how somebody is paid."""
    section = page.one("section[aria-labelledby=stored-title]")
    facts = section.select("dl.facts dt"), section.select("dl.facts dd")
    return {name.get_text(): " ".join(value.get_text().split()) for name, value in zip(*facts, strict=True)}


async def details(api, partner, of="acme"):
    """Return what the API says of a partner's details."""
    return (await api.get(f"/partners/{partner['id']}/payout-details", of=of)).json


# --- the partner ------------------------------------------------------------------------------------------------------


async def test_a_partner_enters_details_and_sees_them_masked(api, jane):
    """What was entered is how the partner is paid, shown in part, with the history; the API says the same."""
    browser, home, partner = jane
    page = await browser.get(f"{home}/payout-details")
    assert page.said(".tabs a") == ["Stripe", "PayPal", "Bank transfer", "By hand"]
    done = await filled(browser, home, routing="cobadeffxxx")
    assert done.said("[role=status]") == ["Saved. That is where your money goes from now on."]
    assert stored(done) == {
        "Way": "Bank transfer", "IBAN": "DE89•••3000", "Holder": "J••• D•••", "BIC": "COBADEFFXXX",
    }  # fmt: skip
    assert IBAN not in done.text
    assert "Jane Doe" not in done.text
    told = await details(api, partner)
    assert (told["method"]["address"], told["is_cooling"]) == ("DE89•••3000", False)
    assert [each["by"]["kind"] for each in told["history"]] == ["partner"]
    assert done.said(".story li p:first-child") == ["Entered: Bank transfer"]
    assert "by you" in done.words


async def test_a_change_has_to_cool_down_and_says_so(api, jane):
    """After a change the page says until when nothing is paid there; once that is over it says so no more."""
    browser, home, partner = jane
    await filled(browser, home)
    done = await filled(browser, home, "paypal")
    assert stored(done) == {"Way": "PayPal", "PayPal account": "j•••@e•••.com"}
    assert "nothing is paid there before Nov 25, 2026" in done.words
    assert (await details(api, partner))["is_cooling"]
    api.now += timedelta(hours=73)
    page = await (await entered_again(api, home)).get(f"{home}/payout-details")
    assert "nothing is paid there" not in page.words


async def entered_again(api, home):
    """Return a browser in which the partner of this dashboard logs in."""
    browser = visitors.Visitor(api)
    await browser.submit(await browser.get(f"{home}/login"), password=logins.GOOD)
    return browser


WRONG = [
    ("bank", {"address": "DE89370400440532013001"}, "address"),
    ("bank", {"address": "DE89 3704"}, "address"),
    ("bank", {"address": "TN5910006035183598478831"}, "address"),
    ("bank", {"address": HOSTILE}, "address"),
    ("bank", {"name": None}, "name"),
    ("bank", {"name": "☃"}, "name"),
    ("bank", {"routing": "BNPAFRPPXXX"}, "routing"),
    ("paypal", {"address": "no address"}, "address"),
    ("paypal", {"address": HOSTILE}, "address"),
    ("paypal", {"address": ""}, "address"),
    ("manual", {"address": "x" * 128}, "address"),
]


async def test_what_is_wrong_stands_beside_its_field(api, jane):
    """What is refused is told at the field, nothing is changed, and no account number is sent back."""
    browser, home, partner = jane
    for method, typed, field in WRONG:
        page = await filled(browser, home, method, **typed)
        assert page.status == 422, typed
        wrong = page.one("[aria-invalid=true]")
        assert wrong["name"] == field
        assert page.one(f"#{str(wrong['aria-describedby']).split()[-1]}").get_text()
        assert "<script>alert" not in page.text
        if method == "bank":
            assert page.one("[name=address]")["value"] == ""
            for number in (IBAN, str(typed.get("address") or IBAN)):
                assert number not in page.soup.get_text()
                assert number not in page.text
        assert page.one(f"form[action$='/{method}'] [name=current]")["value"] == ""
    assert (await details(api, partner))["history"] == []


async def test_what_was_typed_beside_the_account_number_stands_there_again(jane):
    """A form that is refused keeps what is no account number."""
    browser, home, _ = jane
    page = await filled(browser, home, address="DE00", name="Jané Döe", routing="COBADEFFXXX")
    assert page.one("[name=name]")["value"] == "Jané Döe"
    assert page.one("[name=routing]")["value"] == "COBADEFFXXX"
    page = await filled(browser, home, "paypal", address="jane@nowhere")
    assert page.one("[name=address]")["value"] == "jane@nowhere"


async def test_nothing_is_changed_without_the_password(api, jane):
    """To change or remove details, or to go to Stripe, the password is asked for again; it has to be right."""
    browser, home, partner = jane
    await filled(browser, home)
    before = await details(api, partner)
    for typed in (None, "", logins.WRONG):
        for method in ("paypal", "stripe"):
            page = await filled(browser, home, method, current=typed)
            assert (page.status, page.one("[aria-invalid=true]")["name"]) == (422, "current")
        page = await browser.get(f"{home}/payout-details")
        page = await browser.submit(page, "form[action$='/remove']", current=typed)
        assert (page.status, page.one("[aria-invalid=true]")["name"]) == (422, "current")
        assert page.one("details.action").has_attr("open")
    assert await details(api, partner) == before


async def test_guessing_the_password_here_has_to_wait(jane):
    """Wrong passwords count as they do at the login; a right one forgives them, so that many changes can be made."""
    browser, home, _ = jane
    for number in range(8):
        page = await filled(browser, home, "manual", address=f"way {number}")
        assert page.status == 200, number
    statuses = [(await filled(browser, home, current=logins.WRONG)).status for _ in range(7)]
    assert statuses == [422] * 5 + [429] * 2
    assert (await filled(browser, home)).status == 429


async def test_details_are_removed(api, jane):
    """Removed details are gone, and the page says what that means; removing twice is no error."""
    browser, home, partner = jane
    await filled(browser, home)
    page = await browser.get(f"{home}/payout-details")
    done = await browser.submit(page, "form[action$='/remove']", current=logins.GOOD)
    assert "Nothing can be paid to you until you enter others" in done.said("[role=status]")[0]
    assert "You have no payout details yet." in done.words
    assert (await browser.submit(page, "form[action$='/remove']", current=logins.GOOD)).status == 200
    assert (await details(api, partner))["method"] is None


async def test_a_form_of_another_session_does_nothing(api, jane):
    """Without the token of the session no form changes anything."""
    browser, home, partner = jane
    for path in ("bank", "paypal", "manual", "remove", "stripe", "stripe/check"):
        fields = {"csrf": "x", "address": MAIL, "current": logins.GOOD}
        assert (await browser.post(f"{home}/payout-details/{path}", fields)).status == 403
    assert (await details(api, partner))["history"] == []


async def test_a_partner_neither_sees_nor_changes_anothers_details(api, jane):
    """Another dashboard's details lead to its login, whatever is asked or sent there."""
    browser, home, partner = jane
    await filled(browser, home)
    kim = await api.partner(**KIM)
    other = urlsplit(kim["dashboard_url"]).path
    stranger = await entered(api, other)
    page = await stranger.get(f"{home}/payout-details", follow=False)
    assert (page.status, page.location) == (303, f"{home}/login")
    token = str((await stranger.get(other)).one("form[action$='/logout'] [name=csrf]")["value"])
    fields = {"csrf": token, "address": MAIL, "current": logins.GOOD}
    page = await stranger.post(f"{home}/payout-details/paypal", fields, follow=False)
    assert page.status == 303
    assert (await details(api, partner))["method"]["method"] == "bank"
    shown = await stranger.get(f"{other}/payout-details?partner_id={partner['id']}")
    assert "DE89" not in shown.text


# --- Stripe -----------------------------------------------------------------------------------------------------------


async def test_to_stripe_and_back(api, stripe, jane):
    """The way to Stripe is a link on the page; coming back proves nothing, only what Stripe says then."""
    browser, home, partner = jane
    page = await filled(browser, home, "stripe")
    link = str(page.one(".secret a")["href"])
    assert link.startswith(stripe.url)
    early = await browser.get(f"{home}/payout-details?stripe=back")
    assert "cannot be paid yet" in early.words
    assert (await details(api, partner))["method"] is None
    async with api.client.session.post(link, allow_redirects=False) as answer:
        back = answer.headers["Location"]
    assert urlsplit(back).path == f"{home}/payout-details"
    done = await browser.get(back.removeprefix("https://ledger.example"))
    assert "Your account at Stripe can be paid" in done.words
    assert stored(done)["Way"] == "Stripe"
    assert (await details(api, partner))["method"]["method"] == "stripe"


async def test_coming_back_without_having_been_there(jane):
    """Whoever opens the way back without an account is told to set it up; a used link leads to another one."""
    browser, home, _ = jane
    page = await browser.get(f"{home}/payout-details?stripe=back")
    assert (page.status, page.said("[role=status]")) == (200, [])
    page = await browser.get(f"{home}/payout-details?stripe=again")
    assert "was used before" in page.words
    assert page.said(".tabs [aria-current]") == ["Stripe"]


async def test_stripe_that_does_not_answer_is_told(api, stripe, jane):
    """While Stripe is away the page says so, and the details stay what they were."""
    browser, home, partner = jane
    await filled(browser, home)
    stripe.accounts.clear()
    page = await browser.get(f"{home}/payout-details?method=stripe")
    api.paying.rails.stripe_accounts._timeout_s = 0.0
    answer = await browser.submit(page, "form[action$='/payout-details/stripe']", current=logins.GOOD)
    assert answer.status == 503
    assert (await details(api, partner))["method"]["method"] == "bank"


async def test_a_payout_that_failed_says_why_and_what_to_do(api, stripe, jane):
    """What a provider refused for good is owed again, with its reason in words and the way to the details."""
    browser, home, partner = jane
    await payable_to(api, partner["id"], "stripe", stripe.account("acct_1", "inactive"))
    await earn(api, "100.00")
    await run(api)
    page = await browser.get(f"{home}/payouts")
    (row,) = page.said("#payouts-title ~ table tbody tr")
    assert "did not arrive" in row
    assert "is owed to you again. The account at Stripe cannot be paid. Check your payout details." in row
    assert page.soup.select(f"#payouts-title ~ table a[href='{home}/payout-details']")
    one = await browser.get(str(page.one("#payouts-title ~ table tbody th a")["href"]))
    assert "acct_•••" not in one.words
    assert "The account at Stripe cannot be paid." in one.words


# --- the merchant -----------------------------------------------------------------------------------------------------


async def test_the_merchant_sees_details_masked_and_who_changed_them(api, owner, jane):
    """On the partner's page stands the masked way, with the history and the cool-down behind the link."""
    browser, home, partner = jane
    await filled(browser, home)
    await filled(browser, home, "paypal")
    page = await owner.get(f"/partners/{partner['id']}")
    card = page.one("#payout-details")
    assert "j•••@e•••.com" in card.get_text()
    assert "nothing new is paid there before" in card.get_text()
    behind = await owner.get(str(card.select("a")[0]["href"]))
    assert stored(behind)["PayPal account"] == "j•••@e•••.com"
    assert [said.partition(" ·")[0] for said in behind.said(".story li p.small")] == ["the partner"] * 2
    for each in (page, behind):
        assert IBAN not in each.text
        assert MAIL not in each.one("main").get_text()


async def test_the_merchant_enters_changes_and_removes_details(api, owner, jane):
    """Whoever may pay enters details for the partner, who sees that; a wrong IBAN is refused and not sent back."""
    browser, home, partner = jane
    address = f"/partners/{partner['id']}/payout-details"
    page = await owner.get(f"{address}?method=bank")
    wrong = await owner.submit(page, "form[action$='/bank']", address="DE89370400440532013001", name="Jané")
    assert (wrong.status, wrong.one("[aria-invalid=true]")["name"]) == (422, "address")
    assert "DE89370400440532013001" not in wrong.text
    assert wrong.one("[name=name]")["value"] == "Jané"
    done = await owner.submit(page, "form[action$='/bank']", address=OTHER_IBAN, name="Jané")
    assert done.said("[role=status]") == ["Kept. The partner sees it on the dashboard."]
    assert stored(done)["IBAN"] == "FR14•••2606"
    assert "by Acme" in (await browser.get(f"{home}/payout-details")).words
    gone = await owner.submit(done, "form[action$='/remove']")
    assert "None: nobody knows how to pay the partner." in gone.words
    assert (await owner.submit(done, "form[action$='/remove']")).status == 200
    assert (await details(api, partner))["method"] is None


async def test_the_merchant_makes_a_link_to_stripe(api, stripe, owner, jane):
    """The link is shown once, to be sent to the partner; asked, Stripe says whether the account can be paid."""
    _, _, partner = jane
    address = f"/partners/{partner['id']}/payout-details"
    page = await owner.get(f"{address}?method=stripe")
    asked = await owner.submit(page, "form[action$='/check']")
    assert "No account was opened at Stripe" in asked.words
    made = await owner.submit(page, "form[action$='/payout-details/stripe']")
    link = str(made.one(".secret input")["value"])
    assert link.startswith(stripe.url)
    again = await owner.submit(page, "form[action$='/payout-details/stripe']")
    assert link not in again.text
    async with api.client.session.post(link, allow_redirects=False):
        pass
    done = await owner.submit(page, "form[action$='/check']")
    assert "Stripe says that the account can be paid." in done.words


async def test_only_who_may_pay_sees_details(api, jane):
    """A viewer and a manager see no details on the partner's page, and no page behind it."""
    browser, home, partner = jane
    await filled(browser, home)
    for role, may in (("owner", True), ("finance", True), ("manager", False), ("viewer", False)):
        visitor = await visitors.user(api, role=role)
        page = await visitor.get(f"/partners/{partner['id']}")
        assert bool(page.soup.select("#payout-details")) is may, role
        assert ("DE89" in page.text) is may
        assert (await visitor.get(f"/partners/{partner['id']}/payout-details")).status == (200 if may else 403)
        csrf = str(page.one("form[action='/logout'] input[name=csrf]")["value"])
        if not may:
            for path in ("manual", "remove", "stripe", "stripe/check"):
                fields = {"csrf": csrf, "address": "cash"}
                assert (await visitor.post(f"/partners/{partner['id']}/payout-details/{path}", fields)).status == 403
    assert (await details(api, partner))["method"]["method"] == "bank"


async def test_another_merchants_partner_is_not_there(api, owner):
    """Pages and forms of another merchant's partner are those of nobody."""
    zoe = await api.partner(of="zenith", name="Zoe", email="zoe@z.example")
    for partner_id in (zoe["id"], "p_nobody"):
        page = await owner.get(f"/partners/{partner_id}/payout-details")
        assert page.status == 404
        csrf = str((await owner.get("/settings")).one("form[action='/logout'] input[name=csrf]")["value"])
        for path in ("manual", "remove", "stripe", "stripe/check"):
            fields = {"csrf": csrf, "address": "cash"}
            assert (await owner.post(f"/partners/{partner_id}/payout-details/{path}", fields)).status == 404, path
    assert (await details(api, zoe, of="zenith"))["history"] == []


async def test_without_a_key_there_is_nothing_to_fill_in(database_url):
    """Where nothing seals payout details, no page asks for them, and each says what there is instead."""
    async with running(database_url, payouts=None) as api, kept_up(database_url):
        partner = await api.partner()
        home = urlsplit(partner["dashboard_url"]).path
        browser, owner = await entered(api, home), await visitors.user(api)
        page = await browser.get(f"{home}/payout-details")
        assert page.said(".empty-title") == ["There is nothing to fill in yet"]
        assert not page.soup.select("main form")
        token = str(page.one("form[action$='/logout'] [name=csrf]")["value"])
        fields = {"csrf": token, "address": MAIL, "current": logins.GOOD}
        assert (await browser.post(f"{home}/payout-details/paypal", fields)).status == 409
        assert "pays by hand for now" in (await browser.get(f"{home}/payouts")).words
        page = await owner.get(f"/partners/{partner['id']}/payout-details")
        assert page.said(".empty-title") == ["Nobody is paid from here yet"]
        assert not (await owner.get(f"/partners/{partner['id']}")).soup.select("#payout-details")


# --- settings ---------------------------------------------------------------------------------------------------------


async def test_the_settings_say_what_each_way_lacks(database_url):
    """Each way of paying is told with its variables, limits and switches, and the address to register."""
    less = {"bank_debtor_name": None, "bank_debtor_iban": None}
    limits = {"paypal_off": True, "paypal_payout_max": {"USD": 100_000, "JPY": 5_000}}
    settings = PAYOUTS.model_copy(update={**PAYPAL, **less, **limits})
    async with running(database_url, payouts=settings) as api, kept_up(database_url):
        for role in ("owner", "viewer"):
            page = await (await visitors.user(api, role=role)).get("/settings/payouts")
            said = {
                str(section["aria-labelledby"]): " ".join(section.get_text(" ").split())
                for section in page.soup.select("main section")
            }
            assert "not set up" in said["rail-stripe"]
            assert "STRIPE_API_KEY" in said["rail-stripe"]
            assert "BANK_DEBTOR_NAME BANK_DEBTOR_IBAN" in said["rail-bank"]
            assert "switched off" in said["rail-paypal"]
            assert re.search(r"One payout ¥5,000, \$1,000.00", said["rail-paypal"])
            assert page.one("#hook-paypal")["value"] == "https://ledger.example/hooks/paypal"
            assert "can be used" in said["rail-manual"]
            assert "secret" not in page.one("main").get_text().replace("without the secret", "").replace(
                "set its secret", ""
            )


async def test_without_a_key_the_settings_say_which(database_url):
    """Where nothing seals payout details, the settings name the variable that does."""
    async with running(database_url, payouts=None) as api, kept_up(database_url):
        page = await (await visitors.user(api)).get("/settings/payouts")
        assert page.said(".empty-title") == ["Partners are paid by hand for now"]
        assert "PAYOUT_DETAILS_KEYS" in page.words
        assert set(page.said(".card-head .badge")) == {"not set up"}


def test_the_settings_are_those_of_the_environment():
    """What the tests set are fields that there are."""
    assert {*BANK, *PAYPAL, "stripe_api_key", "stripe_api_base"} <= set(PayoutSettings.model_fields)
