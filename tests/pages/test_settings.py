"""Settings: terms, users, keys and webhooks as pages: what a form does is what a call does, secrets are shown once."""

import asyncio

import psycopg

from tests.support import visitors
from tests.support.api import NOW
from web.pages.settings_exports import exports

HOSTILE = "<script>alert('x')</script>\"&"
PAGES = ("", "/users", "/keys", "/webhooks", "/webhooks/new", "/payouts", "/imports", "/exports", "/access-log")
URL = "https://shop.example.com/hook"
# What is typed, and the field at which it is refused.
BAD_TERMS = [
    ({"hold_days": "1000"}, "hold_days"),
    ({"hold_days": "two weeks"}, "hold_days"),
    ({"minimum_payout__USD": "12.345"}, "minimum_payout.USD"),
    ({"minimum_payout__USD": HOSTILE}, "minimum_payout.USD"),
    ({"minimum_new_currency": "EUR", "minimum_new_amount": "1,50"}, "minimum_new_amount"),
    ({"minimum_new_currency": "QQQ", "minimum_new_amount": "1.50"}, "minimum_new_currency"),
    ({"minimum_new_currency": HOSTILE, "minimum_new_amount": "1"}, "minimum_new_currency"),
    ({"max_orders_per_customer": "0"}, "max_orders_per_customer"),
]


def secret(page):
    """Return the secret that the page shows, None where it shows none."""
    found = page.soup.select(".secret input")
    return str(found[0]["value"]) if found else None


async def test_only_administrators_see_what_opens_the_books(api):
    """Whoever is no owner sees terms, exports and payout methods, no forms that change them, and no other settings."""
    for role in ("finance", "manager", "viewer"):
        visitor = await visitors.user(api, role=role)
        statuses = {page: (await visitor.get("/settings" + page)).status for page in PAGES}
        assert {page for page, status in statuses.items() if status == 200} == {"", "/payouts", "/exports"}
        assert {status for status in statuses.values() if status != 200} == {403}
        page = await visitor.get("/settings")
        assert page.soup.select("main form") == []
        assert page.said(".tabs a") == ["Program", "Payout methods", "Export"]
        exported = await visitor.get("/settings/exports")
        assert exported.soup.select("a[href*=users], a[href*=keys], a[href*=access-log]") == []
        csrf = str(page.one("form[action='/logout'] input[name=csrf]")["value"])
        for path in ("", "/users", "/keys", "/webhooks/new"):
            answer = await visitor.post(f"/settings{path}", {"csrf": csrf, "name": "x", "scopes": "read"})
            assert answer.status == 403, path


# --- terms ------------------------------------------------------------------------------------------------------------


async def test_terms_are_changed_from_now_on(api, owner):
    """The form says all of the terms, and the new version says who changed what."""
    page = await owner.get("/settings")
    done = await owner.submit(
        page, "main form", approval="after_days", hold_days="14", base="net_of_tax", self_referral="allow",
        fixed_on_partial_refund="pro_rata", minimum_payout__USD="50.00", minimum_new_currency="eur",
        minimum_new_amount="40", max_orders_per_customer="3", max_months_per_customer="12",
    )  # fmt: skip
    assert (done.status, done.said("[role=status]")) == (200, ["Saved. The terms hold for orders from now on."])
    terms = (await api.get("/program")).json["terms"]
    assert terms == {
        "version": 2, "approval": "after_days", "hold_days": 14, "base": "net_of_tax", "self_referral": "allow",
        "fixed_on_partial_refund": "pro_rata", "minimum_payout": {"EUR": "40.00", "USD": "50.00"},
        "max_orders_per_customer": 3, "max_months_per_customer": 12, "payout_approval": "none",
        "payout_schedule": None, "payout_letters": ["sent", "failed", "returned"],
    }  # fmt: skip
    latest = done.said("#versions .story > li")[0]
    assert "Version 2" in latest
    assert "Owner" in latest
    assert "Minimum payout: none → now €40.00, $50.00" in latest
    assert "Orders per customer: no limit → now 3" in latest


