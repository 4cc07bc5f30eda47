"""The merchant's partners as pages: what is shown is what the API says, and what a form does is what a call does."""

import asyncio
from urllib.parse import quote

from tests.support import visitors
from tests.support.api import JANE

JOE = {"name": "Joe", "email": "joe@example.com", "coupon_code": "JOE"}
HOSTILE = "<script>alert('x')</script>\"&"


async def told(api, path):
    """Return what the API says once the read models are there."""
    answer = await api.get(f"{path}{'&' if '?' in path else '?'}min_position={await api.project()}")
    assert answer.status == 200, answer.text
    return answer.json


def names(page):
    """Return the partners on a list, in order."""
    return page.said("#results tbody th a:not(.tag)")


# --- the list ---------------------------------------------------------------------------------------------------------


async def test_the_list_shows_what_the_api_says(api, owner):
    """Every partner with status, rate, codes and what is payable, the newest first; the tabs count them all."""
    jane = await api.partner(tags=["VIP"])
    await api.partner(**JOE, status="applied", rate={"type": "fixed", "value": "2.50"})
    order = api.order(total="80.00")
    await api.post("/orders", order)
    await api.post(f"/commissions/{order['order_id']}/approve")
    await api.project()
    page = await owner.get("/partners")
    assert names(page) == ["Joe", "Jane"]
    assert page.said("#results tbody tr")[0].startswith("Joe joe@example.com applied $2.50 JOE ")
    assert page.said("#results tbody tr")[1].startswith(
        "Jane jane@example.com VIP approved 10% JANE10 $8.00 Nov 22, 2026"
    )
    assert page.said(".tabs a") == [
        "All 2", "Applied 1", "Invited 0", "Approved 1", "Paused 0", "Rejected 0", "Banned 0"
    ]  # fmt: skip
    (balance,) = (await told(api, f"/balances?partner_id={jane['id']}"))["data"]
    assert balance["payable"] == {"amount": "8.00", "currency": "USD"}


async def test_the_list_is_narrowed_and_ordered_by_its_address(api, owner):
    """Status, tag, text and order work together, and each link keeps the others."""
    await api.partner(tags=["VIP"])
    await api.partner(**JOE, tags=["vip"], status="applied")
    await api.partner(name="anna", email="anna@example.com", coupon_code="ANNA")
    await api.project()
    assert names(await owner.get("/partners?sort=name")) == ["anna", "Jane", "Joe"]
    assert names(await owner.get("/partners?sort=registered")) == ["Jane", "Joe", "anna"]
    page = await owner.get("/partners?tag=VIP")
    assert names(page) == ["Joe", "Jane"]
    page = await owner.get(str(page.one("#tab-applied")["href"]))
    assert names(page) == ["Joe"]
    assert page.one("#tab-applied")["aria-current"] == "page"
    assert names(await owner.submit(page, "form.filters", search="jane")) == []
    assert names(await owner.submit(page, "form.filters", search="jo")) == ["Joe"]


async def test_pages_are_turned_to_the_end_in_each_order(api, owner):
    """Following "next page" shows every partner once, however they are ordered."""
    for number in range(5):
        await api.partner(name=f"P{number}", email=f"p{number}@example.com", coupon_code=f"P{number}")
    await api.project()
    for sort, expected in (("name", "01234"), ("newest", "43210"), ("registered", "01234")):
        page = await owner.get(f"/partners?limit=2&sort={sort}")
        found = names(page)
        while page.soup.select(".pager a[rel=next]"):
            page = await owner.get(str(page.one(".pager a[rel=next]")["href"]))
            found += names(page)
        assert found == [f"P{number}" for number in expected], sort


async def test_an_address_that_asks_for_nonsense_says_so_on_the_list(owner):
    """What a person edited wrongly in the address is told on the page, with a way back; never a bare error."""
    for query in ("status=happy", "cursor=nonsense", "limit=0", "nobody=asked", "search=%00"):
        page = await owner.get(f"/partners?{query}")
        assert page.status == 422, query
        assert query.partition("=")[0] in " ".join(page.said("[role=alert]"))
        assert page.one(".empty a")["href"] == "/partners"


async def test_an_empty_program_is_told_what_to_do(api, owner):
    """Where there are no partners, the page says what one is; only who may add one is offered it."""
    await api.project()
    page = await owner.get("/partners")
    assert "No partners yet" in page.words
    assert page.one(".empty a")["href"] == "/partners/new"
    viewer = await visitors.user(api, role="viewer")
    assert (await viewer.get("/partners")).soup.select("a[href='/partners/new']") == []


