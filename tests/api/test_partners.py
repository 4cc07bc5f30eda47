"""Partners, their codes, tags and notes, and the program's terms, over real HTTP and a real PostgreSQL."""

from datetime import timedelta

import pytest

from projections.rebuild import rebuild
from projections.verify import verify
from tests.support.api import JANE, NOW
from tests.support.read_models import dump, execute

TEN = {"type": "percentage", "value": "10"}
JOE = {"name": "Joe", "email": "joe@example.com", "coupon_code": "JOE"}


async def commissions(api):
    """Return what each order stands at, by id."""
    position = await api.project()
    answer = await api.get(f"/commissions?min_position={position}")
    return {row["order_id"]: row["commission"]["amount"] for row in answer.json["data"]}


# --- standings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "standing"), [("apply", "applied"), ("invite", "invited")])
async def test_who_applied_or_was_invited_earns_once_approved(api, call, standing):
    """An application and an invitation earn nothing; approving (accepting) makes an approved partner of both."""
    answer = await api.post(f"/partners/{call}", JANE)
    assert (answer.status, answer.json["status"]) == (201, standing)
    told = await api.post("/orders", api.order())
    assert told.json["results"][0]["outcome"] == "skipped"
    illegal = await api.post(f"/partners/{answer.json['id']}/reinstate")
    assert (illegal.status, illegal.json["state"], illegal.json["legal"]) == (
        409, standing, ["approve", "ban", "reject"],
    )  # fmt: skip
    approved = await api.post(f"/partners/{answer.json['id']}/approve")
    assert approved.json["status"] == "approved"
    later = api.order(occurred_at="2026-11-22T12:00:00Z")
    assert (await api.post("/orders", later)).json["results"][0]["outcome"] == "earned"
    again = await api.post(f"/partners/{call}", JANE | {"coupon_code": None})
    assert (again.status, again.code) == (409, "partner_exists")


# --- tags, search, notes ----------------------------------------------------------------------------------------------


async def test_tags_are_kept_as_written_and_found_without_case(api):
    """Tags come with a partner or by PATCH, in their order; the list can be narrowed by one, whatever its case."""
    jane = await api.partner(tags=["VIP", " Berlin "])
    joe = await api.partner(**JOE)
    assert jane["tags"] == ["VIP", "Berlin"]
    await api.project()
    for tag in ("vip", "BERLIN"):
        found = (await api.get(f"/partners?tag={tag}")).json["data"]
        assert [row["id"] for row in found] == [jane["id"]]
    changed = await api.ask("PATCH", f"/partners/{joe['id']}", {"tags": ["new", "berlin"]})
    assert changed.status == 200
    await api.ask("PATCH", f"/partners/{jane['id']}", {"tags": []})
    await api.project()
    assert [row["tags"] for row in (await api.get("/partners")).json["data"]] == [[], ["new", "berlin"]]
    assert [row["id"] for row in (await api.get("/partners?tag=Berlin")).json["data"]] == [joe["id"]]
    assert (await api.get("/partners?tag=Berlin", of="zenith")).json["data"] == []
    # What a merchant calls its partners may tell of people: the log only says that it changed.
    assert execute(api.database_url, "SELECT count(*) FROM ledger.events WHERE state::text ILIKE '%berlin%'") == [(0,)]


@pytest.mark.parametrize(
    ("tags", "path"),
    [
        ([str(n) for n in range(21)], "$.tags"),
        (["Vip", "vIP "], "$.tags[1]"),
        (["x" * 41], "$.tags[0]"),
        ([" "], "$.tags[0]"),
    ],
)
async def test_tags_that_cannot_be_are_refused(api, tags, path):
    """Too many, the same twice, too long or blank: 422, naming the place."""
    answer = await api.post("/partners", JANE | {"tags": tags})
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("JAN", "jane"), ("ane@exa", "jane"), ("jane1", "jane"), ("oe", "joe"), ("%", ""), ("_", "strange"),
        ("'; --", ""), ("100%25", "strange"), ("ß", "strange"),
    ],
)  # fmt: skip
async def test_partners_are_found_by_a_piece_of_text(api, text, found):
    """Name, address and code are searched as plain text without case; no character means anything else."""
    text = text.replace("%25", "%")
    jane, joe = await api.partner(), await api.partner(**JOE)
    strange = await api.partner(name="Straße_100%", email="s@x.example", coupon_code="S")
    known = {"jane": [jane["id"]], "joe": [joe["id"]], "strange": [strange["id"]], "": []}
    await api.project()
    answer = await api.get("/partners", params={"search": text})
    expected = known[found] if text != "%" else known["strange"]
    assert [row["id"] for row in answer.json["data"]] == expected
    by_id = await api.get("/partners", params={"search": jane["id"][:10]})
    assert [row["id"] for row in by_id.json["data"]] == [jane["id"]]
    assert (await api.get("/partners", params={"search": text}, of="zenith")).json["data"] == []