async def test_limits_that_are_emptied_are_taken_away(api, owner):
    """An empty limit is no limit, and without an amount there is no minimum; what stays the same makes no version."""
    await api.ask("PATCH", "/program", {"max_orders_per_customer": 3, "minimum_payout": {"USD": "5.00", "JPY": "900"}})
    await api.project()
    page = await owner.get("/settings")
    assert page.one("#field-max_orders_per_customer")["value"] == "3"
    page = await owner.submit(page, "main form", max_orders_per_customer="", minimum_payout__JPY="")
    terms = (await api.get("/program")).json["terms"]
    assert (terms["max_orders_per_customer"], terms["minimum_payout"]) == (None, {"USD": "5.00"})
    await owner.submit(page, "main form")
    assert (await api.get("/program")).json["terms"]["version"] == terms["version"] == 3


async def test_terms_that_cannot_be_are_refused_at_their_field(api, owner):
    """A refused form comes back with what was typed and the message beside it; the terms stay."""
    page = await owner.get("/settings")
    for filled, field in BAD_TERMS:
        refused = await owner.submit(page, "main form", self_referral="allow", **filled)
        assert refused.status == 422, filled
        assert [each["id"] for each in refused.soup.select(".fault")] == [f"fault-{field}"], filled
        for name, value in filled.items():
            assert refused.one(f"[name='{name.replace('__', '.')}']")["value"] == value
        assert refused.one("select[name=self_referral] option[selected]")["value"] == "allow"
        assert "<script>alert" not in refused.text
    assert (await api.get("/program")).json["terms"]["version"] == 1


async def test_how_payouts_are_made_is_changed_with_the_terms(api, owner):
    """Approval, days and e-mails of payouts are terms as well; the next day stands in words."""
    page = await owner.get("/settings")
    assert "No run is made by itself." in page.words
    done = await owner.submit(
        page, "main form", payout_approval="second_person", payout_letters=["failed", "returned"],
        payout_schedule__every="month", payout_schedule__month__day="5", payout_schedule__once__on="2027-01-01",
    )  # fmt: skip
    assert done.status == 200
    terms = (await api.get("/program")).json
    assert terms["next_payout_on"] == "2026-12-05"
    assert (terms["terms"]["payout_approval"], terms["terms"]["payout_letters"]) == (
        "second_person", ["failed", "returned"],
    )  # fmt: skip
    assert terms["terms"]["payout_schedule"] == {"every": "month", "day": 5}
    assert "The next payout run is made on Dec 5, 2026." in done.words
    latest = done.said("#versions .story > li")[0]
    for told in (
        "Approval of payout runs: not needed → now by a second person",
        "Days of payouts: none: by hand → now every month, on day 5",
        "E-mails to partners about payouts: sent, failed, came back → now failed, came back",
    ):
        assert told in latest
    viewer = await (await visitors.user(api, role="viewer")).get("/settings")
    assert "every month, on day 5" in viewer.words
    assert "The next payout run is made on Dec 5, 2026." in viewer.words
    for days, words in (
        ({"payout_schedule__every": "week", "payout_schedule__week__weekday": "friday"}, "on Nov 27, 2026."),
        ({"payout_schedule__every": "once", "payout_schedule__once__on": "2027-01-31"}, "on Jan 31, 2027."),
        ({"payout_schedule__every": "", "payout_letters": None}, "No run is made by itself."),
    ):
        done = await owner.submit(done, "main form", **days)
        assert words in done.words, done.words
    terms = (await api.get("/program")).json["terms"]
    assert (terms["payout_schedule"], terms["payout_letters"]) == (None, [])


async def test_days_of_payouts_that_there_are_not_are_refused(api, owner):
    """What is wrong with the days stands at the field of the choice, and what was typed stands there again."""
    page = await owner.get("/settings")
    for every, name, typed in (
        ("month", "day", "29"), ("month", "day", "0"), ("month", "day", ""), ("month", "day", "first"),
        ("week", "weekday", ""), ("once", "on", ""), ("once", "on", "2026-02-30"),
        ("once", "on", "2026-11-21"),
    ):  # fmt: skip
        filled = {"payout_schedule__every": every, f"payout_schedule__{every}__{name}": typed}
        refused = await owner.submit(page, "main form", **filled)
        field = f"payout_schedule.{every}.{name}"
        assert refused.status == 422, filled
        assert [each["id"] for each in refused.soup.select(".fault")] == [f"fault-{field}"], filled
        chosen = refused.one("select[name='payout_schedule.every'] option[selected]")
        assert chosen["value"] == every
        if every != "week":
            assert refused.one(f"[name='{field}']")["value"] == typed
    assert (await api.get("/program")).json["terms"]["version"] == 1