# --- a new one --------------------------------------------------------------------------------------------------------


async def test_a_partner_is_added_by_the_form(api, owner):
    """The form registers a partner, approved or not yet, with rate, code and tags, and leads to its page."""
    for status in ("approved", "invited", "applied"):
        page = await owner.submit(
            await owner.get("/partners/new"), name=" Kim ", email=f"{status}@example.com", rate__type="fixed",
            rate__value="2.5", coupon_code=status, tags="VIP, Berlin ,", status=status,
        )  # fmt: skip
        assert (page.status, len(page.said("[role=status]"))) == (200, 1)
        kim = (await told(api, "/partners"))["data"][-1]
        assert page.address.startswith(f"/partners/{kim['id']}?")
        assert (kim["name"], kim["status"], kim["rate"]["value"], kim["coupon_codes"], kim["tags"]) == (
            "Kim", status, "2.50", [status.upper()], ["VIP", "Berlin"],
        )  # fmt: skip


WRONG = [
    ({"email": "nobody"}, "email"),
    ({"rate__value": "12,5"}, "rate.value"),
    ({"rate__value": "12.345"}, "rate.value"),
    ({"rate__value": "101"}, "rate.value"),
    ({"tags": "a, A"}, "tags"),
    ({"coupon_code": "jane10"}, "coupon_code"),
    ({"email": "JANE@example.com", "coupon_code": "other"}, "email"),
]


async def test_a_form_that_is_refused_keeps_what_was_typed(api, owner):
    """The message stands beside its field and is named by it; all that was typed is still there; nothing was done."""
    await api.partner()
    form = await owner.get("/partners/new")
    for typed, field in WRONG:
        filled = {"name": HOSTILE, "email": "kim@example.com", "rate__value": "7", "tags": "one, two"} | typed
        page = await owner.submit(form, **filled)
        assert page.status in (409, 422), typed
        wrong = page.one("[aria-invalid=true]")
        assert wrong["name"] == field
        assert wrong["aria-describedby"].split()[-1] == page.one(".fault")["id"]
        for name, value in filled.items():
            assert page.one(f"[name='{name.replace('__', '.')}']")["value"] == value
    assert len((await told(api, "/partners"))["data"]) == 1


async def test_a_form_that_is_sent_twice_is_done_once(api, owner):
    """The same page's form, sent once more, leads to the same partner and adds none."""
    form = await owner.get("/partners/new")
    filled = {"name": "Kim", "email": "kim@example.com", "rate__value": "7", "coupon_code": "KIM"}
    first, second = await asyncio.gather(*(owner.submit(form, follow=False, **filled) for _ in range(2)))
    assert (first.status, second.status) == (303, 303)
    assert first.location == second.location
    assert len((await told(api, "/partners"))["data"]) == 1


# --- one of them ------------------------------------------------------------------------------------------------------


async def test_the_page_of_a_partner_shows_what_the_api_says(api, owner):
    """Balance, range figures, chart, commissions, payments, customers, codes and rates equal the API's answers."""
    jane = await api.partner()
    for number, total in enumerate(("100.00", "59.90", "20.00")):
        customer = {"id": f"c/{number}", "name": f"Customer {number}"}
        await api.post("/orders", api.order(order_id=f"a/{number}", total=total, customer=customer))
        if number < 2:
            await api.post(f"/commissions/a%2F{number}/approve")
    await api.post("/commissions/a%2F0/mark-paid", {"reference": "wire 1"})
    await api.project()
    page = await owner.get(f"/partners/{jane['id']}")
    assert page.said("#books .figure") == [
        "Payable $5.99", "Pending $2.00 waits for approval", "On hold $0.00 waits for a decision", "In payout $0.00",
        "Paid $10.00",
    ]  # fmt: skip
    assert page.said("#earnings .facts dd") == ["$17.99", "$179.90", "3"]
    values = [cell["data-value"] for cell in page.soup.select("#earned td[data-value]")]
    assert sum(map(float, values)) == 17.99
    assert page.said("#latest tbody th") == ["a/2", "a/1", "a/0"]
    assert page.soup.select_one("#latest tbody a")["href"] == "/commissions/a%2F2"
    assert page.said("[aria-labelledby=paid-title] tbody tr") == ["a/0 Nov 22, 2026, 12:00 PM $10.00"]
    customers = page.soup.select("[aria-labelledby=customers-title] tbody a")
    assert [link["href"] for link in customers] == [f"/customers/c%2F{number}" for number in range(3)]
    assert page.said("#codes li") == ["JANE10 the partner's rate Change"]
    assert page.one("#dashboard-url")["value"] == (await told(api, f"/partners/{jane['id']}"))["dashboard_url"]
    for link in page.soup.select("#books .figure a, #earned th a"):
        assert f"partner_id={jane['id']}" in str(link["href"])


