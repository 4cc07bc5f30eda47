"""What is paid outside of the ledger: what is due, what marking a partner as paid does, and what was marked."""

from decimal import Decimal

from tests.support import visitors
from tests.support.api import kept_up, running

NONE = "\N{EN DASH}"
HOSTILE = '"><script>alert(1)</script>'


async def approved(api, count, *, partner=None, **change):
    """Give Jane (or the partner with this code) approved commissions of 10.00 each; return her id and the orders'."""
    found = {each["coupon_codes"][0]: each["id"] for each in (await api.get("/partners")).json["data"]}
    code = partner or "JANE10"
    if code not in found:
        await api.project()
        found = {each["coupon_codes"][0]: each["id"] for each in (await api.get("/partners")).json["data"]}
    if code not in found:
        found[code] = (await api.partner(name=code.title(), email=f"{code}@example.com", coupon_code=code))["id"]
    placed = [api.order(coupon_code=code, **change) for _ in range(count)]
    await api.post("/orders", placed)
    ids = [each["order_id"] for each in placed]
    for first in range(0, count, 100):
        await api.post("/commissions/bulk", {"action": "approve", "order_ids": ids[first : first + 100]})
    await api.project()
    return found[code], ids


async def paid(api):
    """Return what each partner was paid, by partner and currency."""
    await api.project()
    data = (await api.get("/balances")).json["data"]
    return {(each["partner_id"], each["currency"]): Decimal(each["paid"]["amount"]) for each in data}


async def test_what_is_due_is_what_the_api_says(api, owner):
    """A row per partner and currency that is owed something, those who owe apart, and the minimum of the terms."""
    jane, _ = await approved(api, 2)
    await approved(api, 1, currency="EUR")
    await approved(api, 1, partner="KIM")
    owing, orders = await approved(api, 1, partner="LEE")
    await api.post("/commissions", {"partner_id": owing, "amount": "-25.00", "currency": "USD", "reason": "was wrong"})
    await api.ask("PATCH", "/program", {"minimum_payout": {"USD": "15.00"}})
    await api.project()
    page = await owner.get("/payouts/outside")
    due = (await api.get("/balances?payable=positive")).json["data"]
    found = {tuple(cells[1:5]) for cells in table(page, "due")}
    assert found == {
        ("€10.00", NONE, "€10.00", "none"), ("$20.00", NONE, "$20.00", "✓ reached"),
        ("$10.00", NONE, "$10.00", "below $15.00"),
    }  # fmt: skip
    assert len(table(page, "due")) == len(due) == 3
    assert table(page, "owing") == [["Lee", "-$15.00", "$0.00", "-$15.00"]]
    assert page.soup.select(f'a[href="/commissions?status=approved&partner_id={jane}&currency=USD"]')
    assert orders


def table(page, section):
    """Return the cells of the table below a heading, row by row."""
    rows = page.one(f"section[aria-labelledby={section}]").select("tbody tr")
    return [[" ".join(cell.get_text(" ").split()) for cell in row.select("th, td")] for row in rows]


async def test_nothing_is_due_says_what_comes_next(api, owner):
    """A program without anything to pay tells how commissions become payable."""
    page = await owner.get("/payouts/outside")
    assert "Nothing is due" in page.words
    assert "Nothing was marked as paid yet" in page.words
    assert page.soup.select("section[aria-labelledby=owing]") == []
    assert (await api.get("/balances")).json["data"] == []


