"""Commissions for the merchant: the list and its filters, moves of many, one commission's page, entries by hand."""

from tests.support import visitors

ODD = "a/b?c#d e%2F&ü\"'<"
HOSTILE = '"><script>alert(1)</script>{{ 7919*7919 }}'


async def orders(api, count, **change):
    """Register Jane where there is nobody yet, place orders with her code, and return their ids, the newest first."""
    if not (await api.get("/partners")).json["data"]:
        await api.partner()
    placed = [api.order(**change) for _ in range(count)]
    results = (await api.post("/orders", placed)).json["results"]
    assert {each["outcome"] for each in results} == {"earned"}
    await api.project()
    return [each["order_id"] for each in reversed(placed)]


async def statuses(api):
    """Return the status of each commission by its order."""
    await api.project()
    return {each["order_id"]: each["status"] for each in (await api.get("/commissions")).json["data"]}


def rows(page):
    """Return the ids of the commissions that a list shows."""
    return page.said("#results tbody th a")


async def test_the_list_shows_what_the_api_lists(api, owner):
    """Same commissions in the same order, with the same figures, for every filter that the API has."""
    first = await orders(api, 2, customer={"id": "kim"}, occurred_at="2026-11-20T10:00:00Z")
    second = await orders(api, 2, currency="EUR")
    await api.post(f"/commissions/{first[0]}/approve", {})
    await api.project()
    partner = (await api.get("/partners")).json["data"][0]["id"]
    for query, expected in (
        ("", [*second, *first]), ("status=approved", first[:1]), ("customer_id=kim", first), ("currency=EUR", second),
        ("to=2026-11-21", first), ("from=2026-11-21", second), (f"partner_id={partner}", [*second, *first]),
        ("payout_id=none", []), ("status=approved&currency=EUR", []),
    ):  # fmt: skip
        page = await owner.get(f"/commissions?{query}")
        listed = (await api.get(f"/commissions?{query}")).json["data"]
        assert rows(page) == [each["order_id"] for each in listed] == expected, query
        assert page.status == 200
    page = await owner.get("/commissions?currency=EUR")
    assert "€10.00" in page.words
    assert page.one("nav ul.tabs a[aria-current]").get_text() == "All"


async def test_pages_of_the_list_follow_one_another(api, owner):
    """The next page goes on where this one ends, and leads back to the start."""
    ids = await orders(api, 5)
    page = await owner.get("/commissions?limit=2")
    found = rows(page)
    while page.soup.select(".pager a[rel=next]"):
        page = await owner.get(str(page.one(".pager a[rel=next]")["href"]))
        found += rows(page)
    assert found == ids
    assert page.one(".pager a:not([rel])").get_text() == "From the start"


async def test_a_partner_is_found_as_people_say_it(api, owner):
    """A name or a code leads to that partner's commissions; several are offered, an unknown one is told."""
    ids = await orders(api, 1)
    await api.partner(name="Jane Roe", email="roe@example.com", coupon_code="ROE")
    await api.project()
    page = await owner.get("/commissions?partner=roe@example.com")
    assert "partner_id=p_" in page.address
    assert "No commissions here" in page.words
    several = await owner.get("/commissions?partner=jan")
    assert several.said(".which a") == ["Jane", "Jane Roe"]
    alone = await owner.get("/commissions?partner=jane")
    assert rows(alone) == ids
    assert alone.said(".chip .muted") == ["Partner"]
    unknown = await owner.get("/commissions?partner=nobody")
    assert "No partner is found by “nobody”" in unknown.words


async def test_an_order_is_found_by_its_id(api, owner):
    """An id leads to the commission's page, one that is not there is told on the list."""
    ids = await orders(api, 1, order_id=ODD)
    page = await owner.get("/commissions?order=" + visitors.urlencode({"": ODD})[1:])
    assert page.one("h1").get_text(" ", strip=True).startswith(f"Order {ODD}")
    missing = await owner.get("/commissions?order=nothing")
    assert "No order with this id has a commission." in missing.words
    assert rows(missing) == ids


async def test_an_address_that_asks_for_nonsense_is_told_so(api, owner):
    """A wrong filter is explained on the page, with nothing of the list."""
    await orders(api, 1)
    for query in ("status=nonsense", "from=yesterday", "from=2026-11-22&to=2026-11-01", "what=is"):
        page = await owner.get(f"/commissions?{query}")
        assert (page.status, rows(page)) == (422, [])
        assert page.said("[role=alert]")