async def test_notes_are_for_the_merchant_alone(api):
    """A note says who wrote it and when; it is listed newest first, blotted out for good, and never another's."""
    address = f"/partners/{(await api.partner())['id']}/notes"
    await api.project()
    first = await api.post(address, {"note": "met in Berlin,\nnice"}, headers={"Idempotency-Key": "n-1"})
    assert first.status == 201, first.text
    assert (first.json["note"], first.json["at"]) == ("met in Berlin,\nnice", "2026-11-22T12:00:00Z")
    assert first.json["author"].startswith("api/")
    again = await api.post(address, {"note": "met in Berlin,\nnice"}, headers={"Idempotency-Key": "n-1"})
    assert (again.json, again.headers["Idempotency-Replayed"]) == (first.json, "true")
    second = await api.post(address, {"note": "likes cats"})
    listed = (await api.get(f"{address}?limit=1")).json
    assert [row["id"] for row in listed["data"]] == [second.json["id"]]
    rest = (await api.get(f"{address}?limit=1&cursor={listed['next_cursor']}")).json["data"]
    assert rest == [first.json]
    for method, path in (("GET", address), ("DELETE", f"{address}/{first.json['id']}")):
        assert (await api.ask(method, path, of="zenith")).status == 404
    assert (await api.post(address, {"note": "x"}, of="zenith")).status == 404
    assert (await api.ask("DELETE", f"{address}/{first.json['id']}")).status == 204
    assert (await api.ask("DELETE", f"{address}/{first.json['id']}")).status == 404
    assert [row["note"] for row in (await api.get(address)).json["data"]] == ["likes cats"]
    assert execute(api.database_url, "SELECT count(*) FROM ledger.events WHERE state::text ~ 'cats|Berlin'") == [(0,)]


# --- codes with rates of their own ------------------------------------------------------------------------------------


async def test_a_code_has_a_rate_of_its_own(api):
    """Orders with the code earn the code's rate, those with another code the partner's; the list says which."""
    partner = await api.partner()
    address = f"/partners/{partner['id']}/coupons"
    new = await api.post(address, {"code": "jane20", "rate": {"type": "percentage", "value": "20"}})
    assert new.status == 201, new.text
    assert new.json == {
        "code": "JANE20", "rate": {"type": "percentage", "value": "20"}, "from": "2026-11-22T12:00:00Z",
        "revoked_at": None,
    }  # fmt: skip
    await api.post("/orders", [api.order(coupon_code="JANE20"), api.order()])
    assert await commissions(api) == {"o-1": "20.00", "o-2": "10.00"}
    listed = (await api.get(address)).json["data"]
    assert [(row["code"], row["rate"] and row["rate"]["value"]) for row in listed] == [
        ("JANE10", None), ("JANE20", "20"),
    ]  # fmt: skip
    assert verify(api.database_url).differences == []


