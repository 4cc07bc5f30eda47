"""Users and keys by HTTP: who may do what, made and taken away, and the record of it."""

import asyncio
from datetime import timedelta

import psycopg
import pytest

from tests.support.api import JANE, NOW
from tests.support.keys import key_of

FINANCE = {"name": "Fay", "email": "fay@example.com", "role": "finance"}
ROLE_SCOPES = {
    "owner": ["read", "orders:write", "partners", "payouts", "admin"],
    "finance": ["read", "payouts"],
    "manager": ["read", "orders:write", "partners"],
    "viewer": ["read"],
}


async def user(api, role="finance", **change):
    """Add a user and return it."""
    answer = await api.post("/users", FINANCE | {"role": role, "email": f"{role}-2@example.com"} | change)
    assert answer.status == 201, answer.text
    return answer.json


async def key(api, scopes, **change):
    """Make a key, remember it by its id, and return the answer's body."""
    answer = await api.post("/keys", {"name": "a key", "scopes": scopes} | change)
    assert answer.status == 201, answer.text
    api.keys[answer.json["id"]] = answer.json["api_key"]
    return answer.json


async def log(api):
    """Return the types of the changes on record, oldest first."""
    return [each["type"] for each in reversed((await api.get("/access-log")).json["data"])]


async def test_a_merchant_begins_with_its_owner(api):
    """Opening a program makes its first user, the owner, whom nobody but that merchant sees."""
    mine, others = (await api.get("/users")).json, (await api.get("/users", of="zenith")).json
    assert [(each["role"], each["email"]) for each in mine["data"]] == [("owner", "owner@example.com")]
    assert mine["data"][0]["id"] != others["data"][0]["id"]


async def test_users_come_and_change(api):
    """A user is added, shown, renamed and given another role; an e-mail address is taken once, whatever its case."""
    made = await user(api)
    again = await api.post("/users", FINANCE | {"email": "Finance-2@EXAMPLE.com"})
    assert (again.status, again.code, again.json["errors"][0]["path"]) == (409, "email_taken", "$.email")
    assert (await api.post("/users", FINANCE | {"email": "finance-2@example.com"}, of="zenith")).status == 201
    changed = await api.ask("PATCH", f"/users/{made['id']}", {"name": "Faye", "role": "viewer"})
    assert changed.status == 200
    assert (changed.json["name"], changed.json["role"], changed.json["email"]) == ("Faye", "viewer", made["email"])
    assert (await api.get(f"/users/{made['id']}")).json == changed.json
    assert (await log(api))[-3:] == ["user.created", "user.renamed", "user.role_changed"]


async def test_the_last_owner_stays(api):
    """The last owner can neither be disabled nor get another role; with a second one either can, but not both."""
    (first,) = (await api.get("/users")).json["data"]
    for method, path, body in (("POST", "/disable", None), ("PATCH", "", {"role": "viewer"})):
        refused = await api.ask(method, f"/users/{first['id']}{path}", body)
        assert (refused.status, refused.code) == (409, "last_owner")
    second = await user(api, "owner")
    answers = await asyncio.gather(
        api.post(f"/users/{first['id']}/disable"), api.ask("PATCH", f"/users/{second['id']}", {"role": "viewer"})
    )
    assert sorted(answer.status for answer in answers) == [200, 409]
    owners = [each for each in (await api.get("/users")).json["data"] if each["role"] == "owner"]
    assert len([each for each in owners if each["disabled_at"] is None]) == 1


async def test_many_who_leave_at_once_leave_one_behind(api):
    """Of owners who are all disabled at the same moment, one stays."""
    (first,) = (await api.get("/users")).json["data"]
    others = [await user(api, "owner", email=f"o{number}@example.com") for number in range(4)]
    answers = await asyncio.gather(*(api.post(f"/users/{each['id']}/disable") for each in (first, *others)))
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 200, 409]


