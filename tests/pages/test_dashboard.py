"""A partner's own dashboard: its figures are the API's, its arithmetic adds up, and nobody sees another's."""

import re
from urllib.parse import quote, urlsplit

import pytest

from tests.support import visitors
from web.pages.dashboard import dashboard
from web.pages.dashboard_account import dashboard_account
from web.pages.dashboard_details import dashboard_details
from web.pages.dashboard_payouts import dashboard_payouts
from web.pages.dashboard_statements import dashboard_statements
from web.pages.partner_login import DASHBOARD
from web.services import SERVICES

HOSTILE = "<script>alert(1)</script>'\"&"
ODD_ID = "a/b?c#d e%2F"
KIM = {"name": "Kim", "email": "kim@k.example", "coupon_code": "KIM10"}
TABLES = (dashboard, dashboard_payouts, dashboard_details, dashboard_account, dashboard_statements)
PARAMETER = re.compile(r"\{(\w+)[^}]*\}")


def home_of(partner):
    """Return the address of the partner's dashboard on this site."""
    return urlsplit(partner["dashboard_url"]).path


async def settled(api):
    """Wait until the read models have everything that was written."""
    head = (await api.client.app[SERVICES].reads.lag()).head
    assert (await api.get(f"/program?min_position={head}")).status == 200


@pytest.fixture
async def jane(api):
    """Return Jane, who has four orders: pending, paid, clawed back, and one with an odd id of a named customer."""
    partner = await api.partner()
    customer = {"id": "kim@example.com", "name": "Kim Novak", "email": "kim@example.com"}
    orders = [
        api.order(order_id="o-pending"),
        api.order(order_id="o-paid", total="59.99"),
        api.order(order_id="o-back", total="80.00"),
        api.order(order_id=ODD_ID, total="33.33", customer=customer),
    ]
    await api.post("/orders", orders)
    both = {"order_ids": ["o-paid", "o-back"]}
    await api.post("/commissions/bulk", {"action": "approve", **both})
    paid = {"action": "mark-paid", "reference": "wire 4711", "note": "secret note"}
    await api.post("/commissions/bulk", paid | both)
    await api.post("/orders", [api.refund("o-back", "40.00")])
    await settled(api)
    return partner


@pytest.fixture
async def visit(api, jane):
    """Return Jane's browser, logged in, and the address of her dashboard."""
    return await visitors.partner(api, jane["id"]), home_of(jane)


async def test_the_start_says_what_is_owed_and_why(api, visit, jane):
    """Each balance is the API's, with a sentence that says why it is what it is."""
    browser, home = visit
    page = await browser.get(home)
    balance = (await api.get(f"/balances?partner_id={jane['id']}")).json["data"][0]
    assert page.status == 200
    shown = dict(zip(page.said("#figures section:first-child dt"), page.said("#figures .figure-value"), strict=False))
    assert shown == {
        "Payable": f"-${balance['payable']['amount'][1:]}",
        "Pending": f"${balance['pending']['amount']}",
        "In a payout": f"${balance['in_payout']['amount']}",
        "Paid": f"${balance['paid']['amount']}",
        "Taken back": f"-${balance['clawed_back']['amount'][1:]}",
    }
    assert "2 commissions wait for the approval of Acme." in page.words
    assert "It is set off against what you earn next." in page.words


async def test_what_is_missing_of_the_least_payout_is_told(api, visit):
    """Below the least payout the page says what is missing of it."""
    browser, home = visit
    await api.ask("PATCH", "/program", {"minimum_payout": {"USD": "50.00"}})
    await api.post("/commissions/o-pending/approve", {})
    await settled(api)
    page = await browser.get(home)
    assert "Payouts begin at $50.00: $44.00 are missing." in page.words


async def test_the_next_day_on_which_something_becomes_payable_is_told(api, jane):
    """While commissions wait for their day, the page says how many, how long, and what is next and when."""
    await api.ask("PATCH", "/program", {"approval": "after_days", "hold_days": 14})
    api.now = api.now.replace(day=23)
    for day in (24, 23):
        at = f"2026-11-{day}T09:00:00Z"
        await api.post("/orders", [api.order(occurred_at=at, total=f"{day}.00")])
    api.now = api.now.replace(day=24)
    await settled(api)
    page = await (await visitors.partner(api, jane["id"])).get(home_of(jane))
    assert (
        "4 commissions wait until the holding period of 14 days is over; the next, $2.30, on Dec 7, 2026." in page.words
    )


