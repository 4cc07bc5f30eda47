"""Payouts as a merchant sees them: what is due and why not, a run from its preview to the last payment."""

import pytest

from ledger import payouts as decisions
from schemas.payout_settings import PayoutSettings
from tests.support import payouts, visitors
from tests.support.api import PAYOUTS, kept_up, running
from tests.support.paying_program import paying_program

HOSTILE = '"><script>alert(1)</script>'
NONE = "\N{EN DASH}"
MAKE = "main form[method=post]"


@pytest.fixture
async def finance(api):
    """Return somebody else who may pay."""
    return await visitors.user(api, role="finance")


async def three_partners(api):
    """Give acme Jane (paid by hand, 15.00), Kim (no payout details, 7.00), Lee (owes 3.00); return their ids."""
    jane = (await api.partner())["id"]
    kim = (await api.partner(name="Kim", email="kim@example.com", coupon_code="KIM"))["id"]
    lee = (await api.partner(name="Lee", email="lee@example.com", coupon_code="LEE"))["id"]
    await payouts.earn(api, "100.00", "50.00")
    await payouts.earn(api, "70.00", coupon_code="KIM")
    await api.post("/commissions", {"partner_id": lee, "amount": "-3.00", "currency": "USD", "reason": "was wrong"})
    await payouts.payable_to(api, jane)
    await api.project()
    return jane, kim, lee


def rows(page, section):
    """Return the cells of the table below a heading, row by row."""
    found = page.one(f"[aria-labelledby={section}]").select("tbody tr")
    return [[" ".join(cell.get_text(" ").split()) for cell in row.select("th, td")] for row in found]


async def made(api, visitor):
    """Make the run that the preview shows, let the worker do its part, and return the run's page."""
    page = await visitor.submit(await visitor.get("/payouts/new"), MAKE, step="make")
    await payouts.work(api)
    return await visitor.get(page.address)


async def test_what_can_be_paid_and_what_not_and_why(api, owner):
    """The page tells what a run would pay now, and of the rest the reason; who may not pay sees what is owed."""
    await three_partners(api)
    page = await owner.get("/payouts")
    assert page.said("section[aria-labelledby=due] .figure-value") == ["$15.00"]
    out = page.one("section[aria-labelledby=due] table").select("tbody tr")
    assert [[each.get_text() for each in row.select("td")] for row in out] == [["1", "-$3.00"], ["1", "$7.00"]]
    assert "no payout details" in page.words
    viewer = await visitors.user(api, role="viewer")
    page = await viewer.get("/payouts")
    assert page.said("section[aria-labelledby=due] .figure-value") == ["$19.00", "$0.00"]
    assert page.soup.select('a[href="/payouts/new"]') == []


async def test_a_run_from_the_preview_to_the_payment(api, owner):
    """What was shown is what is made; paid by hand and confirmed, the books say so on every page."""
    jane, _, _ = await three_partners(api)
    page = await owner.get("/payouts/new")
    assert [row[:4] for row in rows(page, "in")] == [["Jane", "By hand", "2", "$15.00"]]
    assert page.one("button[value=make]").get_text() == "Make the run: pay $15.00"
    run = await made(api, owner)
    assert run.said(".run-counts li") == ["requested 1 requested"]
    assert sorted(rows(run, "list")) == [
        ["Jane", "✓ in", "By hand", "2", "$15.00", "requested Payout to Jane"],
        ["Kim", "✗ no payout details", NONE, "1", "$7.00", NONE],
        ["Lee", "✗ owes something", NONE, "1", "-$3.00", NONE],
    ]
    here = await owner.get("/payouts")
    assert "1 payout to be paid by hand" in here.words
    story = await owner.get(str(run.one("td a[href^='/payouts/po_']")["href"]))
    assert story.one("h1").get_text(" ", strip=True) == "$15.00 to Jane requested"
    form = "form[action$='/confirm']"
    refused = await owner.submit(story, form, transaction_id="WISE-1", amount="14.00")
    assert (refused.status, bool(refused.one("#fault-confirm-amount").get_text())) == (422, True)
    assert refused.one("#field-confirm-transaction_id")["value"] == "WISE-1"
    done = await owner.submit(refused, form, amount="15.00")
    assert done.said("main > [role=status]") == ["Confirmed as paid."]
    assert (done.one("#state").get_text(strip=True), "WISE-1" in done.words) == ("paid", True)
    assert [each.get_text() for each in done.soup.select(".happened")] == [
        "15.00 USD were reserved for a payment by hand.",
        "Somebody confirmed that 15.00 USD were paid by bank transfer: WISE-1, on 2026-11-22 00:00 UTC.",
    ]
    balance = (await api.get(f"/balances?partner_id={jane}")).json["data"][0]
    assert (balance["paid"]["amount"], balance["payable"]["amount"]) == ("15.00", "0.00")
    commissions = await owner.get(str(done.one("a[href^='/commissions?payout_id=']")["href"]))
    assert commissions.said('td[data-label="Status"]') == ["paid", "paid"]
    listed = await owner.get("/payouts/all?transaction_id=WISE-1")
    assert len(listed.soup.select("#results tbody tr")) == 1
    file = await owner.get(str(listed.one(".files a[href*=csv]")["href"]))
    assert (file.status, "WISE-1" in file.text, len(file.text.splitlines())) == (200, True, 2)
    assert (await owner.get(run.address)).one("#state").get_text(strip=True) == "done"
    commission = await owner.get(str(commissions.soup.select("tbody th a")[0]["href"]))
    assert commission.one(".facts a[href^='/payouts/po_']")["href"] == story.address