async def test_many_are_moved_at_once(api, owner):
    """Those that are ticked are moved and the list is shown again, with its filters."""
    ids = await orders(api, 3)
    page = await owner.get("/commissions?status=pending&currency=USD")
    done = await owner.submit(page, "#bulk", order_ids=ids[:2], action="approve", reason="not taken by this move")
    assert done.address == "/commissions?status=pending&currency=USD&told=commissions_moved"
    assert rows(done) == ids[2:]
    assert done.said("[role=status]")[0] == "Done with all that were ticked."
    assert await statuses(api) == {ids[0]: "approved", ids[1]: "approved", ids[2]: "pending"}


async def test_of_many_each_that_could_not_be_moved_says_why(api, owner):
    """Where some cannot make the move, the others make it, and the page tells of each; sent twice it is done once."""
    ids = await orders(api, 3)
    await api.post(f"/commissions/{ids[0]}/reject", {"reason": "returned"})
    page = await owner.get("/commissions")
    told = [await owner.submit(page, "#bulk", order_ids=ids, action="hold", reason="looking") for _ in range(2)]
    for answer in told:
        assert answer.one("h1").get_text() == "Hold: 2 of 3 done"
        assert answer.said("tbody th") == [ids[0], *ids[1:]]
        assert answer.said("tbody .bad")[0].startswith("✗")
    assert await statuses(api) == {ids[0]: "rejected", ids[1]: "held", ids[2]: "held"}
    history = (await api.get(f"/commissions/{ids[1]}")).json["history"]
    assert [entry["type"] for entry in history] == ["CommissionEarned", "CommissionHeld"]


async def test_a_refused_move_of_many_shows_what_was_ticked(api, owner):
    """Without a reason, an action or a tick nothing is done; ticks and texts stand there again, with the message."""
    ids = await orders(api, 2)
    page = await owner.get("/commissions")
    refused = await owner.submit(page, "#bulk", order_ids=ids[:1], action="mark-paid", note="by hand")
    assert refused.status == 422
    assert refused.one("#fault-reference").get_text()
    assert [box["value"] for box in refused.soup.select("[name=order_ids][checked]")] == ids[:1]
    assert refused.one("#bulk-note")["value"] == "by hand"
    none = await owner.submit(page, "#bulk", action="approve")
    assert (none.status, none.one("#fault-bulk").get_text()) == (422, "Tick the commissions that are meant.")
    what = await owner.submit(page, "#bulk", order_ids=ids)
    assert (what.status, what.one("#fault-bulk").get_text()) == (422, "Choose what is to be done.")
    many = {"csrf": str(page.one("#bulk [name=csrf]")["value"]), "action": "approve"}
    too_many = await owner.post("/commissions", many | {"order_ids": [f"o-{number}" for number in range(101)]})
    assert too_many.status == 422
    assert set((await statuses(api)).values()) == {"pending"}


async def test_the_list_tells_what_is_new_without_moving(api, owner):
    """A part of the page says how many commissions are new; the same page asked again with nothing new says nothing."""
    await orders(api, 2)
    page = await owner.get("/commissions?currency=USD")
    fresh = str(page.one("#news")["hx-get"])
    assert (await owner.get(fresh)).said("#news a") == []
    await orders(api, 3)
    assert (await owner.get(fresh)).said("#news a") == ["3 new commissions: show"]
    again = await owner.get(fresh)
    assert again.one("#news a")["href"] == "/commissions?currency=USD"
    assert again.one("#news")["hx-get"] == fresh
    await api.post(f"/commissions/{rows(again)[4]}/approve", {})
    later = await owner.get("/commissions?currency=USD")
    await api.post(f"/commissions/{rows(again)[3]}/approve", {})
    await api.project()
    told = await owner.get(str(later.one("#news")["hx-get"]))
    assert told.said("#news a") == ["The list has changed: show it as it is now"]