async def test_a_codes_rate_changes_from_a_day_on(api):
    """PATCH puts another rate (null: the partner's) in force from then on, never behind orders on the books."""
    partner = await api.partner()
    address = f"/partners/{partner['id']}/coupons/jane10"
    thirty = {"type": "percentage", "value": "30"}
    changed = await api.ask("PATCH", address, {"rate": thirty, "rate_from": "2026-11-25T00:00:00Z"})
    assert (changed.status, changed.json["rate"]) == (200, thirty)
    back = await api.ask("PATCH", address, {"rate": None, "rate_from": "2026-11-27T00:00:00Z"})
    assert (back.status, back.json["rate"]) == (200, None)
    days = ("2026-11-24T23:59:59Z", "2026-11-25T00:00:00Z", "2026-11-27T00:00:00Z")
    await api.post("/orders", [api.order(occurred_at=at) for at in days])
    assert await commissions(api) == {"o-1": "10.00", "o-2": "30.00", "o-3": "10.00"}
    for at, shown in ((NOW, None), (NOW + timedelta(days=3), thirty), (NOW + timedelta(days=6), None)):
        api.now = at
        listed = (await api.get(f"/partners/{partner['id']}/coupons")).json["data"]
        assert [row["rate"] for row in listed] == [shown]
    refused = await api.ask("PATCH", address, {"rate": TEN, "rate_from": "2026-11-26T00:00:00Z"})
    assert (refused.status, refused.code) == (422, "rate_in_the_past")
    assert "2026-11-27T00:00:00" in refused.json["detail"]
    assert refused.json["errors"][0]["path"] == "$.rate_from"
    assert (await api.ask("PATCH", address, {"rate": TEN}, of="zenith")).status == 404
    assert verify(api.database_url).differences == []


async def test_a_code_is_given_from_a_day_on(api):
    """With `from`, orders placed before are nobody's; and a code that was another's is given from then on at most."""
    jane, joe = await api.partner(), await api.partner(**JOE)
    new = await api.post(f"/partners/{jane['id']}/coupons", {"code": "XMAS", "from": "2026-12-01T00:00:00Z"})
    assert new.json["from"] == "2026-12-01T00:00:00Z"
    taken = await api.post(f"/partners/{joe['id']}/coupons", {"code": "xmas"})
    assert (taken.status, taken.code, taken.json["errors"][0]["path"]) == (409, "coupon_taken", "$.code")
    days = ("2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z")
    told = await api.post("/orders", [api.order(coupon_code="xmas", occurred_at=at) for at in days])
    assert [row["outcome"] for row in told.json["results"]] == ["ignored", "earned"]
    assert (await api.ask("DELETE", f"/partners/{jane['id']}/coupons/xmas")).status == 204
    told = await api.post("/orders", api.order(coupon_code="xmas", occurred_at="2026-12-02T00:00:00Z"))
    assert told.json["results"][0]["outcome"] == "ignored"
    early = {"code": "xmas", "from": "2026-11-01T00:00:00Z"}
    refused = await api.post(f"/partners/{joe['id']}/coupons", early)
    assert (refused.status, refused.code, refused.json["errors"][0]["path"]) == (409, "coupon_held_then", "$.from")
    given = await api.post(f"/partners/{joe['id']}/coupons", {"code": "xmas", "from": "2026-12-03T00:00:00Z"})
    assert given.status == 201
    told = await api.post("/orders", api.order(coupon_code="xmas", occurred_at="2026-12-03T00:00:00Z"))
    assert told.json["results"][0]["outcome"] == "earned"
    await api.project()
    assert verify(api.database_url).differences == []


async def test_another_merchants_codes_do_not_exist(api):
    """Listing, giving and changing codes of another merchant's partner is 404, exactly as for nobody."""
    partner = await api.partner()
    await api.project()
    for partner_id in (partner["id"], "nobody"):
        address = f"/partners/{partner_id}/coupons"
        assert (await api.get(address, of="zenith")).status == 404
        assert (await api.post(address, {"code": "Z"}, of="zenith")).status == 404
        assert (await api.ask("PATCH", f"{address}/JANE10", {"rate": None}, of="zenith")).status == 404


# --- terms ------------------------------------------------------------------------------------------------------------


