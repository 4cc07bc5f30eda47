"""A partner's payouts: each with what became of it and what to do, what the next waits for, nobody else's."""

import asyncio
from datetime import timedelta
from io import BytesIO
from urllib.parse import urlsplit

import pytest
from pypdf import PdfReader

from tests.support import visitors
from tests.support.payouts import confirm, earn, payable_to, payouts, run

HOSTILE = "<script>alert(1)</script>'\"&"
NOTHING = "\N{EN DASH}"
KIM = {"name": "Kim", "email": "kim@k.example", "coupon_code": "KIM10"}


def home_of(partner):
    """Return the address of the partner's dashboard on this site."""
    return urlsplit(partner["dashboard_url"]).path


@pytest.fixture
async def jane(api):
    """Return Jane, who is paid by hand."""
    partner = await api.partner()
    await payable_to(api, partner["id"])
    await api.project()
    return partner


@pytest.fixture
async def visit(api, jane):
    """Return Jane's browser, logged in, and the address of her dashboard."""
    return await visitors.partner(api, jane["id"]), home_of(jane)


async def coming(browser, home):
    """Return what the page says of the next payout."""
    page = await browser.get(f"{home}/payouts")
    assert page.status == 200
    return " ".join(page.one("section[aria-labelledby=next-title]").get_text(" ").split())


async def rows(browser, home):
    """Return the payouts as the list says them."""
    return [
        said.replace(NOTHING, "-")
        for said in (await browser.get(f"{home}/payouts")).said("#payouts-title ~ table tbody tr")
    ]


async def test_a_payout_is_told_from_its_preparation_to_its_end(api, visit):
    """Each state has words of its own, and the transaction id stands there once the money is out."""
    browser, home = visit
    order_ids = await earn(api, "100.00", "50.00")
    await run(api)
    assert await rows(browser, home) == ["Nov 22, 2026 By hand in preparation Acme is about to send it. - $15.00"]
    (payout,) = await payouts(api)
    await confirm(api, payout, "WIRE-4711")
    assert await rows(browser, home) == ["Nov 22, 2026 By hand paid Paid out. WIRE-4711 $15.00"]
    listed = await browser.get(f"{home}/payouts")
    one = await browser.get(str(listed.one("#payouts-title ~ table tbody th a")["href"]))
    assert one.said("h1") == ["Payout of Nov 22, 2026"]
    assert "WIRE-4711" in one.words
    assert sorted(one.said("#commissions-title ~ table tbody th")) == sorted(order_ids)
    commission = await browser.get(f"{home}/commissions/{order_ids[0]}")
    assert commission.soup.select(f"a[href='{one.address}']")


async def test_a_payout_that_was_called_off_is_owed_again(api, visit):
    """What was called off is payable again, and the reason of the merchant's people is not told."""
    browser, home = visit
    await earn(api, "100.00")
    await run(api)
    (payout,) = await payouts(api)
    await api.post(f"/payouts/{payout['id']}/cancel", {"reason": f"secret {HOSTILE}"})
    await api.project()
    (row,) = await rows(browser, home)
    assert "called off" in row
    assert "owed to you again" in row
    page = await browser.get(f"{home}/payouts/{payout['id']}")
    assert page.said(".empty-title") == ["It holds no commissions any more"]
    for text in (page.text, (await browser.get(f"{home}/payouts")).text):
        assert "secret" not in text
        assert "u_" not in text.replace("menu_", "")


async def test_what_the_next_payout_waits_for(api, visit, jane):
    """Below the minimum, stopped, in a payout already, without details, cooling: each is told, with what to do."""
    browser, home = visit
    assert "Nothing is payable yet." in await coming(browser, home)
    assert "Payouts have no fixed day: Acme decides when." in await coming(browser, home)
    terms = {"minimum_payout": {"USD": "8.50"}, "payout_schedule": {"every": "month", "day": 5}}
    await api.ask("PATCH", "/program", terms)
    await earn(api, "50.00")
    said = await coming(browser, home)
    assert "$5.00 are below the minimum of $8.50 by $3.50." in said
    assert "Payouts are next made on Dec 5, 2026." in said
    await earn(api, "50.00")
    assert "$10.00 will be part of it" in await coming(browser, home)
    await api.post(f"/partners/{jane['id']}/hold-payouts", {"reason": "secret"})
    said = await coming(browser, home)
    assert "has stopped payouts to you" in said
    assert "secret" not in said
    await api.post(f"/partners/{jane['id']}/release-payouts", {"reason": "all is well"})
    details = f"/partners/{jane['id']}/payout-details"
    await api.ask("PUT", details, {"method": "manual", "address": "another way"})
    said = await coming(browser, home)
    assert "nothing is paid there before Nov 25, 2026" in said
    assert "$10.00 wait until your new payout details can be used." in said
    await api.ask("DELETE", details)
    said = await coming(browser, home)
    assert "You have no payout details yet" in said
    assert "$10.00 wait for your payout details." in said