async def test_codes_are_there_to_copy_with_their_rates(api, visit, jane):
    """Each code that is the partner's now stands there with what it earns; one that was taken away does not."""
    browser, home = visit
    codes = f"/partners/{jane['id']}/coupons"
    await api.post(codes, {"code": "SUMMER", "rate": {"type": "percentage", "value": "12.5"}})
    await api.post(codes, {"code": "GONE"})
    await api.ask("DELETE", f"{codes}/GONE")
    await settled(api)
    page = await browser.get(home)
    assert page.said(".codes code") == ["JANE10", "SUMMER"]
    assert page.said(".codes li > .muted") == ["10% of each order", "12.5% of each order"]


async def test_the_chart_is_the_api_s_figures(api, visit, jane):
    """What was earned in a range of days is what GET /metrics says of the partner."""
    browser, home = visit
    page = await browser.get(f"{home}?range=this-month")
    told = await api.get(f"/metrics?partner_id={jane['id']}&from=2026-11-01&to=2026-11-22")
    rows = [[cell["data-value"] for cell in row.select("td")] for row in page.soup.select("#earnings tbody tr")]
    assert rows == [[point["commissions"]["earned"]["amount"]] for point in told.json["series"]]
    assert f"${told.json['totals']['commissions']['earned']['amount']}" in page.words


async def test_a_wrong_address_is_told_on_the_page(visit):
    """What stands wrongly in the address is told above the figures, which are there all the same."""
    browser, home = visit
    for query in ("range=never", "from=2026-13-01", "from=2026-11-02&to=2026-11-01", "currency=XXX"):
        page = await browser.get(f"{home}?{query}")
        assert page.status == 422
        assert page.said("[role=alert]")
        assert page.said("#figures .figure-value")


async def test_commissions_are_narrowed_by_filters(visit):
    """The list takes status and days; what it does not understand it says, and shows no rows."""
    browser, home = visit
    page = await browser.get(f"{home}/commissions")
    assert page.said("tbody th") == [ODD_ID, "o-back", "o-paid", "o-pending"]
    page = await browser.submit(page, "main form", status="paid")
    assert page.said("tbody th") == ["o-back", "o-paid"]
    assert page.said("option[selected]") == ["paid"]
    assert (await browser.get(f"{home}/commissions?from=2026-11-23")).said(".empty-title") == [
        "No commission is like this"
    ]
    page = await browser.get(f"{home}/commissions?status=nothing")
    assert (page.status, page.said("tbody th"), len(page.said("[role=alert]"))) == (422, [], 1)


async def test_a_commission_is_computed_step_by_step(visit):
    """A commission's page goes from the total by rate and rounding to what remains after the refund."""
    browser, home = visit
    page = await browser.get(f"{home}/commissions/o-paid")
    assert page.said(".sum tbody tr") == [
        "The customer paid $59.99", "10% of $59.99 5.999", "Rounded once, half up $6.00",
    ]  # fmt: skip
    assert "$6.00 was paid: wire 4711" in page.words
    page = await browser.get(f"{home}/commissions/o-back")
    assert page.said(".sum tbody tr")[-1] == ("After a refund, with $40.00 of the order left $4.00 -$4.00")
    assert "The customer was given back $40.00." in page.words


async def test_base_and_fixed_rates_are_explained(api, visit, jane):
    """Less tax and shipping where the base says so; a fixed amount is called one."""
    browser, home = visit
    await api.ask("PATCH", "/program", {"base": "net_of_tax_and_shipping"})
    await api.post(f"/partners/{jane['id']}/coupons", {"code": "FIX", "rate": {"type": "fixed", "value": "5.00"}})
    api.now = api.now.replace(hour=14)
    at = {"occurred_at": "2026-11-22T13:00:00Z"}
    await api.post(
        "/orders",
        [
            api.order(order_id="o-net", tax="19.00", shipping="1.00", **at),
            api.order(order_id="o-fix", coupon_code="FIX", **at),
        ],
    )
    await settled(api)
    page = await browser.get(f"{home}/commissions/o-net")
    assert page.said(".sum tbody tr") == [
        "The customer paid $100.00", "Less tax $19.00", "Less shipping $1.00", "What counts $80.00",
        "10% of $80.00 $8.00",
    ]  # fmt: skip
    page = await browser.get(f"{home}/commissions/o-fix")
    assert page.said(".sum tbody tr")[-1] == "A fixed amount for each order $5.00"


async def test_odd_ids_lead_to_their_pages(visit):
    """An order id of slashes, spaces and percent signs is linked to, and leads to its commission."""
    browser, home = visit
    page = await browser.get(f"{home}/commissions")
    link = str(page.soup.find("a", string=ODD_ID)["href"])
    assert link == f"{home}/commissions/{quote(ODD_ID, safe='')}"
    assert (await browser.get(link)).said("h1") == [ODD_ID]