LIST = 'a[href="/files/payouts/by-hand.csv"]'


async def test_who_pays_by_hand_is_told_where(api, owner):
    """Where payments by hand wait, and on such a payout's page, is the list that says where they go; no page does."""
    jane, _, _ = await three_partners(api)
    assert (await owner.get("/payouts")).soup.select(LIST) == []
    run = await made(api, owner)
    story = str(run.one("td a[href^='/payouts/po_']")["href"])
    for place in ("/payouts", story):
        page = await owner.get(place)
        assert page.one(LIST).get_text() == "Payment list (CSV)"
    file = await owner.get("/files/payouts/by-hand.csv")
    assert (file.status, [row.split(",")[2:7] for row in file.text.splitlines()[1:]]) == (
        200, [["Jane", "15.00", "USD", "", "by hand"]]
    )  # fmt: skip
    log = await owner.get("/settings/access-log")
    assert "payouts.by_hand_taken payouts: 1" in log.words
    viewer = await visitors.user(api, role="viewer")
    assert (await viewer.get("/files/payouts/by-hand.csv")).status == 403
    assert [(await viewer.get(place)).soup.select(LIST) for place in ("/payouts", story)] == [[], []]
    await api.post(f"/partners/{jane}/hold-payouts", {"reason": "looking"})
    assert (await owner.get(story)).soup.select(LIST) == []
    assert "by-hand" not in (await owner.get("/settings/exports")).text


async def test_a_missed_day_is_told_with_the_way_to_make_its_run(api, owner):
    """A scheduled run that was not made in time is among what needs a person, and leads to a run of just that day."""
    await three_partners(api)
    await api.ask("PATCH", "/program", {"payout_schedule": {"every": "month", "day": 5}})
    with api.ledger.connection() as conn:
        conn.execute("UPDATE ledger.payout_schedules SET missed_on = '2026-11-05'")
    page = await owner.get("/payouts")
    assert "The scheduled run of Nov 5, 2026 was missed: make it by hand" in page.words
    assert page.one("[aria-labelledby=needs] a")["href"] == "/payouts/new?until=2026-11-04"
    assert (await owner.get("/payouts/new?until=2026-11-04")).one("[name=until]")["value"] == "2026-11-04"
    assert "The payout run of Nov 5, 2026" in (await owner.get("/overview")).words
    viewer = await visitors.user(api, role="viewer")
    assert (await viewer.get("/payouts")).soup.select("[aria-labelledby=needs] a[href*=new]") == []
    await payouts.run(api)
    assert "was missed" not in (await owner.get("/payouts")).words