@pytest.mark.parametrize("role", ROLE_SCOPES)
async def test_a_role_limits_what_its_keys_can_do(api, role):
    """A user's key has the scopes that it was given, as far as the role allows, also when the role changes later."""
    made = await user(api, role)
    opened = await key(api, ROLE_SCOPES[role], user_id=made["id"])
    calling = (await api.get("/key", of=opened["id"])).json
    assert (calling["scopes"], calling["role"], calling["user_id"]) == (ROLE_SCOPES[role], role, made["id"])
    if role != "owner":
        refused = await api.post("/keys", {"name": "too much", "scopes": ["admin"], "user_id": made["id"]})
        assert (refused.status, refused.code) == (422, "beyond_role")
    await api.ask("PATCH", f"/users/{made['id']}", {"role": "viewer"})
    assert (await api.get("/key", of=opened["id"])).json["scopes"] == ["read"]
    assert (await api.post("/partners", JANE, of=opened["id"])).code == "scope_missing"


async def test_a_disabled_user_s_keys_are_dead_at_once(api):
    """Disabling a user shuts out the user's keys and nobody else's; enabling lets them in again."""
    made = await user(api)
    opened = await key(api, ["read"], user_id=made["id"])
    assert (await api.get("/balances", of=opened["id"])).status == 200
    disabled = await api.post(f"/users/{made['id']}/disable")
    assert disabled.json["disabled_at"] is not None
    assert (await api.get("/balances", of=opened["id"])).status == 401
    assert (await api.get("/balances")).status == 200
    late = await api.post("/keys", {"name": "late", "scopes": ["read"], "user_id": made["id"]})
    assert (late.status, late.code) == (409, "user_disabled")
    assert (await api.post(f"/users/{made['id']}/enable")).json["disabled_at"] is None
    assert (await api.get("/balances", of=opened["id"])).status == 200
    await api.post(f"/users/{made['id']}/enable")
    assert (await log(api))[-4:] == ["user.created", "key.created", "user.disabled", "user.enabled"]


async def test_a_key_can_only_do_what_it_is_for(api):
    """A key without the call's scope is refused with 403, which names the scope; the body is not even read."""
    opened = await key(api, ["read", "orders:write"])
    assert (await api.post("/orders", api.order(), of=opened["id"])).status == 200
    assert (await api.get("/partners", of=opened["id"])).status == 200
    refused = await api.post("/partners", {"not": "a partner"}, of=opened["id"])
    assert (refused.status, refused.code) == (403, "scope_missing")
    assert "`partners`" in refused.json["detail"]
    assert (await api.get("/keys", of=opened["id"])).code == "scope_missing"


async def test_a_key_is_shown_once(api):
    """A repeated request gets the key's answer without the key, which is stored nowhere."""
    body, headers = {"name": "shop", "scopes": ["read"]}, {"Idempotency-Key": "make-it-once"}
    first = await api.post("/keys", body, headers=headers)
    again = await api.post("/keys", body, headers=headers)
    assert (first.status, again.status) == (201, 201)
    assert first.json["api_key"].startswith(f"cl_{first.json['id']}_")
    assert again.json == first.json | {"api_key": None}
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "api_key" not in (await api.get("/keys")).json["data"][0]
    rotated = await api.post(f"/keys/{first.json['id']}/rotate", {"overlap_s": 0}, headers={"Idempotency-Key": "2"})
    once_more = await api.post(f"/keys/{first.json['id']}/rotate", {"overlap_s": 0}, headers={"Idempotency-Key": "2"})
    assert once_more.json == rotated.json | {"api_key": None}


async def test_a_key_expires(api):
    """A key with an expiry works until then; one that had expired before it began is refused."""
    opened = await key(api, ["read"], expires_at="2026-11-22T13:00:00Z")
    assert (await api.get("/key", of=opened["id"])).json["expires_at"] == "2026-11-22T13:00:00Z"
    api.now = NOW + timedelta(hours=1)
    assert (await api.get("/key", of=opened["id"])).status == 401
    refused = await api.post("/keys", {"name": "late", "scopes": ["read"], "expires_at": "2026-11-22T13:00:00Z"})
    assert (refused.status, refused.code) == (422, "not_in_the_future")