async def test_a_commission_tells_its_story(api, owner):
    """The page has the arithmetic to the cent, each refund's effect, every event with who, why, and the raw events."""
    (order_id,) = await orders(api, 1, total="33.33", tax="3.33", customer={"id": "kim"})
    await api.post("/orders", api.refund(order_id, "10.01"))
    await api.project()
    page = await owner.get(f"/commissions/{order_id}")
    await owner.submit(page, "form[action*=hold]", reason="does this look right?")
    page = await owner.get(f"/commissions/{order_id}")
    assert page.said(".sum td") == ["$33.33", "$33.33", "10 %", "3.333", "$3.33"]
    assert page.said("table.stack tbody td") == ["$23.32", "2.332", "$2.33", "-$1.00"]
    story = (await api.get(f"/commissions/{order_id}")).json
    assert page.said(".happened") == [entry["summary"] for entry in story["history"]]
    said = " ".join(page.said(".story"))
    assert "the storefront" in said
    assert "· Owner" in said
    assert page.said("#state") == ["held"]
    assert '"type": "commission.held"' in page.one("details.raw code").get_text()
    assert page.one('a[href="/customers/kim"]')
    assert page.one(f'a[href="/partners/{story["partner_id"]}"]').get_text() == "Jane"


async def test_an_order_that_earned_nothing_says_why(api, owner):
    """A skipped order's page has its reason and no arithmetic."""
    partner = await api.partner()
    await api.post(f"/partners/{partner['id']}/pause", {"reason": "holiday"})
    order = api.order(occurred_at="2026-11-22T12:00:00Z")
    await api.post("/orders", order)
    await api.project()
    page = await owner.get(f"/commissions/{order['order_id']}")
    assert page.said("#state") == ["skipped"]
    assert "earned nothing: partner paused" in page.words
    assert page.soup.select(".sum, .actions form") == []


async def test_each_move_is_made_by_its_form(api, owner):
    """Every legal move is offered, and none that is not; each does what the API's call does, and says so."""
    (order_id,) = await orders(api, 1)
    for move, filled, status, offered in (
        (None, {}, "pending", ["Approve", "Reject", "Hold"]),
        ("hold", {"reason": "looking"}, "held", ["Reject", "Release"]),
        ("release", {}, "pending", ["Approve", "Reject", "Hold"]),
        ("reject", {"reason": "returned"}, "rejected", ["Reopen"]),
        ("reopen", {"reason": "was not"}, "pending", ["Approve", "Reject", "Hold"]),
        ("approve", {}, "approved", ["Reject", "Hold", "Mark as paid"]),
        ("mark-paid", {"reference": "transfer 1", "note": "late"}, "paid", ["Mark as unpaid"]),
        ("mark-unpaid", {"reason": "came back"}, "approved", ["Reject", "Hold", "Mark as paid"]),
    ):
        page = await owner.get(f"/commissions/{order_id}")
        if move:
            page = await owner.submit(page, f'.actions form[action*="/{move}?"]', **filled)
            assert page.said("main > [role=status]"), move
        assert page.said("#state") == [status], move
        assert sorted(page.said(".actions form button")) == sorted(offered), move
        assert (await statuses(api))[order_id] == status
    told = (await api.get(f"/commissions/{order_id}")).json["history"]
    assert [entry["by"]["kind"] for entry in told] == ["message"] + ["user"] * 7
    assert told[-2]["reference"] == "transfer 1"


async def test_a_refused_move_shows_what_was_typed(api, owner):
    """A move without its reason, and one that is not legal any more, are told on the page with what was typed."""
    (order_id,) = await orders(api, 1)
    page = await owner.get(f"/commissions/{order_id}")
    refused = await owner.submit(page, ".actions form[action*=hold]", reason="  ")
    assert refused.status == 422
    assert refused.one("#fault-hold-reason").get_text()
    assert refused.one(".actions details[open] form")["action"] == f"/commissions/hold?id={order_id}"
    await api.post(f"/commissions/{order_id}/reject", {"reason": "returned"})
    await api.project()
    late = await owner.submit(page, ".actions form[action*=hold]", reason="let me see")
    assert late.status == 409
    assert "rejected" in late.one("[role=alert]").get_text()
    assert late.said("#state") == ["rejected"]


async def test_a_move_that_is_sent_twice_is_made_once(api, owner):
    """A form that was sent twice (a double click, a reload) does what it does once, and says that it is done."""
    (order_id,) = await orders(api, 1)
    page = await owner.get(f"/commissions/{order_id}")
    for _ in range(2):
        done = await owner.submit(page, ".actions form[action*=approve]")
        assert done.said("main > [role=status]") == ["Approved: it is payable now."]
    history = (await api.get(f"/commissions/{order_id}")).json["history"]
    assert [entry["type"] for entry in history] == ["CommissionEarned", "CommissionApproved"]