async def test_payments_are_there_with_date_and_reference(api, visit):
    """What was paid stands there with date, reference and how many commissions; notes and reasons do not."""
    browser, home = visit
    await api.post("/commissions/o-paid/mark-unpaid", {"reason": "secret reason"})
    await settled(api)
    page = await browser.get(f"{home}/payouts")
    assert page.said("#paid-title ~ table tbody tr") == [
        "Nov 22, 2026 The payment came back, or never went: owed again 1 -$6.00",
        "Nov 22, 2026 wire 4711 2 $14.00",
    ]
    assert not page.soup.select("main input, main form")


async def test_nothing_of_the_merchant_s_own_is_told(api, visit, jane):
    """No page tells of notes, reasons of people, users, or customers' names, addresses and ids."""
    browser, home = visit
    await api.post(f"/partners/{jane['id']}/notes", {"note": "secret partner note"})
    await api.post("/commissions/o-pending/hold", {"reason": "secret hold"})
    await api.post(f"/commissions/{quote(ODD_ID, safe='')}/reject", {"reason": "secret rejection"})
    await settled(api)
    pages = [
        "",
        "/commissions",
        "/payouts",
        "/payout-details",
        "/statements",
        "/statements/2026-11",
        "/statements/2026-11.csv",
        "/account",
    ]
    pages += [f"/commissions/{quote(each, safe='')}" for each in ("o-pending", "o-paid", "o-back", ODD_ID)]
    for path in pages:
        page = await browser.get(home + path)
        assert page.status == 200, path
        for word in ("secret", "Kim", "Novak", "kim@", "api/", "cause"):
            assert word not in page.text, (path, word)


async def test_hostile_text_is_shown_as_text(api):
    """What people and storefronts write is text on every page, whatever it looks like."""
    partner = await api.partner(name=HOSTILE)
    order = api.order(order_id=HOSTILE.replace("/", "|"), customer={"id": HOSTILE})
    await api.post("/orders", [order])
    await api.post(
        "/commissions", {"partner_id": partner["id"], "amount": "1.00", "currency": "USD", "reason": HOSTILE}
    )
    await settled(api)
    browser, home = await visitors.partner(api, partner["id"]), home_of(partner)
    listed = await browser.get(f"{home}/commissions")
    for path in [str(each["href"]) for each in listed.soup.select("tbody th a")] + [home, f"{home}/statements/2026-11"]:
        page = await browser.get(path)
        assert page.status == 200
        assert "<script>alert" not in page.text
        assert not [each for each in page.soup.select("script") if not each.get("src")]
    assert HOSTILE in (await browser.get(home)).soup.get_text()


async def test_whoever_is_not_in_sees_a_login_and_nothing_else(api, jane):
    """Every page of a dashboard leads a stranger to its login; a made-up address leads nowhere at all."""
    stranger, home = visitors.Visitor(api), home_of(jane)
    user, kim = await visitors.user(api), await visitors.partner(api, (await api.partner(**KIM))["id"])
    pages = [page for table in TABLES for page in table.pages if page.method == "GET"]
    assert len(pages) > 10
    ids = {"order_id": "o-paid", "month": "2026-11", "payout_id": "po_1"}
    for page in pages:
        path = page.path.removeprefix(DASHBOARD)
        path = PARAMETER.sub(lambda found: ids[found[1]], path)
        for visitor in (stranger, user, kim):
            shown = await visitor.get(home + path, follow=False)
            assert (shown.status, shown.location) == (303, f"{home}/login"), path
            assert (await visitor.get(home[:-4] + "AAAA" + path, follow=False)).status == 404


async def test_partners_see_nothing_of_one_another(api, visit):
    """Another partner's dashboard, orders and filters are as what does not exist, in the program and in another."""
    browser, home = visit
    kim = await api.partner(**KIM)
    zoe = await api.partner(of="zenith", name="Zoe", email="zoe@z.example", coupon_code="JANE10")
    await api.post("/orders", [api.order(order_id="o-kim", coupon_code="KIM10")])
    await api.post("/orders", [api.order(order_id="o-zoe"), api.order(order_id="o-paid", total="1000.00")], of="zenith")
    await settled(api)
    for other in (kim, zoe):
        page = await browser.get(home_of(other), follow=False)
        assert (page.status, page.location) == (303, f"{home_of(other)}/login")
    gone = await browser.get(f"{home}/commissions/no-such-order")
    assert str(gone.one("main a")["href"]) == home
    for order_id in ("o-kim", "o-zoe"):
        page = await browser.get(f"{home}/commissions/{order_id}")
        assert (page.status, page.said("h1")) == (404, gone.said("h1"))
    assert "$59.99" in (await browser.get(f"{home}/commissions/o-paid")).words
    for query in (f"partner_id={kim['id']}", "customer_id=x", "payout_id=x", "limit=1"):
        for path in ("", "/commissions", "/payouts", "/statements", "/statements/2026-11"):
            page = await browser.get(f"{home}{path}?{query}")
            assert "o-kim" not in page.text
            assert page.status == 200
    assert (await browser.get(f"{home}/commissions?partner_id={kim['id']}")).said("tbody th") == [
        ODD_ID, "o-back", "o-paid", "o-pending",
    ]  # fmt: skip