async def test_a_rotated_key_works_beside_the_new_one_for_the_overlap(api):
    """The new key has the old one's scopes; the old one goes on for the time that was asked for, and no longer."""
    old = await key(api, ["read"], expires_at="2026-12-01T00:00:00Z")
    new = await api.post(f"/keys/{old['id']}/rotate", {"overlap_s": 3600})
    assert (new.status, new.json["rotated_from"], new.json["scopes"]) == (201, old["id"], ["read"])
    assert (new.json["name"], new.json["expires_at"]) == (old["name"], "2026-12-01T00:00:00Z")
    api.keys["new"] = new.json["api_key"]
    twice = await api.post(f"/keys/{old['id']}/rotate", {"overlap_s": 0})
    assert (twice.status, twice.code) == (409, "rotated_already")
    assert [(await api.get("/key", of=each)).status for each in (old["id"], "new")] == [200, 200]
    api.now = NOW + timedelta(hours=1)
    assert [(await api.get("/key", of=each)).status for each in (old["id"], "new")] == [401, 200]
    dead = await api.post(f"/keys/{old['id']}/rotate", {"overlap_s": 0})
    assert (dead.status, dead.code) == (409, "not_in_force")
    for overlap_s in (-1, 604_801, "1"):
        assert (await api.post("/keys/x/rotate", {"overlap_s": overlap_s})).status == 422


async def test_an_overlap_never_makes_a_key_live_longer(api):
    """A key that expires before the overlap ends still expires."""
    old = await key(api, ["read"], expires_at="2026-11-22T12:30:00Z")
    await api.post(f"/keys/{old['id']}/rotate", {"overlap_s": 604_800})
    api.now = NOW + timedelta(minutes=30)
    assert (await api.get("/key", of=old["id"])).status == 401