async def test_a_form_sent_twice_makes_one_run(api, owner):
    """The second sending leads to the run that the first one made, although nobody is payable any more."""
    await three_partners(api)
    page = await owner.get("/payouts/new")
    first = await owner.submit(page, MAKE, step="make")
    await payouts.work(api)
    again = await owner.submit(page, MAKE, step="make")
    assert again.address == first.address.partition("?")[0]
    assert len((await api.get("/payout-runs")).json["data"]) == 1


async def test_what_changed_since_it_was_shown_is_shown_before_anything_is_made(api, owner):
    """A preview that is not true any more makes no run: what is different is named, and the list as it is now."""
    jane, kim, _ = await three_partners(api)
    page = await owner.get("/payouts/new")
    await payouts.earn(api, "10.00")
    await payouts.payable_to(api, kim)
    told = await owner.submit(page, MAKE, step="make")
    assert told.status == 409
    assert sorted(differing(told)) == ["Jane : was $15.00, now $16.00", "Kim : new, $7.00"]
    await api.post(f"/partners/{jane}/hold-payouts", {"reason": "looking"})
    again = await owner.submit(told, MAKE, step="make")
    assert differing(again) == ["Jane : was $16.00, now out: payouts held"]
    assert (await api.get("/payout-runs")).json["data"] == []
    done = await owner.submit(again, MAKE, step="make")
    assert [row[0] for row in rows(done, "list") if "✓ in" in row] == ["Kim"]


def differing(page):
    """Return what the page says is different from what was shown."""
    return [" ".join(each.split()) for each in page.said("main > [role=alert] li")]


@pytest.mark.parametrize(
    ("off", "told"), [(False, "Only payouts by hand can be made"), (True, "Nothing can be paid out from here now.")]
)
async def test_what_the_operator_has_to_do_is_told(database_url, off, told):
    """Where only payments by hand can be made, or none at all, the page says so, and where it is set up."""
    settings = PayoutSettings(payout_details_keys=PAYOUTS.payout_details_keys, payouts_off=off)
    async with running(database_url, payouts=settings) as api:
        page = await (await visitors.user(api)).get("/payouts")
        assert told in page.words
        assert page.soup.select("main .note a[href='/settings/payouts']")


async def test_a_run_is_narrowed_down(api, owner):
    """Day, currency, minimum and partners narrow the preview; who is ticked is left out, and can be taken back in."""
    jane, kim, _ = await three_partners(api)
    await payouts.earn(api, "40.00", currency="EUR")
    await payouts.payable_to(api, kim)
    page = await owner.get("/payouts/new")
    without = await owner.submit(page, MAKE, step="leave-out", leave_out=[kim])
    assert [row[0] for row in rows(without, "in")] == ["Jane", "Jane"]
    assert "left out" in without.one("[aria-labelledby=out]").get_text()
    back = await owner.get(str(without.one(".chips a")["href"]))
    assert [row[0] for row in rows(back, "in")] == ["Jane", "Kim", "Jane"]
    only = await owner.get(f"/payouts/new?partner_ids={jane}&currency=EUR")
    assert [row[3] for row in rows(only, "in")] == ["€4.00"]
    assert only.one("h1").get_text() == "Pay Jane"
    least = await owner.submit(page, "main form.filters", minimum__USD="10")
    assert [row[3] for row in rows(least, "in")] == ["$15.00", "€4.00"]
    assert "below the minimum" in least.one("[aria-labelledby=out]").get_text()
    before = await owner.get("/payouts/new?until=2026-11-20")
    assert "Would be paid" not in before.words or before.soup.select("[aria-labelledby=in]") == []
    for query, field in (("until=2027-01-01", "until"), ("minimum.USD=lots", "minimum.USD"), ("until=x", "until")):
        refused = await owner.get(f"/payouts/new?{query}")
        assert (refused.status, bool(refused.soup.find(id=f"fault-{field}"))) == (422, True), query
    run = await owner.submit(without, MAKE, step="make")
    assert {row[1] for row in rows(run, "list") if row[0] == "Kim"} == {"✗ left out"}


