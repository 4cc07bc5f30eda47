"""Lists of partners and customers over HTTP: in which order, narrowed by what, and what happened to each partner."""

from datetime import timedelta
from itertools import product

from tests.support.api import NOW
from tests.support.read_models import execute

JOE = {"name": "Joe", "email": "joe@example.com", "coupon_code": "JOE"}
FIVE = {"type": "fixed", "value": "5"}


async def every(api, path, **query):
    """Return the rows of all pages of a list, two at a time."""
    rows, cursor = [], None
    while True:
        asked = query | {"limit": 2} | ({"cursor": cursor} if cursor else {})
        answer = await api.get(path, params=asked)
        assert answer.status == 200, answer.text
        rows += answer.json["data"]
        cursor = answer.json["next_cursor"]
        if cursor is None:
            return rows


# --- partners ---------------------------------------------------------------------------------------------------------


async def test_partners_are_listed_in_each_order_page_by_page(api):
    """By registration, either way, and by name: without case, equal names apart, those without a name last."""
    for number, name in enumerate(("beta", "Alpha", "alpha", "Gamma", "Zoë", "delta")):
        await api.partner(name=name, email=f"p{number}@example.com", coupon_code=f"P{number}")
    execute(api.database_url, "UPDATE people.partners SET name = NULL WHERE name = 'Gamma'")
    await api.project()
    names = [row["name"] for row in await every(api, "/partners", sort="name")]
    assert [name and name.casefold() for name in names] == ["alpha", "alpha", "beta", "delta", "zoë", None]
    assert sorted(names[:2]) == ["Alpha", "alpha"]
    registered = ["beta", "Alpha", "alpha", None, "Zoë", "delta"]
    assert [row["name"] for row in await every(api, "/partners")] == registered
    assert [row["name"] for row in await every(api, "/partners", sort="newest")] == registered[::-1]


async def test_a_cursor_belongs_to_its_order_and_names_nobody(api):
    """A cursor of another order is refused, and no cursor holds a name."""
    for number in range(3):
        await api.partner(name=f"Secret{number}", email=f"p{number}@example.com", coupon_code=f"P{number}")
    await api.project()
    cursors = {
        sort: (await api.get("/partners", params={"sort": sort, "limit": 1})).json["next_cursor"]
        for sort in ("name", "newest", "registered")
    }
    assert (await api.get("/partners", params={"sort": "name", "cursor": cursors["newest"]})).code == "bad_cursor"
    assert (await api.get("/partners", params={"cursor": cursors["name"]})).code == "bad_cursor"
    assert "U2VjcmV0" not in cursors["name"]


async def test_partners_and_balances_are_asked_for_by_their_ids(api):
    """Several ids at once give those there are, of this merchant, in the order of the list; too many are refused."""
    jane, joe, theirs = await api.partner(), await api.partner(**JOE), await api.partner(of="zenith")
    await api.post("/orders", [api.order(), api.order(coupon_code="JOE"), api.order(currency="JPY", total="500")])
    await api.project()
    ids = f"{joe['id']},{theirs['id']},,nobody,{jane['id']}"
    assert [row["name"] for row in await every(api, "/partners", ids=ids)] == ["Jane", "Joe"]
    assert [row["name"] for row in await every(api, "/partners", ids=joe["id"])] == ["Joe"]
    whole = await every(api, "/balances")
    assert len(whole) == 3
    for told in ([joe], [jane], [joe, jane]):
        wanted = [partner["id"] for partner in told]
        found = await every(api, "/balances", partner_ids=",".join([*wanted, theirs["id"]]))
        assert found == [row for row in whole if row["partner_id"] in wanted]
    for path, name in (("/partners", "ids"), ("/balances", "partner_ids")):
        refused = await api.get(path, params={name: ",".join(["x"] * 201)})
        assert (refused.status, refused.json["errors"][0]["path"]) == (422, f"query.{name}")


async def test_partners_are_counted_by_their_standing(api):
    """Every standing has its count, also zero, and all of them are the list."""
    jane = await api.partner()
    await api.partner(**JOE, status="applied")
    await api.partner(name="Kim", email="kim@example.com", coupon_code=None)
    await api.post(f"/partners/{jane['id']}/pause", {"reason": "holidays"})
    await api.project()
    assert (await api.get("/partners/standings")).json == {
        "invited": 0, "applied": 1, "approved": 1, "rejected": 0, "paused": 1, "banned": 0, "all": 3
    }  # fmt: skip
    assert (await api.get("/partners/standings", of="zenith")).json["all"] == 0


async def test_a_partner_says_what_may_be_done_with_it(api):
    """Exactly the moves that are named are possible, in each standing."""
    jane = await api.partner(status="applied")
    moves = {
        "approve": {},
        "reject": {"reason": "r"},
        "pause": {"reason": "r"},
        "reinstate": {},
        "ban": {"reason": "r"},
    }
    way = ("reject", "approve", "pause", "reinstate", "ban", "reinstate")
    for step in way:
        await api.project()
        legal = (await api.get(f"/partners/{jane['id']}")).json["moves"]
        for move in moves.keys() - set(legal):
            answer = await api.post(f"/partners/{jane['id']}/{move}", moves[move])
            assert (answer.status, answer.json["legal"]) == (409, sorted(legal)), move
        done = await api.post(f"/partners/{jane['id']}/{step}", moves[step])
        assert done.status == 200, (step, legal)