async def test_a_currency_and_a_range_are_chosen_by_the_address(api, owner):
    """The chart is of one currency, of those that the partner has; what the address makes up is left aside."""
    jane = await api.partner()
    await api.post("/orders", [api.order(), api.order(currency="JPY", total="5000")])
    await api.project()
    here = f"/partners/{jane['id']}"
    assert (await owner.get(here)).said("#earnings .facts dd")[0] == "$10.00"
    page = await owner.get(f"{here}?currency=JPY&range=30-days")
    assert page.said("#earnings .facts dd")[0] == "¥500"
    assert page.one("#range-30-days")["aria-current"] == "true"
    assert len(page.soup.select("#earned tbody tr")) == 30
    for made_up in ("?currency=EUR", "?currency=<b>&range=<b>"):
        page = await owner.get(here + made_up)
        assert (page.status, page.said("#earnings .facts dd")[0]) == (200, "$10.00")


async def test_only_legal_moves_are_offered_and_each_does_what_it_says(api, owner):
    """From application to ban and back: the page has the moves that the API would take, and the reasons are kept."""
    jane = await api.partner(status="applied")
    order = api.order(occurred_at="2026-11-22T12:00:00Z")
    await api.project()
    here = f"/partners/{jane['id']}"
    moves = []
    page = await owner.get(here)
    for move, reason in (
        ("reject", "not now"), ("approve", None), ("pause", "holidays"), ("reinstate", None), ("ban", "cheated"),
    ):  # fmt: skip
        offered = {each["action"].rpartition("/")[2] for each in page.soup.select(".head form")}
        assert offered == set((await told(api, here))["moves"])
        if move == "ban":
            await api.post("/orders", order)
            await api.project()
            page = await owner.get(here)
            assert "pending $10.00, approved $0.00, on hold $0.00" in page.said(".head form[action$=ban]")[0]
        page = await owner.submit(page, f"form[action$='/{move}']", **({"reason": reason} if reason else {}))
        assert (page.status, len(page.said("[role=status]"))) == (200, 1)
        moves.append(page.said("h1 .badge")[0])
    assert moves == ["rejected", "approved", "paused", "approved", "banned"]
    assert page.said(".story li p:first-child") == [
        "Banned: cheated", "Reinstated: earns again.", "Paused: holidays", "Approved: earns from then on.",
        "Rejected: not now", "Applied, with a rate of 10 %.",
    ]  # fmt: skip
    assert [line.split(" · ")[0] for line in page.said(".story .muted")][:5] == ["Owner"] * 5


async def test_a_move_that_is_refused_says_so_in_its_own_form(api, owner):
    """Without a reason nothing is done: its form is open, says why, and the other forms with a reason are quiet."""
    jane = await api.partner()
    await api.project()
    here = f"/partners/{jane['id']}"
    page = await owner.get(here)
    page = await owner.submit(page, "form[action$='/ban']", reason=" ")
    assert page.status == 422
    assert [each["id"] for each in page.soup.select("[aria-invalid=true]")] == ["field-ban-reason"]
    assert [each.select_one("form")["action"] for each in page.soup.select("details.action[open]")] == [f"{here}/ban"]
    late = await owner.submit(page, "form[action$='/ban']", reason="cheated")
    assert late.status == 200
    # Somebody was faster: the page that was open before says what is possible now.
    again = await owner.submit(page, "form[action$='/pause']", reason="holidays")
    assert (again.status, len(again.said("[role=alert]"))) == (409, 1)
    assert (await told(api, here))["status"] == "banned"