async def test_a_partner_is_marked_as_paid_with_exactly_what_was_shown(api, owner):
    """What the page shows is marked, with the reference, to the cent; what is approved meanwhile is not."""
    jane, ids = await approved(api, 120)
    await api.post("/commissions", {"partner_id": jane, "amount": "-5.50", "currency": "USD", "reason": "was wrong"})
    await api.project()
    page = await owner.get(str((await owner.get("/payouts/outside")).one("td.end a")["href"]))
    assert "121 commissions, all that is approved" in page.words
    assert page.one("main form button").get_text() == "Mark $1,194.50 as paid"
    _, (later,) = await approved(api, 1)
    done = await owner.submit(page, "main form", reference="transfer 1", note="November")
    assert "121 commissions are marked as paid, $1,194.50 together, with the reference “transfer 1”" in done.words
    assert await paid(api) == {(jane, "USD"): Decimal("1194.50")}
    assert (await api.get(f"/commissions/{later}")).json["status"] == "approved"
    again = await owner.submit(page, "main form", reference="transfer 1", note="November")
    assert again.one("main > [role=status]").get_text() == done.one("main > [role=status]").get_text()
    assert await paid(api) == {(jane, "USD"): Decimal("1194.50")}
    rest = await owner.get(str(done.one("a.primary")["href"]))
    assert rest.one("#field-reference")["value"] == "transfer 1"
    done = await owner.submit(rest, "main form")
    assert done.said("main > [role=status]") == [
        "Marked as paid: nothing that is approved is left for this partner."
    ]  # fmt: skip
    # The two payments follow one another and say the same but for the note.
    assert [cells[2:] for cells in table(done, "paid")] == [
        ["transfer 1", later, "Owner", "$10.00"], ["transfer 1 November", "121", "Owner", "$1,194.50"],
    ]  # fmt: skip
    assert ids


async def test_what_changed_meanwhile_is_told_and_the_rest_is_paid(api, owner):
    """Of what was shown, those that cannot be paid any more are named; the form without a reference marks nothing."""
    jane, ids = await approved(api, 3)
    page = await owner.get(f"/payouts/pay?partner_id={jane}&currency=USD")
    refused = await owner.submit(page, "main form", note="typed")
    assert (refused.status, bool(refused.one("#fault-reference").get_text())) == (422, True)
    assert refused.one("#field-note")["value"] == "typed"
    assert await paid(api) == {(jane, "USD"): 0}
    await api.post(f"/commissions/{ids[0]}/hold", {"reason": "looking"})
    done = await owner.submit(page, "main form", reference="transfer 1")
    assert "2 commissions are marked as paid, $20.00 together" in done.words
    assert table(done, "failed")[0][:2] == [ids[0], "held"]
    assert await paid(api) == {(jane, "USD"): Decimal("20.00")}


async def test_a_payment_of_many_goes_on_where_it_ended(api, owner):
    """More than one form marks follow with the same reference, until nothing is left; together they are one payment."""
    jane, _ = await approved(api, 510)
    page = await owner.get(f"/payouts/pay?partner_id={jane}&currency=USD")
    assert "The 500 newest of those that are approved" in page.words
    done = await owner.submit(page, "main form", reference="transfer 1")
    assert "$100.00 of this partner is approved and not marked yet." in done.words
    done = await owner.submit(await owner.get(str(done.one("a.primary")["href"])), "main form")
    assert [cells[2:] for cells in table(done, "paid")] == [["transfer 1", "510", "Owner", "$5,100.00"]]
    assert "Nothing is due" in done.words


async def test_clawbacks_are_told_before_anything_is_marked(api, owner):
    """What was clawed back is said with what to do; done as it says, the books show what was transferred."""
    jane, (first,) = await approved(api, 1)
    await api.post(f"/commissions/{first}/mark-paid", {"reference": "transfer 0"})
    await api.post("/orders", api.refund(first, "40.00"))
    await approved(api, 2)
    page = await owner.get(f"/payouts/pay?partner_id={jane}&currency=USD")
    assert page.said(".figure-value") == ["$20.00", "-$4.00", "$16.00"]
    assert "$4.00 was clawed back from commissions that had been paid" in page.words
    story = await owner.get(f"/commissions/{first}")
    await owner.submit(story, '.actions form[action*="/mark-unpaid?"]', reason="netted with transfer 1")
    page = await owner.get(f"/payouts/pay?partner_id={jane}&currency=USD")
    assert page.said(".figure-value") == ["$26.00", "$26.00"]
    await owner.submit(page, "main form", reference="transfer 1")
    marks = (await api.get("/paid-marks")).json["data"]
    assert [mark["amount"]["amount"] for mark in marks] == ["26.00", "-10.00", "10.00"]
    assert await paid(api) == {(jane, "USD"): Decimal("26.00")}
    balance = (await api.get("/balances")).json["data"][0]
    assert balance["payable"]["amount"] == balance["clawed_back"]["amount"] == "0.00"