async def test_the_rates_of_a_partner_are_told_with_their_times(api):
    """The latest first, each until the next begins, also one that is to come, and one that another replaced at once."""
    jane = await api.partner()
    path, at = f"/partners/{jane['id']}", NOW + timedelta(days=9)
    for value, rate_from in (("12", at), ("13", at), ("11", NOW + timedelta(days=3))):
        rate = {"type": "percentage", "value": value}
        await api.ask("PATCH", path, {"rate": rate, "rate_from": rate_from.isoformat()})
    await api.ask("PATCH", path, {"rate": FIVE})
    await api.project()
    told = await every(api, f"{path}/rates")
    days = [(row["rate"]["value"], row["from"][:10], row["until"] and row["until"][:10]) for row in told]
    assert days == [
        ("13", "2026-12-01", None), ("12", "2026-12-01", "2026-12-01"), ("11", "2026-11-25", "2026-12-01"),
        ("5.00", "2026-11-22", "2026-11-25"), ("10", "2026-11-22", "2026-11-22"),
    ]  # fmt: skip
    for instant, rate in ((NOW, "5.00"), (NOW + timedelta(days=4), "11"), (at, "13")):
        api.now = instant
        assert (await api.get(path)).json["rate"]["value"] == rate
    for cursor in ("WyJ4IiwxXQ", "WyIyMDI2LTAxLTAxIiwxXQ"):
        assert (await api.get(f"{path}/rates", params={"cursor": cursor})).code == "bad_cursor"


async def test_the_history_of_a_partner_says_what_why_and_who(api):
    """Every event of the partner's, oldest first, with its reason and the key that acted; no name and no address."""
    jane = await api.partner()
    path = f"/partners/{jane['id']}"
    await api.post(f"{path}/pause", {"reason": "holidays"})
    await api.ask("PATCH", path, {"name": "Jane Doe", "email": "doe@example.com", "tags": ["VIP"], "rate": FIVE})
    await api.project()
    told = (await api.get(f"{path}/history")).json["data"]
    assert [(row["type"], row["summary"], row["status"], row["reason"]) for row in told] == [
        ("PartnerRegistered", "Registered, with a rate of 10 %.", "approved", None),
        ("PartnerPaused", "Paused: holidays", "paused", "holidays"),
        ("PartnerDetailsChanged", "The name and the e-mail address and the tags changed.", None, None),
        ("RateChanged", "The rate became 5.00 USD an order.", None, None),
    ]
    assert {row["by"]["kind"] for row in told} == {"key"}
    assert (await api.get(f"{path}/history", of="zenith")).status == 404
    # What is recorded and not yet in the read models is not told.
    await api.post(f"{path}/reinstate")
    assert len((await api.get(f"{path}/history")).json["data"]) == 4


async def test_a_code_that_is_taken_is_refused_at_its_field(api):
    """The refusal names the member of the body that was sent."""
    jane = await api.partner()
    await api.partner(**JOE)
    taken = await api.post(f"/partners/{jane['id']}/coupons", {"code": "joe"})
    assert (taken.status, taken.json["errors"][0]["path"]) == (409, "$.code")


# --- customers --------------------------------------------------------------------------------------------------------


async def test_customers_are_found_as_a_look_at_all_of_them_finds_them(api):
    """The beginning of an id or the whole address, of all or of one partner's: as filtering the whole list."""
    jane, joe = await api.partner(), await api.partner(**JOE)
    ids = ("a", "ab", "abc", "AB", "b%", "b_", "kim@example.com", "kim@example.com.au", "é", "z")
    orders = [
        api.order(
            coupon_code=("JANE10", "JOE")[number % 2],
            customer={"id": each, "email": ("Kim@example.com", f"c{number}@example.com")[number % 3 > 0]},
        )
        for number, each in enumerate(ids)
    ]
    await api.post("/orders", orders)
    for each in ("ab", "z"):
        await api.post(f"/customers/{each}/reassign", {"partner_id": jane["id"], "reason": "r"})
        await api.project()
    await api.post("/orders", api.order(customer={"id": "ab-theirs", "email": "kim@example.com"}), of="zenith")
    await api.project()
    whole = await every(api, "/customers")
    assert len(whole) == len(ids)
    for search, whose in product(
        ("a", "ab", "A", "b%", "b_", "%", "kim", "kim@example.com", "KIM@EXAMPLE.COM", "é", "nobody", "c1@example.com"),
        (None, jane["id"], joe["id"]),
    ):
        expected = [
            row["id"]
            for row in whole
            if (row["id"].startswith(search) or row["email"].lower() == search.lower())
            and whose in (None, row["assigned_partner_id"] or row["partner_id"])
        ]
        query = {"search": search} | ({"partner_id": whose} if whose else {})
        found = [row["id"] for row in await every(api, "/customers", **query)]
        assert found == expected, query