async def test_details_are_changed_by_what_was_changed(api, owner):
    """The form changes only what was typed otherwise; a rate holds from the day that was named."""
    jane = await api.partner(tags=["VIP"])
    await api.project()
    here = f"/partners/{jane['id']}"
    form = await owner.get(f"{here}/edit")
    assert (await owner.submit(form)).status == 200
    assert len((await told(api, f"{here}/history"))["data"]) == 1
    page = await owner.submit(
        form, name="Jane Doe", tags="VIP, new", rate__value="12.5", rate_from="2026-12-01"
    )  # fmt: skip
    assert page.said("h1") == ["Jane Doe approved"]
    jane = await told(api, here)
    assert (jane["name"], jane["email"], jane["tags"]) == ("Jane Doe", "jane@example.com", ["VIP", "new"])
    assert page.said("[aria-labelledby=rates-title] tbody tr") == [
        "12.5% from Dec 1, 2026, 12:00 AM to come", "10% before Dec 1, 2026, 12:00 AM",
    ]  # fmt: skip
    for typed, field in (({"rate_from": "tomorrow"}, "rate_from"), ({"email": "x"}, "email")):
        refused = await owner.submit(form, **typed)
        assert (refused.status, refused.one("[aria-invalid=true]")["name"]) == (422, field)
        assert refused.one(f"[name={field}]")["value"] == next(iter(typed.values()))


async def test_a_rate_cannot_reach_back_behind_orders_on_the_books(api, owner):
    """The refusal stands beside the day."""
    jane = await api.partner()
    await api.post("/orders", api.order())
    await api.project()
    form = await owner.get(f"/partners/{jane['id']}/edit")
    page = await owner.submit(form, rate__value="20", rate_from="2026-11-01")
    assert (page.status, page.one("[aria-invalid=true]")["name"]) == (422, "rate_from")


async def test_codes_are_added_changed_and_taken_away(api, owner):
    """A partner gets a code with a rate of its own, the rate changes, the code goes; a code may hold any sign."""
    jane = await api.partner()
    await api.partner(**JOE)
    await api.project()
    here = f"/partners/{jane['id']}"
    page = await owner.get(here)
    page = await owner.submit(page, "form[action$=codes]", code="a/b?c#%d é", rate__type="fixed", rate__value="3")
    assert page.said("#codes li")[1] == "A/B?C#%D É $3.00 Change"
    taken = await owner.submit(page, "form[action$=codes]", code="joe")
    assert (taken.status, taken.one("[aria-invalid=true]")["id"]) == (409, "field-codes-code")
    code = await owner.get(str(page.soup.select("#codes li a")[1]["href"]))
    assert code.said("h1") == ["Code A/B?C#%D É"]
    page = await owner.submit(code, "main form.card", rate__type="own")
    assert page.said("#codes li")[1] == "A/B?C#%D É the partner's rate Change"
    refused = await owner.submit(code, "main form.card", rate__type="percentage", rate__value="200")
    assert (refused.status, refused.one("[aria-invalid=true]")["name"]) == (422, "rate.value")
    page = await owner.submit(code, "form[action$=revoke]")
    assert page.said("#codes li")[1].startswith("A/B?C#%D É taken away on Nov 22, 2026")
    assert (await owner.get(code.address)).status == 404
    codes = (await told(api, f"{here}/coupons"))["data"]
    assert [bool(each["revoked_at"]) for each in codes] == [False, True]


async def test_notes_are_added_and_removed(api, owner):
    """A note is shown as it was written, with who wrote it; it can be blotted out; an empty one is refused."""
    jane = await api.partner()
    await api.project()
    page = await owner.get(f"/partners/{jane['id']}")
    empty = await owner.submit(page, "form[action$=notes]", note="  ")
    assert (empty.status, empty.one("[aria-invalid=true]")["id"]) == (422, "field-notes-note")
    page = await owner.submit(page, "form[action$=notes]", note=f"first line\n{HOSTILE}")
    assert page.soup.select_one(".note-text").get_text() == f"first line\n{HOSTILE}"
    assert page.said("#notes li")[0].split("·")[0].endswith("Owner ")
    page = await owner.submit(page, "form[action$=remove]")
    assert page.said("#notes li") == []


async def test_the_dashboard_s_address_is_renewed(api, owner):
    """A new address takes the place of the old one, is shown, and is nobody's who may not change partners."""
    jane = await api.partner()
    await api.project()
    here = f"/partners/{jane['id']}"
    page = await owner.get(here)
    old = page.one("#dashboard-url")["value"]
    page = await owner.submit(page, "form[action$='dashboard-link']")
    assert page.one("#dashboard-url")["value"] not in ("", old)
    viewer = await visitors.user(api, role="viewer")
    seen = await viewer.get(here)
    assert seen.soup.select("#dashboard-url") == []
    assert old.rpartition(".")[2] not in seen.text