async def test_history_has_every_mark(api, owner):
    """Payments and what was taken back, newest first, in pages, of all partners or one; the same as the file."""
    jane, ids = await approved(api, 3)
    kim, (other,) = await approved(api, 1, partner="KIM")
    for order_id, reference in ((ids[0], "one"), (ids[1], "two"), (other, "three")):
        await api.post(f"/commissions/{order_id}/mark-paid", {"reference": reference})
    await api.post(f"/commissions/{ids[0]}/mark-unpaid", {"reason": "came back"})
    await api.project()
    page = await owner.get("/payouts/history?limit=3")
    references = page.said('td[data-label="Reference"]')
    page = await owner.get(str(page.one(".pager a[rel=next]")["href"]))
    references += page.said('td[data-label="Reference"]')
    assert references == ["taken back came back", "three", "two", "one"]
    page = await owner.get(f"/payouts/history?partner_id={kim}")
    assert page.said('td[data-label="Amount"]') == ["$10.00"]
    assert page.one("h1").get_text() == "Marked as paid: Kim"
    file = await owner.get(str(page.one(".files a[href*=csv]")["href"]))
    assert ("three" in file.text, "two" in file.text) == (True, False)
    assert jane


async def test_who_may_not_pay_is_not_offered_it(api):
    """Viewers and managers look; the page and its form are refused to them, and nothing is marked."""
    jane, ids = await approved(api, 1)
    address = f"/payouts/pay?partner_id={jane}&currency=USD"
    for role, may in (("viewer", False), ("manager", False), ("finance", True)):
        visitor = await visitors.user(api, role=role)
        page = await visitor.get("/payouts/outside")
        assert table(page, "due")[0][3] == "$10.00"
        assert bool(page.soup.select("td.end a")) is may
        assert (await visitor.get(address)).status == (200 if may else 403)
        if not may:
            csrf = {"csrf": str(page.one(".who [name=csrf]")["value"])}
            fields = csrf | {"order_ids": ids, "reference": "mine"}
            assert (await visitor.post(address, fields)).status == 403
    assert await paid(api) == {(jane, "USD"): 0}


async def test_another_s_partner_cannot_be_paid(api):
    """Another merchant's partner is 404 as nobody at all, to look at and to mark."""
    jane, ids = await approved(api, 1)
    other = await visitors.user(api, merchant="zenith")
    page = await other.get("/payouts/outside")
    csrf = {"csrf": str(page.one(".who [name=csrf]")["value"])}
    for query in (f"partner_id={jane}&currency=USD", "partner_id=nobody&currency=USD", "currency=USD", ""):
        assert (await other.get(f"/payouts/pay?{query}")).status == 404, query
        fields = csrf | {"order_ids": ids, "reference": "mine"}
        assert (await other.post(f"/payouts/pay?{query}", fields)).status == 404, query
    assert await paid(api) == {(jane, "USD"): 0}


async def test_words_of_people_are_shown_as_words(api, owner):
    """References, notes and names are text on every page that shows them."""
    await api.partner(name=HOSTILE)
    jane, _ = await approved(api, 1)
    page = await owner.get(f"/payouts/pay?partner_id={jane}&currency=USD")
    done = await owner.submit(page, "main form", reference=HOSTILE, note=HOSTILE)
    asked = visitors.urlencode({"partner_id": HOSTILE})
    for shown in (page, done, await owner.get("/payouts/history"), await owner.get(f"/payouts/history?{asked}")):
        assert "<script>alert" not in shown.text
    assert HOSTILE in " ".join(done.said('td[data-label="Reference"]'))


async def test_a_service_that_pays_nobody_says_so_and_what_to_do(database_url):
    """Without a key for payout details the page of payouts is this one, and tells the operator's part of it."""
    async with running(database_url, payouts=None) as api, kept_up(database_url):
        await approved(api, 2)
        owner = await visitors.user(api)
        page = await owner.get("/payouts")
        assert page.one("main .note code").get_text() == "PAYOUT_DETAILS_KEYS"
        assert table(page, "due")[0][3] == "$20.00"
        assert page.soup.select('a[href^="/payouts/pay"]')
        for address in ("/payouts/runs", "/payouts/all", "/payouts/reconciliation", "/payouts/bank"):
            assert (await owner.get(address)).status == 200, address
        refused = await owner.get("/payouts/new")
        assert refused.status == 409
        assert "PAYOUT_DETAILS_KEYS" in refused.one("main > [role=alert]").get_text()
