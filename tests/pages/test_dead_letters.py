"""Dead letters and intake as pages: what was refused and why, resolved one by one or together; every count adds up."""

import asyncio

from tests.support import visitors

HOSTILE = "<script>alert('x')</script>\u202e"


async def refused(api, *changes, of="acme"):
    """Send an order with each of these changes, all of which are refused, and return the letters' ids in order."""
    answer = await api.post("/orders", [api.order(**change) for change in changes], of=of)
    assert {each["outcome"] for each in answer.json["results"]} == {"dead_lettered"}
    letters = (await api.get("/dead-letters", of=of)).json["data"]
    return [each["id"] for each in reversed(letters)][-len(changes) :]


async def state(api, letter):
    """Return the status of a letter."""
    return (await api.get(f"/dead-letters/{letter}")).json["status"]


async def test_the_list_counts_and_filters(api, owner):
    """The open letters stand first; tabs count them by status and by reason, and lead to what they count."""
    first, second, _ = await refused(api, {"total": "1.234"}, {"total": "2.345"}, {"currency": "XXX"})
    await api.post(f"/dead-letters/{first}/discard", {"reason": "a test"})
    page = await owner.get("/dead-letters")
    assert page.said("nav[aria-label=Status] a") == ["Open 2", "Taken in 0", "Put away 1", "All 3"]
    assert page.said("nav[aria-label=Reason] a") == ["Every reason", "too_many_decimals 1", "unknown_currency 1"]
    link = page.soup.select("nav[aria-label=Reason] a")[1]
    page = await owner.get(str(link["href"]))
    assert [each["value"] for each in page.soup.select("input[name=ids]")] == [second]
    counted = (await api.get("/dead-letters/counts")).json["data"]
    assert sorted((each["status"], each["code"], each["count"]) for each in counted) == [
        ("discarded", "too_many_decimals", 1), ("open", "too_many_decimals", 1), ("open", "unknown_currency", 1)
    ]  # fmt: skip
    file = await owner.get(str(page.one(".files a[href*=csv]")["href"]))
    assert len(file.text.splitlines()) == 2
    assert "Put away 1" in (await owner.get("/dead-letters?status=discarded")).said("[aria-current=true]")[0]
    wrong = await owner.get("/dead-letters?status=zzz")
    assert (wrong.status, len(wrong.soup.select("[role=alert]"))) == (422, 1)


async def test_a_letter_shows_its_message_and_what_is_wrong(api, owner):
    """The field at fault is marked; nothing in the message acts on the page, and what cannot be seen is named."""
    (letter,) = await refused(api, {"total": "1.234", "customer": {"id": HOSTILE}, "metadata": {"a": HOSTILE}})
    page = await owner.get(f"/dead-letters/{letter}")
    assert page.said("mark") == ['"total": "1.234",']
    assert "⟨U+202E⟩" in page.words
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text
    assert "7b 22" in page.said(".dump")[0]
    facts = page.said(".facts dd")
    assert (facts[0], facts[2], facts[3]) == ("open", "too_many_decimals", "$.total")


async def test_a_letter_is_retried_or_put_away(api, owner):
    """What is right by now is booked; what is refused again says why and stays; a reason is needed to put one away."""
    booked, stays, away = await _three(api)
    page = await owner.get(f"/dead-letters/{stays}")
    page = await owner.submit(page, "form[action$='/retry']")
    assert (page.status, page.said("[role=alert]")[0] != "") == (422, True)
    assert await state(api, stays) == "open"
    page = await owner.submit(await owner.get(f"/dead-letters/{booked}"), "form[action$='/retry']")
    assert page.said("[role=status]") == ["Taken in: the message is booked."]
    assert await state(api, booked) == "retried"
    assert page.soup.select("form[action$='/retry']") == []
    page = await owner.get(f"/dead-letters/{away}")
    page = await owner.submit(page, "form[action$='/discard']", reason=" ")
    assert (page.status, len(page.soup.select("details[open] .fault"))) == (422, 1)
    page = await owner.submit(page, "form[action$='/discard']", reason=HOSTILE.rstrip("\u202e"))
    assert await state(api, away) == "discarded"
    assert "<script>alert" not in page.text
    assert "Owner" in page.said(".facts dd")[-1]


async def _three(api):
    """Return a letter that is right by now, and two that never will be."""
    refund = api.refund("late", "5.00") | {"currency": "EUR"}
    await api.partner()
    await api.post("/orders", api.order(order_id="late"))
    answer = await api.post("/orders", [refund])
    assert answer.json["results"][0]["outcome"] == "dead_lettered", answer.text
    (first,) = [each["id"] for each in (await api.get("/dead-letters")).json["data"]]
    await asyncio.to_thread(_mend, api, first)
    return first, *await refused(api, {"total": "1.234"}, {"total": "2.345"})


def _mend(api, letter):
    """Make a message right, as a later version of the service may find it."""
    with api.ledger.connection() as conn:
        conn.execute(
            "UPDATE ledger.dead_letters SET raw = convert_to(replace(convert_from(raw, 'UTF8'), 'EUR', 'USD'), 'UTF8')"
            " WHERE dead_letter_id = %s",
            (letter,),
        )