async def test_limits_and_the_minimum_payout_are_terms(api):
    """PATCH sets them; a limit that is null is taken away, one that is left out stays, and so does all else."""
    told = {
        "max_orders_per_customer": 3,
        "max_months_per_customer": 12,
        "minimum_payout": {"USD": "50.00", "JPY": "5000"},
    }
    changed = await api.ask("PATCH", "/program", told)
    assert changed.status == 200, changed.text
    assert {name: changed.json["terms"][name] for name in told} == told
    later = await api.ask("PATCH", "/program", {"max_orders_per_customer": None, "hold_days": None})
    terms = later.json["terms"]
    assert (terms["version"], terms["max_orders_per_customer"], terms["max_months_per_customer"]) == (3, None, 12)
    await api.project()
    assert (await api.get("/program")).json["terms"] == terms
    gone = await api.ask("PATCH", "/program", {"minimum_payout": {}, "max_months_per_customer": None})
    assert (gone.json["terms"]["minimum_payout"], gone.json["terms"]["max_months_per_customer"]) == ({}, None)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"max_orders_per_customer": 0}, "$.max_orders_per_customer"),
        ({"max_months_per_customer": 1.5}, "$.max_months_per_customer"),
        ({"minimum_payout": {"USD": "1.234"}}, "$.minimum_payout.USD"),
        ({"minimum_payout": {"USD": "-1"}}, "$.minimum_payout.USD"),
        ({"minimum_payout": {"ZZZ": "1"}}, "$.minimum_payout.ZZZ"),
        ({"minimum_payout": {"usd": "1"}}, "$.minimum_payout.usd"),
    ],
)
async def test_limits_that_cannot_be_are_refused(api, change, path):
    """422, naming the member at fault."""
    answer = await api.ask("PATCH", "/program", change)
    assert answer.status == 422
    assert answer.json["errors"][0]["path"].startswith(path)


async def test_every_version_of_the_terms_is_listed(api):
    """The versions, newest first, say since when they hold and who decided them; another merchant sees its own."""
    await api.ask("PATCH", "/program", {"hold_days": 7, "approval": "after_days"})
    api.now += timedelta(days=1)
    await api.ask("PATCH", "/program", {"hold_days": 14})
    await api.project()
    first = (await api.get("/program/versions?limit=2")).json
    assert [(row["terms"]["version"], row["terms"]["hold_days"], row["from"]) for row in first["data"]] == [
        (3, 14, "2026-11-23T12:00:00Z"), (2, 7, "2026-11-22T12:00:00Z"),
    ]  # fmt: skip
    assert first["data"][0]["cause"].startswith("api/")
    last = (await api.get(f"/program/versions?limit=2&cursor={first['next_cursor']}")).json
    assert ([row["terms"]["version"] for row in last["data"]], last["next_cursor"]) == ([1], None)
    assert len((await api.get("/program/versions", of="zenith")).json["data"]) == 1


async def test_new_terms_change_no_past_commission(api):
    """After a change of every term each figure is as before, also after a rebuild, and verify agrees."""
    await api.partner()
    customer = {"id": "c-1"}
    await api.post("/orders", [api.order(tax="19.00", customer=customer), api.order(customer=customer)])
    await api.post("/orders", api.refund("o-1", "40.00"))
    await api.project()
    before = dump(api.database_url)
    changed = await api.ask("PATCH", "/program", {
        "approval": "immediate", "hold_days": 1, "base": "net_of_tax", "fixed_on_partial_refund": "pro_rata",
        "self_referral": "allow", "minimum_payout": {"USD": "1.00"}, "max_orders_per_customer": 1,
        "max_months_per_customer": 1,
    })  # fmt: skip
    assert changed.status == 200
    api.now += timedelta(days=1)
    await api.project()
    rebuild(api.database_url)
    after = dump(api.database_url)
    untouched = set(before) - {"programs", "program_versions", "position"}
    assert {table: after[table] for table in untouched} == {table: before[table] for table in untouched}
    assert verify(api.database_url).differences == []
    # What was decided under the first version goes on under it.
    told = await api.post("/orders", api.refund("o-1", "60.00", refund_id="r-2", event_id="r-2"))
    assert told.json["results"][0]["commission"]["amount"] == "0.00"


async def test_each_time_that_a_code_was_given_has_its_own_rates(api):
    """A code that was taken away and given again is listed twice, each time with the rate that it had then."""
    partner = await api.partner(coupon_code=None)
    address = f"/partners/{partner['id']}/coupons"
    for value in ("20", "30"):
        given = await api.post(address, {"code": "AGAIN", "rate": {"type": "percentage", "value": value}})
        assert given.status == 201
        api.now += timedelta(days=1)
        assert (await api.ask("DELETE", f"{address}/again")).status == 204
    await api.post(address, {"code": "again"})
    await api.project()
    listed = (await api.get(address)).json["data"]
    assert [row["rate"] and row["rate"]["value"] for row in listed] == ["20", "30", None]
    assert [row["revoked_at"] is None for row in listed] == [False, False, True]