# --- users ------------------------------------------------------------------------------------------------------------


async def test_a_user_is_added_and_the_link_shown_once(api, owner):
    """The link that sets a password stands on the answer to the form alone; the form sent twice is done once."""
    page = await owner.get("/settings/users")
    fields = visitors.fields_of(page.one("main form"))
    fields |= {"name": HOSTILE, "email": "new@example.com", "role": "manager"}
    made = await owner.post("/settings/users", fields)
    assert made.status == 200
    link = secret(made)
    assert link is not None
    assert link.startswith("https://ledger.example/")
    assert HOSTILE in made.words
    assert "<script>alert" not in made.text
    again = await owner.post("/settings/users", fields)
    assert (again.status, secret(again)) == (200, None)
    assert "sent before" in again.one(".secret").get_text()
    users = (await api.get("/users")).json["data"]
    assert [user["email"] for user in users].count("new@example.com") == 1
    for address in ("/settings/users", f"/settings/users/{users[0]['id']}", "/settings/access-log"):
        later = await owner.get(address)
        assert link.rpartition("/")[2] not in later.text
        assert later.headers["Cache-Control"] == "no-store"


async def test_an_address_that_is_taken_is_refused_at_its_field(owner):
    """The e-mail of another user of the merchant's is told to be taken, and everything typed is still there."""
    for status in (200, 409):
        page = await owner.get("/settings/users")
        page = await owner.submit(page, "main form", name="Vera", email="vera@example.com", role="finance")
        assert page.status == status
    assert page.one("#fault-email")
    assert page.one("#field-email")["value"] == "vera@example.com"
    assert page.one("input[name=role][checked]")["value"] == "finance"


async def test_a_user_is_changed_shut_out_and_let_in(api, owner):
    """Name, role, access and a new link, each by its form; the last owner stays one."""
    made = (await api.post("/users", {"name": "Vera", "email": "vera@example.com", "role": "viewer"})).json
    address = f"/settings/users/{made['id']}"
    page = await owner.submit(await owner.get(address), f"form[action='{address}']", name="Vera B", role="finance")
    assert page.said("h2")[0] == "Vera B"
    page = await owner.submit(page, f"form[action='{address}/invite']")
    link = secret(page)
    assert link is not None
    page = await owner.submit(page, f"form[action='{address}/disable']")
    assert "disabled" in page.words
    assert secret(page) is None
    page = await owner.submit(page, f"form[action='{address}/enable']")
    user = (await api.get(f"/users/{made['id']}")).json
    assert (user["name"], user["role"], user["disabled_at"]) == ("Vera B", "finance", None)
    log = (await owner.get("/settings/access-log")).said("tbody tr td:nth-child(2)")
    assert [each.partition(" ")[0] for each in log[:5]] == [
        "user.enabled", "user.disabled", "user.invited", "user.role_changed", "user.renamed"
    ]  # fmt: skip


async def test_the_last_owner_stays(api, owner):
    """The only owner cannot be disabled or given another role; the page says so."""
    owners = [user for user in (await api.get("/users")).json["data"] if user["role"] == "owner"]
    only = next(user for user in owners if user["name"] == "Owner")
    for user in owners:
        if user != only:
            await api.post(f"/users/{user['id']}/disable")
    address = f"/settings/users/{only['id']}"
    page = await owner.submit(await owner.get(address), f"form[action='{address}/disable']")
    assert (page.status, "last owner" in page.one("[role=alert]").get_text()) == (409, True)


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_a_key_is_shown_once_and_works(api, owner):
    """The key stands on the answer to the form alone; sent again the form makes no other and shows nothing."""
    page = await owner.get("/settings/keys")
    fields = visitors.fields_of(page.one("main form[action='/settings/keys']"))
    fields |= {"name": HOSTILE, "scopes": ["read", "partners"], "expires_at": "2026-12-31"}
    made = await owner.post("/settings/keys", fields)
    token = secret(made)
    assert token is not None
    assert "<script>alert" not in made.text
    api.keys["new"] = token
    calling = (await api.get("/key", of="new")).json
    assert (calling["name"], calling["scopes"]) == (HOSTILE, ["read", "partners"])
    assert calling["expires_at"] == "2027-01-01T00:00:00Z"
    again = await owner.post("/settings/keys", fields)
    assert (again.status, secret(again)) == (200, None)
    assert len((await api.get("/keys")).json["data"]) == 2
    for address in ("/settings/keys", "/settings/access-log", "/files/keys.csv"):
        assert token.rpartition("_")[2] not in (await owner.get(address)).text