async def test_ids_of_any_kind_have_a_page(api, owner):
    """Whatever a storefront calls an order, the list leads to its page, and its moves are made."""
    odd = [ODD, "new", "..", "."]
    for order_id in odd:
        await orders(api, 1, order_id=order_id)
    page = await owner.get("/commissions")
    for order_id, link in zip(rows(page), page.soup.select("#results tbody th a"), strict=True):
        page = await owner.get(str(link["href"]))
        assert (page.status, page.said("#state")) == (200, ["pending"])
        assert page.one("h1").get_text(" ", strip=True) == f"Order {order_id} pending"
        done = await owner.submit(page, ".actions form[action*=approve]")
        assert done.said("#state") == ["approved"]
        assert done.address.split("?told=")[0].split("&told=")[0] == link["href"]
    await owner.submit(await owner.get("/commissions"), "#bulk", order_ids=odd, action="hold", reason="look")
    assert await statuses(api) == dict.fromkeys(odd, "held")


async def test_each_role_is_offered_what_it_may_do(api):
    """Buttons are those of the role's scopes; what is not offered is refused, too."""
    (order_id,) = await orders(api, 1)
    await api.post(f"/commissions/{order_id}/approve", {})
    await api.project()
    for role, one, many in (
        ("viewer", set(), set()),
        ("manager", {"Reject", "Hold"}, {"approve", "reject", "reopen", "hold", "release"}),
        ("finance", {"Mark as paid"}, {"mark-paid", "mark-unpaid"}),
    ):
        visitor = await visitors.user(api, role=role)
        page = await visitor.get(f"/commissions/{order_id}")
        assert set(page.said(".actions form button")) == one
        listed = await visitor.get("/commissions")
        assert {str(each["value"]) for each in listed.soup.select("#action option")} - {""} == many
        assert bool(listed.soup.select('a[href="/commissions/new"]')) is (role == "manager")
        assert (await visitor.get("/commissions/new")).status == (200 if role == "manager" else 403)
        csrf = {"csrf": str(page.one(".who [name=csrf]")["value"])}
        for move, button in (("reject", "Reject"), ("mark-paid", "Mark as paid")):
            if button in one:
                continue
            fields = {"reason": "x", "reference": "x", "action": move, "order_ids": order_id} | csrf
            for address in (f"/commissions/{move}?id={order_id}", "/commissions"):
                assert (await visitor.post(address, fields)).status == 403, (role, address)
    assert await statuses(api) == {order_id: "approved"}


async def test_what_is_another_s_is_not_there(api):
    """Another merchant's commission is 404 exactly as none at all, to look at and to move; lists have nothing of it."""
    (order_id,) = await orders(api, 1)
    other = await visitors.user(api, merchant="zenith")
    for address in (f"/commissions/{order_id}", "/commissions/nothing", "/commissions/?id=nothing", "/commissions/%00"):
        assert (await other.get(address)).status == 404, address
    page = await other.get("/commissions")
    assert "No commissions yet" in page.words
    csrf = {"csrf": str(page.one(".who [name=csrf]")["value"])}
    for each in (order_id, "nothing"):
        answer = await other.post(f"/commissions/approve?id={each}", csrf)
        assert answer.status == 404
        moved = await other.post("/commissions", csrf | {"action": "approve", "order_ids": each})
        assert moved.one("h1").get_text() == "Approve: 0 of 1 done"
    partner = (await api.get("/partners")).json["data"][0]["id"]
    for query in (f"partner_id={partner}", "partner=jane", f"order={order_id}"):
        assert rows(await other.get(f"/commissions?{query}")) == []
    assert await statuses(api) == {order_id: "pending"}