# --- who may, and whose -----------------------------------------------------------------------------------------------


async def test_who_may_only_look_is_offered_nothing_and_refused_all(api):
    """Roles without `partners` see the figures, no form but those of payouts, and are refused if they send one."""
    jane = await api.partner()
    await api.project()
    here = f"/partners/{jane['id']}"
    forms = ("approve", "ban", "pause", "notes", "codes", "codes/JANE10/revoke", "dashboard-link")
    for role in ("finance", "viewer"):
        somebody = await visitors.user(api, role=role)
        page = await somebody.get(here)
        offered = [str(form["action"]) for form in page.soup.select("main form")]
        assert (page.status, offered) == (200, [f"{here}/hold-payouts"] if role == "finance" else [])
        fields = {"csrf": page.one(".who form [name=csrf]")["value"], "once": "x", "reason": "r", "note": "n"}
        for address in ("/partners/new", f"{here}/edit", f"{here}/codes/JANE10"):
            assert (await somebody.get(address)).status == 403
            assert (await somebody.post(address, fields)).status == 403
        for form in forms:
            assert (await somebody.post(f"{here}/{form}", fields)).status == 403, form
    assert len((await told(api, f"{here}/history"))["data"]) == 1


async def test_another_merchant_s_partner_is_as_one_who_does_not_exist(api, owner):
    """Every address of another program's partner answers like that of nobody, and nothing is done."""
    theirs = await api.partner(of="zenith")
    await api.partner(**JOE)
    await api.project()
    page = await owner.get("/partners/new")
    filled = visitors.fields_of(page.one("main form")) | {"reason": "r", "note": "n", "code": "c", "rate.value": "1"}
    for end in ("", "/edit", "/codes/JANE10"):
        seen = [await owner.get(f"/partners/{each}{end}") for each in (theirs["id"], "p_nobody")]
        assert [each.status for each in seen] == [404, 404]
        assert "Jane" not in seen[0].text
    for end in (
        "/edit",
        "/ban",
        "/pause",
        "/notes",
        "/notes/n/remove",
        "/codes",
        "/codes/JANE10/revoke",
        "/dashboard-link",
    ):
        sent = [await owner.post(f"/partners/{each}{end}", filled) for each in (theirs["id"], "p_nobody")]
        assert [each.status for each in sent] == [404, 404], end
    assert "Jane" not in (await owner.get("/partners")).text
    history = await api.get(f"/partners/{theirs['id']}/history", of="zenith")
    assert len(history.json["data"]) == 1


async def test_what_no_id_can_be_is_not_found(owner):
    """Control characters, half characters and long texts in the place of an id are 404."""
    for odd in ("%00", "a%0Ab", "%ED%A0%80", "x" * 200, quote("<script>")):
        assert (await owner.get(f"/partners/{odd}")).status == 404, odd


async def test_what_people_wrote_is_shown_as_text(api, owner):
    """Names, tags, codes and reasons that look like markup or formulas stand on the pages as they were written."""
    jane = await api.partner(name=HOSTILE, tags=[HOSTILE], coupon_code=HOSTILE)
    here = f"/partners/{jane['id']}"
    await api.post(f"{here}/pause", {"reason": HOSTILE})
    await api.post(f"{here}/notes", {"note": HOSTILE})
    order = api.order(
        order_id=HOSTILE,
        coupon_code=HOSTILE,
        customer={"id": HOSTILE, "name": HOSTILE},
        occurred_at="2026-11-21T10:00:00Z",
    )
    await api.post("/orders", order)
    await api.project()
    for address in ("/partners", here, f"{here}/edit", f"{here}/codes/{quote(HOSTILE.upper(), safe='')}"):
        page = await owner.get(address)
        assert page.status == 200, address
        assert [each for each in page.soup.select("script") if not each.get("src")] == []
        assert HOSTILE in page.soup.get_text() or HOSTILE.upper() in page.soup.get_text()


async def test_a_form_from_another_site_does_nothing(api, owner):
    """Without the session's token a form is refused, whatever it asks for."""
    jane = await api.partner()
    await api.project()
    for fields in ({"reason": "r"}, {"reason": "r", "csrf": "wrong"}):
        assert (await owner.post(f"/partners/{jane['id']}/ban", fields)).status == 403
    assert (await told(api, f"/partners/{jane['id']}"))["status"] == JANE.get("status", "approved")