async def test_a_key_without_a_name_or_scopes_is_refused(api, owner):
    """What is missing or cannot be is told at its field, and the boxes stay as they were ticked."""
    page = await owner.get("/settings/keys")
    form = "main form[action='/settings/keys']"
    refused = await owner.submit(page, form, name="shop", scopes=None)
    assert (refused.status, len(refused.soup.select(".fault"))) == (422, 1)
    assert refused.one("#field-name")["value"] == "shop"
    assert refused.soup.select("input[name=scopes][checked]") == []
    refused = await owner.submit(page, form, name="shop", scopes=["partners"], expires_at="tomorrow")
    assert (refused.status, refused.one("#field-expires_at")["value"]) == (422, "tomorrow")
    assert [each["value"] for each in refused.soup.select("input[name=scopes][checked]")] == ["partners"]
    assert len((await api.get("/keys")).json["data"]) == 1


async def test_keys_are_rotated_and_revoked(api, owner):
    """A rotation shows the new key once and lets the old one go on for as long as was chosen; a revoked one is dead."""
    made = (await api.post("/keys", {"name": "shop", "scopes": ["read"]})).json
    page = await owner.get("/settings/keys")
    page = await owner.submit(page, f"form[action='/settings/keys/{made['id']}/rotate']", overlap_s="3600")
    api.keys |= {"new": str(secret(page)), "old": made["api_key"]}
    assert (await api.get("/key", of="new")).status == (await api.get("/key", of="old")).status == 200
    new_id = (await api.get("/key", of="new")).json["id"]
    page = await owner.submit(page, f"form[action='/settings/keys/{new_id}/revoke']")
    assert page.said("[role=status]") == ["The key is worthless from now on."]
    assert (await api.get("/key", of="new")).status == 401
    assert secret(page) is None
    assert "shop revoked" in page.said("tbody th")[0]


# --- webhooks ---------------------------------------------------------------------------------------------------------


async def test_a_webhook_is_made_changed_and_forgotten(api, owner):
    """Types are picked one by one, by kind, or all; the secret stands on the answers that make one alone."""
    page = await owner.get("/settings/webhooks/new")
    made = await owner.submit(
        page, "main form", url=URL, description=HOSTILE, types=["partner.*", "partner.banned", "commission.paid"]
    )
    first = secret(made)
    assert first is not None
    (webhook,) = (await api.get("/webhooks")).json["data"]
    assert sorted(webhook["types"]) == ["commission.paid", "partner.*"]
    address = f"/settings/webhooks/{webhook['id']}"
    page = await owner.get(address)
    assert secret(page) is None
    assert first not in page.text
    assert "<script>alert" not in page.text
    page = await owner.submit(page, f"form[action='{address}/rotate']", overlap_s="0")
    assert secret(page) not in (None, first)
    assert page.one("#deliveries")["hx-get"] == address
    page = await owner.submit(page, f"form[action='{address}']", types=["*"], description="")
    assert (await api.get(f"/webhooks/{webhook['id']}")).json["types"] == ["*"]
    for action, told in (
        ("test", "A test"),
        ("disable", "Switched off"),
        ("enable", "Switched on"),
        ("replay", "It is"),
    ):
        page = await owner.submit(page, f"form[action='{address}/{action}']")
        assert page.said("[role=status]")[0].startswith(told), action
    page = await owner.submit(page, f"form[action='{address}/delete']")
    assert "No webhooks yet" in page.words
    assert (await owner.get(address)).status == 404