async def test_what_is_under_way_or_owed_the_other_way_is_told(api, visit):
    """While a payout is under way the next waits for it; what was clawed back is set off."""
    browser, home = visit
    await earn(api, "100.00")
    await run(api)
    await earn(api, "30.00")
    assert "$3.00 waits until the payout that is under way is through." in await coming(browser, home)
    (payout,) = await payouts(api)
    await confirm(api, payout, "WIRE-1")
    await api.post("/orders", [api.refund("o-1", "100.00")])
    await api.project()
    assert "-$7.00 are set off against what you earn next." in await coming(browser, home)


async def test_payouts_are_narrowed_and_a_wrong_address_is_told(api, visit):
    """The list takes the filters of the API but whose; what it does not understand it says, and shows no rows."""
    browser, home = visit
    await earn(api, "100.00")
    await run(api)
    (payout,) = await payouts(api)
    await confirm(api, payout, "WIRE-1")
    assert len((await browser.get(f"{home}/payouts?status=processed")).said("#payouts-title ~ table tbody tr")) == 1
    assert (await browser.get(f"{home}/payouts?status=failed")).said("#payouts-title ~ table tbody tr") == []
    assert len((await browser.get(f"{home}/payouts?transaction_id=WIRE-1")).said("#payouts-title ~ table tr")) == 2
    for query in ("status=never", "from=2026-13-01", "cursor=x", "paid=x"):
        page = await browser.get(f"{home}/payouts?{query}")
        assert (page.status, bool(page.said("[role=alert]"))) == (422, True), query
        assert page.said("#figures .figure-value")
    page = await browser.get(f"{home}/payouts/{payout['id']}?cursor=x")
    assert (page.status, bool(page.said("[role=alert]"))) == (422, True)


async def test_a_partner_sees_nobody_elses_payouts(api, visit, jane):
    """Another partner's payout is not found, in the program and in another, exactly as one that is not there."""
    browser, home = visit
    kim = await api.partner(**KIM)
    await payable_to(api, kim["id"])
    await earn(api, "100.00")
    await earn(api, "80.00", coupon_code="KIM10")
    await run(api)
    theirs = {each["partner_id"]: each for each in await payouts(api)}
    other = theirs[kim["id"]]
    gone = await browser.get(f"{home}/payouts/po_nothing")
    assert gone.status == 404
    page = await browser.get(f"{home}/payouts/{other['id']}")
    assert (page.status, page.said("h1"), page.said("main p")[0]) == (404, gone.said("h1"), gone.said("main p")[0])
    for query in (f"partner_id={kim['id']}", f"run_id={other['run_id']}", f"payout_id={other['id']}"):
        page = await browser.get(f"{home}/payouts?{query}")
        assert "$8.00" not in page.text, query
        own = await browser.get(f"{home}/payouts/{theirs[jane['id']]['id']}?{query}")
        assert "$8.00" not in own.text, query
    assert (await browser.get(f"{home}/payouts?run_id={other['run_id']}")).status == 200


async def test_the_statement_names_the_transaction(api, visit):
    """A month's statement has the payout with its transaction id: as page, CSV and PDF; the page leads to it."""
    browser, home = visit
    await earn(api, "100.00", "50.00")
    await run(api)
    (payout,) = await payouts(api)
    await confirm(api, payout, "WIRE-4711")
    page = await browser.get(f"{home}/statements/2026-11")
    (line,) = [row for row in page.soup.select("tbody tr") if "WIRE-4711" in row.get_text()]
    assert "-$15.00" in line.get_text()
    assert line.select(f"a[href='{home}/payouts/{payout['id']}']")
    sheet = await browser.get(f"{home}/statements/2026-11.csv")
    assert [row for row in sheet.text.splitlines() if "WIRE-4711" in row and "-15.00" in row]
    async with api.client.session.get(
        api.client.make_url(f"{home}/statements/2026-11.pdf"),
        headers={"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())},
    ) as answer:
        document = await answer.read()
    text = await asyncio.to_thread(lambda: "".join(each.extract_text() for each in PdfReader(BytesIO(document)).pages))
    assert "WIRE-4711" in text


async def test_hostile_transaction_ids_are_text(api, visit):
    """Whatever somebody typed as a transaction id is shown as text."""
    browser, home = visit
    await earn(api, "100.00")
    await run(api)
    (payout,) = await payouts(api)
    await confirm(api, payout, HOSTILE)
    for path in ("/payouts", f"/payouts/{payout['id']}", "/statements/2026-11"):
        page = await browser.get(home + path)
        assert HOSTILE in page.soup.get_text(), path
        assert "<script>alert" not in page.text


async def test_payouts_have_pages(api, visit):
    """More payouts than fit on a page are reached by its cursor, and each is there once."""
    browser, home = visit
    for number in range(3):
        await earn(api, "100.00")
        await run(api)
        (payout, *_) = await payouts(api)
        await confirm(api, payout, f"WIRE-{number}")
        api.now += timedelta(days=1)
    seen, address = [], f"{home}/payouts?limit=2"
    browser = await visitors.partner(api, (await payouts(api))[0]["partner_id"])
    for _ in range(2):
        page = await browser.get(address)
        seen += page.said("#payouts-title ~ table tbody code")
        following = page.soup.select("a[rel=next]")
        address = str(following[0]["href"]) if following else ""
    assert (seen, address) == (["WIRE-2", "WIRE-1", "WIRE-0"], "")