async def test_the_maker_is_not_the_checker_and_is_told_so(api, owner, finance):
    """Where a second person is asked for, the maker is told who can approve; refused if tried all the same."""
    await three_partners(api)
    await api.ask("PATCH", "/program", {"payout_approval": "second_person"})
    await api.project()
    page = await owner.get("/payouts/new")
    assert "somebody other than you, with the right to pay, approves the run" in page.words
    run = await made(api, owner)
    assert "You made it, so it has to be somebody else" in run.words
    assert run.soup.select("form[action$='/approve']") == []
    address = run.address.partition("?")[0]
    csrf = {"csrf": str(run.one(".who [name=csrf]")["value"]), "once": "x"}
    refused = await owner.post(f"{address}/approve", csrf)
    assert refused.status == 403
    assert "somebody else has to" in refused.one("main > [role=alert]").get_text()
    assert "A run waits for approval" in (await owner.get("/payouts")).words
    seen = await finance.get(address)
    done = await finance.submit(seen, "form[action$='/approve']")
    assert done.said("main > [role=status]") == ["Approved: the payouts are on their way."]
    assert "Approved by Finance" in done.words
    await payouts.work(api)
    assert (await api.get("/payouts?status=approved")).json["data"]


async def test_a_run_is_called_off(api, owner):
    """With a reason, which is shown; what was not sent is payable again."""
    jane, _, _ = await three_partners(api)
    run = await made(api, owner)
    refused = await owner.submit(run, "form[action$='/cancel']")
    assert (refused.status, bool(refused.one("#fault-cancel-reason").get_text())) == (422, True)
    done = await owner.submit(refused, "form[action$='/cancel']", reason=HOSTILE)
    assert ("called off" in done.words, HOSTILE in done.words, "<script>alert" in done.text) == (True, True, False)
    await payouts.work(api)
    assert (await owner.get(done.address)).said(".run-counts li") == ["cancelled 1 cancelled"]
    assert (await api.get(f"/balances?partner_id={jane}")).json["data"][0]["payable"]["amount"] == "15.00"


async def test_the_list_of_a_run_has_filters(api, owner):
    """In, out, and each reason to be out; a wrong address says so and shows the run."""
    await three_partners(api)
    address = (await made(api, owner)).address.partition("?")[0]
    for query, names in (
        ("included=true", {"Jane"}), ("included=false", {"Kim", "Lee"}), ("reason=no_payout_details", {"Kim"}),
        ("reason=over_limit", set()), ("", {"Jane", "Kim", "Lee"}),
    ):  # fmt: skip
        page = await owner.get(f"{address}?{query}")
        assert {row[0] for row in rows(page, "list")} == names, query
    wrong = await owner.get(f"{address}?reason=nonsense")
    assert (wrong.status, wrong.one("h1").get_text(" ").startswith("Run of")) == (422, True)


async def test_a_partner_s_payouts_are_held_and_released(api, owner):
    """With reasons that are kept; a negative balance is written off, and nothing is owed any more."""
    jane, _, lee = await three_partners(api)
    page = await owner.get(f"/partners/{jane}")
    refused = await owner.submit(page, "form[action$='/hold-payouts']")
    assert (refused.status, bool(refused.one("#fault-hold-payouts-reason").get_text())) == (422, True)
    held = await owner.submit(refused, "form[action$='/hold-payouts']", reason="two accounts")
    assert "Held: nothing is sent to this partner. two accounts" in held.words
    assert "payouts held" in (await owner.get("/payouts")).words
    free = await owner.submit(held, "form[action$='/release-payouts']", reason="a twin")
    assert "Held: nothing" not in free.words
    assert "held: two accounts" in free.words
    page = await owner.get(f"/partners/{lee}")
    done = await owner.submit(page, "form[action$='/write-off']", reason="not worth it")
    assert done.said("main > [role=status]") == [
        "Written off: the partner owes nothing any more in this currency."
    ]  # fmt: skip
    assert (await api.get(f"/balances?partner_id={lee}")).json["data"][0]["payable"]["amount"] == "0.00"
    assert done.soup.select("form[action$='/write-off']") == []