async def test_many_are_resolved_together(api, owner):
    """Those that were ticked are retried or put away; the page says of each that stays why, and nothing twice."""
    booked, first, second = await _three(api)
    page = await owner.get("/dead-letters")
    none = await owner.post("/dead-letters", visitors.fields_of(page.one("#bulk")) | {"action": "retry"})
    assert (none.status, "Tick at least one" in none.words) == (422, True)
    fields = visitors.fields_of(page.one("#bulk")) | {"ids": [booked, first], "action": "retry"}
    done = await owner.post("/dead-letters", fields)
    assert (done.status, len(done.said("[role=status] li"))) == (200, 2)
    assert "earned" in done.words or "adjusted" in done.words
    assert [await state(api, each) for each in (booked, first)] == ["retried", "open"]
    again = await owner.post("/dead-letters", fields)
    assert again.said("[role=status] li") == done.said("[role=status] li")
    page = await owner.get("/dead-letters")
    fields = visitors.fields_of(page.one("#bulk")) | {"ids": [first, second], "action": "discard"}
    mute = await owner.post("/dead-letters", fields | {"reason": ""})
    assert (mute.status, len(mute.soup.select("input[name=ids][checked]"))) == (422, 2)
    done = await owner.post("/dead-letters", fields | {"reason": "tests"})
    assert done.said("[role=status]") == ["Put away. They stay on record."]
    assert "Nothing waits here" in done.words


async def test_only_administrators_resolve(api):
    """Whoever may only read sees the letters and no buttons, and is refused what the forms would do."""
    await api.partner()
    (letter,) = await refused(api, {"total": "1.234"})
    viewer = await visitors.user(api, role="viewer")
    page = await viewer.get("/dead-letters")
    assert page.soup.select("input[name=ids], .bulk") == []
    one = await viewer.get(f"/dead-letters/{letter}")
    assert one.soup.select("main form") == []
    csrf = str(page.one("form[action='/logout'] input[name=csrf]")["value"])
    for path in (f"/{letter}/retry", f"/{letter}/discard", ""):
        sent = {"csrf": csrf, "reason": "x", "action": "discard", "ids": letter}
        assert (await viewer.post("/dead-letters" + path, sent)).status == 403, path
    assert await state(api, letter) == "open"


async def test_another_s_letters_are_not_there(api, owner):
    """A letter of another merchant's is answered like one that nobody has, alone and among others."""
    (letter,) = await refused(api, {"total": "1.234"}, of="zenith")
    pages = [await owner.get(f"/dead-letters/{each}") for each in (letter, "dl_nobody")]
    assert [page.status for page in pages] == [404, 404]
    csrf = str((await owner.get("/settings")).one("form[action='/logout'] input[name=csrf]")["value"])
    sent = {"csrf": csrf, "action": "discard", "reason": "x", "ids": [letter]}
    page = await owner.post("/dead-letters", sent)
    assert "there is no dead letter" in page.words
    assert (await api.get(f"/dead-letters/{letter}", of="zenith")).json["status"] == "open"
    assert "Nothing waits here" in (await owner.get("/dead-letters")).words


# --- intake -----------------------------------------------------------------------------------------------------------


async def test_intake_accounts_for_every_message(api, owner):
    """Per partition, what was consumed is the sum of what became of it, as the API says; another's are not there."""
    assert "Nothing has arrived yet" in (await owner.get("/intake")).words
    await api.partner()
    same = api.order()
    await api.post("/orders", [same, same, api.order(coupon_code=None), api.order(total="1.234")])
    await api.post("/orders", api.order(coupon_code=None, total="5.00", occurred_at="2026-11-20T10:00:00Z"))
    await api.post("/orders", api.order(), of="zenith")
    page = await owner.get("/intake")
    (row,) = page.said("#partitions tbody tr")
    assert row.split()[:10] == ["acme", "0", "4", "5", "1", "0", "0", "2", "1", "1"]
    assert "✓ 5 adds up" in row
    assert "does not add up" not in page.words
    assert "zenith" not in page.words
    (told,) = (await api.get("/intake")).json["data"]
    assert told["consumed"] == sum(told["outcomes"].values()) == 5
    ignored = (await api.get("/intake/ignored?limit=1")).json
    assert ignored["data"] == [
        {"day": "2026-11-22", "currency": "USD", "orders": 1, "total": {"amount": "100.00", "currency": "USD"}}
    ]
    rest = (await api.get(f"/intake/ignored?limit=1&cursor={ignored['next_cursor']}")).json
    assert [(each["day"], each["total"]["amount"]) for each in rest["data"]] == [("2026-11-20", "5.00")]
    assert rest["next_cursor"] is None
    assert page.said("[aria-labelledby=ignored-title] > table tbody tr") == [
        "Nov 22, 2026 1 $100.00", "Nov 20, 2026 1 $5.00"
    ]  # fmt: skip