async def test_words_of_strangers_are_shown_as_words(api, owner):
    """What storefronts and people typed stands on pages as text, wherever it is shown."""
    (order_id,) = await orders(api, 1, order_id=HOSTILE, customer={"id": HOSTILE})
    await api.post("/partners", {"name": HOSTILE, "email": "x@example.com", "rate": {"type": "fixed", "value": "1"}})
    page = await owner.get("/commissions")
    page = await owner.get(str(page.one("#results tbody th a")["href"]))
    page = await owner.submit(page, ".actions form[action*=hold]", reason=HOSTILE)
    assert HOSTILE in page.one("h1").get_text()
    assert HOSTILE in " ".join(page.said(".story"))
    pages = [page]
    asked = visitors.urlencode({"partner": HOSTILE, "customer_id": HOSTILE, "order": HOSTILE + "x"})
    pages += [await owner.get(f"/commissions?{asked}")]
    asked = visitors.urlencode({"partner_id": HOSTILE, "payout_id": HOSTILE, "seen": HOSTILE})
    pages += [await owner.get(f"/commissions?{asked}"), await owner.get(f"/commissions/new?{asked}")]
    new = await owner.get("/commissions/new")
    pages += [await owner.submit(new, "main form", partner=HOSTILE, amount=HOSTILE, reason=HOSTILE, reference=HOSTILE)]
    for shown in pages:
        assert not [each for each in shown.soup.select("script") if not each.get("src")]
        assert "<script>alert" not in shown.text
        assert "62710561" not in shown.one("main").get_text()
    assert order_id == HOSTILE


# --- entries by hand --------------------------------------------------------------------------------------------------


async def test_an_entry_is_made_once_for_whoever_is_meant(api, owner):
    """A name is enough; a negative amount takes away; sent twice it is entered once; its page tells of it."""
    await api.partner()
    await api.project()
    page = await owner.get("/commissions/new")
    for _ in range(2):
        done = await owner.submit(
            page, "main form", partner="jane", amount="-12.50", currency="usd", reason="counted twice",
            reference="ticket 7", occurred_at="2026-11-20",
        )  # fmt: skip
        assert done.said("main > [role=status]") == ["Entered: it is payable now."]
        assert done.one("h1").get_text(" ", strip=True).startswith("Entry manual-")
    data = (await api.get("/commissions")).json["data"]
    assert [(each["commission"]["amount"], each["occurred_at"][:10]) for each in data] == [("-12.50", "2026-11-20")]
    assert (data[0]["reason"], data[0]["status"]) == ("counted twice", "approved")


async def test_an_entry_asks_who_is_meant(api, owner):
    """Several partners of that name are offered, what was typed stays, and the chosen one gets the entry."""
    await api.partner()
    roe = await api.partner(name="Jane Roe", email="roe@example.com", coupon_code="ROE")
    await api.project()
    page = await owner.get("/commissions/new")
    asked = await owner.submit(page, "main form", partner="jan", amount="5.00", reason="bonus")
    assert (asked.status, asked.one("#field-amount")["value"]) == (422, "5.00")
    assert asked.said("#field-partner_id option")[1:] == ["Jane, jane@example.com", "Jane Roe, roe@example.com"]
    done = await owner.submit(asked, "main form", partner_id=roe["id"])
    assert done.said("#state") == ["approved"]
    assert (await api.get(f"/commissions?partner_id={roe['id']}")).json["data"][0]["commission"]["amount"] == "5.00"
    linked = await owner.get(f"/commissions/new?partner_id={roe['id']}")
    assert linked.said("#field-partner_id option") == ["Jane Roe, roe@example.com"]


async def test_a_refused_entry_says_which_field(api, owner):
    """Each field that is wrong has its message beside it, and what was typed stands there again."""
    await api.partner()
    await api.project()
    page = await owner.get("/commissions/new")
    for field, value in (
        ("amount", "0"), ("amount", "1.234"), ("amount", "a lot"), ("currency", "XXX"), ("occurred_at", "2026-12-24"),
        ("occurred_at", "soon"), ("reason", ""), ("partner", "nobody"), ("partner", ""),
    ):  # fmt: skip
        filled = {"partner": "jane", "amount": "5.00", "reason": "bonus"} | {field: value}
        refused = await owner.submit(page, "main form", **filled)
        assert refused.status == 422, (field, value)
        assert refused.one(f"#fault-{field}").get_text()
        assert refused.one("#field-amount")["value"] == filled["amount"]
    assert (await api.get("/commissions")).json["data"] == []


async def test_who_cannot_be_owed_is_told_beside_the_partner(api, owner):
    """A partner who was never approved gets no entry, and the field says why."""
    await api.post("/partners/apply", {"name": "Al", "email": "al@x.example", "rate": {"type": "fixed", "value": "1"}})
    await api.project()
    page = await owner.get("/commissions/new")
    refused = await owner.submit(page, "main form", partner="al@x.example", amount="5.00", reason="bonus")
    assert refused.status == 422
    assert "only who was approved once can be owed anything" in refused.words