async def test_who_may_only_look_is_refused_what_moves_money(api, owner):
    """Viewers and managers see runs and payouts without what they pay to; every form is refused to them."""
    jane, _, _ = await three_partners(api)
    run = await made(api, owner)
    run_at, payout_at = run.address.partition("?")[0], str(run.one("td a[href^='/payouts/po_']")["href"])
    for role in ("viewer", "manager"):
        somebody = await visitors.user(api, role=role)
        for address in ("/payouts", "/payouts/runs", run_at, "/payouts/all", payout_at, "/payouts/reconciliation"):
            page = await somebody.get(address)
            assert page.status == 200, address
            assert page.soup.select("main form[method=post]") == [], address
        assert "Goes to" not in (await somebody.get(payout_at)).words
        csrf = {"csrf": str(page.one(".who [name=csrf]")["value"]), "once": "x", "reason": "r", "declared": "d"}
        moves = ("approve", "cancel", "confirm", "declare-dead", "retry", "check")
        for address in (
            *(f"{payout_at}/{move}" for move in moves), f"{run_at}/approve", f"{run_at}/cancel", "/payouts/new",
            f"/partners/{jane}/hold-payouts", f"/partners/{jane}/write-off", "/payouts/bank",
        ):  # fmt: skip
            assert (await somebody.post(address, csrf)).status == 403, address
        for address in ("/payouts/new", "/payouts/bank"):
            assert (await somebody.get(address)).status == 403, address
    assert (await api.get("/payouts")).json["data"][0]["status"] == "requested"


async def test_another_s_payouts_are_as_none_at_all(api, owner):
    """Runs and payouts of another merchant are 404 as those that do not exist, to look at and to move."""
    await three_partners(api)
    run = await made(api, owner)
    run_at, payout_at = run.address.partition("?")[0], str(run.one("td a[href^='/payouts/po_']")["href"])
    other = await visitors.user(api, merchant="zenith")
    csrf = {"csrf": str((await other.get("/payouts")).one(".who [name=csrf]")["value"]), "once": "x", "reason": "r"}
    for address in (run_at, payout_at, "/payouts/po_0123456789abcdef", "/payouts/runs/pr_0"):
        assert (await other.get(address)).status == 404, address
        for move in ("approve", "cancel"):
            assert (await other.post(f"{address}/{move}", csrf)).status == 404, address
    assert (await other.get("/payouts/all")).said("#results tbody tr") == []
    assert (await other.get("/payouts/po_0123456789abcdef/nonsense")).status in (404, 405)


async def test_a_review_is_decided_by_a_person(database_url):
    """What nobody knows is told in words; declared with what was checked, it is payable again; contradictions alarm."""
    async with paying_program(database_url) as program, kept_up(database_url):
        api = program.api
        jane = (await api.partner())["id"]
        await payouts.payable_to(api, jane, "paypal", "jane@mail.example")
        await payouts.earn(api, "100.00")
        await payouts.run(api)
        (payout,) = await program.of()
        program.pass_time(payouts.QUIET)
        await program.decide(payout, lambda found, act: decisions.review(found, act, "window_over"))
        await api.project()
        owner = await visitors.user(api)
        assert "1 payout needs a decision" in (await owner.get("/payouts")).words
        page = await owner.get(f"/payouts/{payout['id']}")
        assert "payouts report: $10.00, sent when" in page.words
        assert "j•••@m•••.example" in page.words
        assert "jane@mail.example" not in page.text
        assert f"payout-{payout['id']}-1" in page.soup.select(".audit")[0].get_text(" ")
        refused = await owner.submit(page, "form[action$='/declare-dead']")
        assert (refused.status, bool(refused.one("#fault-declare-dead-declared").get_text())) == (422, True)
        done = await owner.submit(refused, "form[action$='/declare-dead']", declared=HOSTILE)
        assert ("<script>alert" in done.text, HOSTILE in done.words) == (False, True)
        assert done.one("#state").get_text(strip=True) == "failed"
        assert (await api.get(f"/balances?partner_id={jane}")).json["data"][0]["payable"]["amount"] == "10.00"
        # And then it was paid after all.
        await program.decide(payout, lambda found, act: decisions.several(found, act, ["B-1", "B-2"]))
        await api.project()
        page = await owner.get(f"/payouts/{payout['id']}")
        assert "The provider shows more than one payment for this payout." in page.one("[role=alert]").get_text()
        assert "Held: nothing is sent to this partner." in (await owner.get(f"/partners/{jane}")).words