async def test_a_webhook_s_address_is_checked(api, owner):
    """An address in the operator's own network is refused at its field, with what was ticked."""
    page = await owner.get("/settings/webhooks/new")
    refused = await owner.submit(page, "main form", url="https://127.0.0.1/", types=["partner.banned"])
    assert refused.status == 422
    assert refused.one("#fault-url")
    assert refused.one("#field-url")["value"] == "https://127.0.0.1/"
    assert [each["value"] for each in refused.soup.select("input[name=types][checked]")] == ["partner.banned"]
    refused = await owner.submit(page, "main form", url=URL, types=None)
    assert refused.one("#fault-types")
    assert (await api.get("/webhooks")).json["data"] == []


async def test_deliveries_are_shown_with_each_attempt(api, owner):
    """What was told stands with every attempt, its answer as text; it is sent again by its button."""
    hook = (await api.post("/webhooks", {"url": URL, "types": ["*"]})).json

    def deliver():
        with psycopg.connect(api.database_url) as conn:
            conn.execute(
                "INSERT INTO webhooks.deliveries (webhook_id, position, merchant_id, delivery_id, type, subject,"
                " status, attempts, created_at, finished_at)"
                " VALUES (%s, 3, 'acme', 'dlv_1', 'partner.banned', 'partner/p', 'failed', 1, %s, %s)",
                (hook["id"], NOW, NOW),
            )
            conn.execute(
                "INSERT INTO webhooks.attempts VALUES (%s, 3, 1, 'acme', %s, 12, 500, %s, NULL)",
                (hook["id"], NOW, HOSTILE + "\u202e"),
            )

    await asyncio.to_thread(deliver)
    page = await owner.get(f"/settings/webhooks/{hook['id']}?status=failed")
    (row,) = page.said("#deliveries tbody tr")
    assert row.startswith("partner.banned position 3")
    assert f"500 · 12 ms {HOSTILE}⟨U+202E⟩" in row
    assert "<script>alert" not in page.text
    page = await owner.submit(page, "form[action$='/redeliver']")
    assert page.said("#deliveries tbody .badge") == ["waiting"]
    wrong = await owner.get(f"/settings/webhooks/{hook['id']}?status=zzz")
    assert wrong.status == 422
    assert wrong.one("[role=alert]")


# --- exports ----------------------------------------------------------------------------------------------------------


async def test_every_list_is_offered_as_a_file_and_can_be_had(api, owner):
    """Each export has words of its own, its files answer, and a range of days narrows the journal."""
    page = await owner.get("/settings/exports")
    offered = {str(link["href"]) for link in page.soup.select("main a[download]")}
    assert offered == {f"/files/{each.name}.{kind}" for each in exports() for kind in ("csv", "jsonl")}
    assert all(page.said(".exports p"))
    await api.partner()
    await api.post("/orders", api.order())
    await api.project()
    for address in sorted(offered):
        assert (await owner.get(address)).status == 200, address
    journal = await owner.submit(
        page, "form[action='/files/journal.csv']", **{"from": "2026-11-22", "to": "2026-11-22"}
    )
    assert len(journal.text.splitlines()) == 2
    journal = await owner.submit(page, "form[action='/files/journal.csv']")
    assert len(journal.text.splitlines()) == 1


async def test_what_is_another_s_is_not_there(api, owner):
    """A user or webhook of another merchant's is answered like one that nobody has, also by the forms."""
    user = (await api.post("/users", {"name": "Z", "email": "z@z.example", "role": "viewer"}, of="zenith")).json
    hook = (await api.post("/webhooks", {"url": URL, "types": ["*"]}, of="zenith")).json
    csrf = str((await owner.get("/settings")).one("form[action='/logout'] input[name=csrf]")["value"])
    for theirs, nobody_s in ((f"users/{user['id']}", "users/u_1"), (f"webhooks/{hook['id']}", "webhooks/wh_1")):
        pages = [await owner.get(f"/settings/{each}") for each in (theirs, nobody_s)]
        pages += [await owner.post(f"/settings/{each}/disable", {"csrf": csrf}) for each in (theirs, nobody_s)]
        assert [page.status for page in pages] == [404] * 4
        assert len({page.said("main p")[0] for page in pages}) == 1
    assert (await api.get(f"/users/{user['id']}", of="zenith")).json["disabled_at"] is None