async def test_only_one_rotation_wins(api):
    """Two who rotate a key at the same moment make one successor."""
    old = await key(api, ["read"])
    answers = await asyncio.gather(*(api.post(f"/keys/{old['id']}/rotate", {"overlap_s": 60}) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409]


async def test_a_revoked_key_stays_on_record(api):
    """Revoking works at once, may be repeated, and leaves the key in the list with the time."""
    opened = await key(api, ["read"])
    for _ in range(2):
        assert (await api.ask("DELETE", f"/keys/{opened['id']}")).status == 204
    assert (await api.get("/key", of=opened["id"])).status == 401
    shown = (await api.get("/keys")).json["data"][0]
    assert (shown["id"], shown["revoked_at"]) == (opened["id"], "2026-11-22T12:00:00Z")
    assert (await log(api)).count("key.revoked") == 1


async def test_nobody_passes_on_what_they_do_not_have(api):
    """The rule that a key grants at most its own scopes is the ledger's, whatever a route asks for."""
    from ledger import keys
    from ledger.access import Actor
    from schemas.errors import ForbiddenError

    weak = Actor("test", frozenset({"read"}))
    with pytest.raises(ForbiddenError, match="payouts"):
        keys.create(api.ledger, merchant_id="acme", name="x", scopes=["read", "payouts"], now=NOW, by=weak)
    strong = key_of(api.ledger, "acme", now=NOW)
    with pytest.raises(ForbiddenError):
        keys.rotate(api.ledger, merchant_id="acme", key_id=strong.split("_")[1], overlap=timedelta(0), now=NOW, by=weak)


async def test_the_log_says_who_did_what_when_and_in_which_request(api):
    """Each change names its time, the key and user behind it, the request, and what changed; never a name."""
    boss = await user(api, "owner")
    mine = await key(api, ["admin"], user_id=boss["id"])
    made = await api.post("/users", FINANCE, of=mine["id"], headers={"X-Request-Id": "request-7"})
    entry = (await api.get("/access-log")).json["data"][0]
    assert entry == {
        "at": "2026-11-22T12:00:00Z", "type": "user.created", "subject": made.json["id"],
        "details": {"role": "finance"}, "cause": f"api/{mine['id']}@request-7", "key_id": mine["id"],
        "user_id": boss["id"],
    }  # fmt: skip
    text = (await api.get("/access-log")).text
    assert "Fay" not in text
    assert "@example.com" not in text


async def test_the_log_is_only_added_to(api, database_url):
    """PostgreSQL refuses to change or remove what is on record, even for the owner of the table."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        for statement in (
            "UPDATE access.changes SET at = now()",
            "DELETE FROM access.changes",
            "TRUNCATE access.changes",
        ):
            with pytest.raises(psycopg.errors.RestrictViolation):
                conn.execute(statement)


async def test_lists_of_access_have_pages(api):
    """Users, keys and the log come newest first, page by page, each row once."""
    for number in range(3):
        await user(api, email=f"u{number}@example.com")
        await key(api, ["read"])
    for path in ("/users", "/keys", "/access-log"):
        whole = (await api.get(path)).json["data"]
        seen, cursor = [], {}
        for _ in whole:
            page = (await api.get(path, params={"limit": 1, **cursor})).json
            seen += page["data"]
            cursor = {"cursor": page["next_cursor"]}
        assert (seen, page["next_cursor"]) == (whole, None)
        assert len(whole) > 3


BAD = {
    "another scheme": lambda key: f"Basic {key}",
    "no scheme": lambda key: key,
    "nothing": lambda _: "Bearer",
    "no form": lambda _: "Bearer x",
    "unknown": lambda _: "Bearer cl_0123456789abcdef_" + "A" * 43,
    "another secret": lambda key: f"Bearer {key[:-3]}" + ("AAA" if key[-3:] != "AAA" else "BBB"),
    "half of it": lambda key: f"Bearer {key[:-20]}",
    "twice": lambda key: f"Bearer {key} {key}",
}


@pytest.mark.parametrize("bad", BAD)
async def test_every_bad_key_is_refused_alike(api, bad):
    """Whatever is wrong with a key, the answer is the same, and the key is not repeated."""
    unknown = await api.get("/key", of=None, headers={"Authorization": BAD["unknown"](""), "X-Request-Id": "r"})
    refused = await api.get("/key", of=None, headers={"Authorization": BAD[bad](api.keys["acme"]), "X-Request-Id": "r"})
    assert (refused.status, refused.text) == (401, unknown.text)
    assert dict(refused.headers) == dict(unknown.headers)


@pytest.mark.parametrize("bad", ["no form", "unknown", "another secret"])
async def test_every_bad_key_costs_the_same_work(api, bad, monkeypatch):
    """A key is looked up once and compared once, whether it has the form of one, exists, or neither."""
    import hmac

    from web import keys

    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b, same=hmac.compare_digest: compared.append(1) or same(a, b))
    looked = []

    async def look_up(*args, real=keys._look_up):
        looked.append(1)
        return await real(*args)

    monkeypatch.setattr(keys, "_look_up", look_up)
    assert (await api.get("/key", headers={"Authorization": BAD[bad](api.keys["acme"])})).status == 401
    assert (len(looked), len(compared)) == (1, 1)


async def test_a_key_in_the_wrong_header_is_not_written_down(api):
    """A key sent as request id or idempotency key is not taken for one: both would be kept."""
    secret = api.keys["acme"]
    answer = await api.post("/partners", JANE, headers={"X-Request-Id": secret})
    assert (answer.status, answer.headers["X-Request-Id"] == secret) == (201, False)
    refused = await api.post("/partners", JANE, headers={"Idempotency-Key": f"x-{secret}"})
    assert (refused.status, refused.code) == (422, "bad_idempotency_key")
    assert secret not in refused.text