async def test_a_renewed_address_ends_the_old_one(api, visit, jane):
    """Once the merchant renewed the address, the old one and its sessions are good for nothing."""
    browser, home = visit
    answer = await api.post(f"/partners/{jane['id']}/dashboard-link", {})
    assert (await browser.get(home)).status == 404
    page = await browser.get(home_of(answer.json), follow=False)
    assert (page.status, page.location) == (303, f"{home_of(answer.json)}/login")


async def test_a_part_that_is_asked_for_after_the_session_takes_the_browser_to_the_login(api, jane):
    """A live part of a page whose session ended is answered with the way to the login for the whole browser."""
    page = await visitors.Visitor(api).get(home_of(jane), headers={"HX-Request": "true"})
    assert (page.status, page.headers["HX-Redirect"]) == (204, f"{home_of(jane)}/login")


async def test_a_new_partner_is_told_what_to_do(api):
    """Before anything was earned, the pages say what comes next, and the codes are there to share."""
    partner = await api.partner()
    await settled(api)
    browser, home = await visitors.partner(api, partner["id"]), home_of(partner)
    page = await browser.get(home)
    assert page.said(".empty-title") == ["Nothing was earned yet"]
    assert page.said(".codes code") == ["JANE10"]
    for path, title in (
        ("/commissions", "No commissions yet"),
        ("/payouts", "Nothing was paid yet"),
        ("/statements", "No statements yet"),
    ):
        assert (await browser.get(home + path)).said(".empty-title") == [title]


async def test_a_standing_that_does_not_earn_is_told(api, visit, jane):
    """A partner who is paused or banned is told what that means, and still sees what is owed."""
    browser, home = visit
    assert not (await browser.get(home)).said("main > .note.warn:not([hidden])")
    for move, said in (("pause", "has paused you"), ("ban", "You earn nothing more")):
        await api.post(f"/partners/{jane['id']}/{move}", {"reason": "secret"})
        await settled(api)
        page = await browser.get(home)
        assert said in page.words
        assert page.said("#figures .figure-value")
        assert "secret" not in page.text


PASSWORD, OTHER, WEAK = "four words that nobody knows", "another four words of mine", "password1234"


async def test_a_partner_changes_the_password(api):
    """The old password is needed; with it the new one is in force at once, and other browsers are out."""
    partner = await api.partner()
    await settled(api)
    browser, elsewhere, home = visitors.Visitor(api), visitors.Visitor(api), home_of(partner)
    await browser.submit(await browser.get(home), password=PASSWORD, again=PASSWORD)
    await elsewhere.submit(await elsewhere.get(home), password=PASSWORD)
    form = f"form[action='{home}/account/password']"
    page = await browser.submit(await browser.get(f"{home}/account"), form, current=OTHER, password=OTHER, again=OTHER)
    assert (page.status, page.said(".fault")) == (422, ["is not right"])
    assert OTHER not in page.text
    page = await browser.submit(page, form, current=PASSWORD, password=OTHER, again=PASSWORD)
    assert page.status == 422
    page = await browser.submit(page, form, current=PASSWORD, password=WEAK, again=WEAK)
    assert page.status == 422
    page = await browser.submit(page, form, current=PASSWORD, password=OTHER, again=OTHER)
    assert page.said("[role=status]") == ["Your password is changed, and you are logged out everywhere else."]
    assert (await browser.get(home, follow=False)).status == 200
    assert (await elsewhere.get(home, follow=False)).status == 303
    assert (await elsewhere.submit(await elsewhere.get(home), password=PASSWORD)).status == 422
    assert (await elsewhere.submit(await elsewhere.get(home), password=OTHER)).said("h1") == ["Your earnings"]


async def test_a_form_from_elsewhere_changes_nothing(api, visit):
    """The password form is refused without this session's token, and where another site sent it."""
    browser, home = visit
    fields = {"current": PASSWORD, "password": OTHER, "again": OTHER}
    assert (await browser.post(f"{home}/account/password", fields)).status == 403
    page = await browser.get(f"{home}/account")
    fields["csrf"] = str(page.soup.select("input[name=csrf]")[0]["value"])
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert (await browser.post(f"{home}/account/password", fields, headers=foreign)).status == 403
