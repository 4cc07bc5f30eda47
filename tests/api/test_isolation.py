"""The isolation matrix: every route with another merchant's ids, with keys of every scope and role.

What belongs to another merchant is answered exactly as what does not exist, and stays as it is. The matrix is made of
the table of routes: a route for which `tests.support.worlds` has no line fails it.
"""

import re
from http import HTTPStatus

from ledger.access import ROLES, SCOPES
from tests.support.worlds import BARE, bodies, build, missing
from web.api import RESOURCES
from web.api.openapi import pattern

ROUTES = {f"{route.method} {pattern(route.path)}": route for table in RESOURCES for route in table.routes}
FILE = re.compile(r"\.(csv|jsonl)$")
# What lists are filtered by that another merchant may have.
FILTERS = ("partner_id", "partner_ids", "ids", "customer_id", "payout_id", "run_id", "search", "tag")
# What differs between two calls that are alike: what they made, how they call it, and what is counted on.
NEW = ("qqa", "qqb")
MADE = re.compile(
    r"""(?<=dashboard_url":")[^"]+|(?<=")(position|next_after|version|hold_days)":\d+"""
    r"""|\b(p|u|n|wh|dlv|dl|note|manual|pr|po)[_-][a-z0-9]{6,}|\b[0-9a-f]{16,}\b|whsec_[\w+/=-]+|(?<=/reset/)[\w-]+|qq[ab]""",
    re.IGNORECASE,
)
# A list of keys tells when they were used, and the feed how far the log has come.
USED = re.compile(r'"last_used_at":("[^"]*"|null)|"next_after":\d+|(?<=Z,)[^,]*(?=,,)')
COUNTED = {"Date", "RateLimit", "X-Ledger-Position"}
# What tells of the key that asks, and what is noted in the access log that it was looked at.
APART = {"GET /key", "GET /payouts/by-hand.csv"}
REQUEST_ID = "the-same-request-id"


def lines(ids, own, number=0):
    """Return the bodies of every route, None standing for none. Fails where a route has no line, or a line no route."""
    told = bodies(ids, own, NEW[number], 10 + number) | {name: [None] for name in BARE}
    told |= {f"{name}{end}": [None] for name in BARE for end in (".csv", ".jsonl") if f"{name}{end}" in ROUTES}
    assert sorted(ROUTES.keys() - told.keys()) == [], "a route without a line in tests/support/worlds.py"
    assert sorted(told.keys() - ROUTES.keys()) == [], "a line without a route"
    return told


async def call(api, name, ids, body, *, of, **options):
    """Make the call that a line says."""
    method, _, path = name.partition(" ")
    headers = {"X-Request-Id": REQUEST_ID, **options.pop("headers", {})}
    if isinstance(body, str):
        headers["Content-Type"] = "application/xml" if body.startswith("<") else "text/csv"
        options["data"], body = body, None
    return await api.ask(method, path.format(**ids), body, of=of, headers=headers, **options)


def plain(answer, ids):
    """Return what an answer tells, with the ids that were asked for, and what was made, taken out."""
    text = answer.text
    for name, value in ids.items():
        text = re.sub(re.escape(value), f"<{name}>", text, flags=re.IGNORECASE)
    headers = sorted((name, "" if name in COUNTED else value) for name, value in answer.headers.items())
    return answer.status, headers, MADE.sub("<made>", text)


async def everything(api, of, own):
    """Return what the merchant is shown on every route that reads."""
    shown = {}
    for name, route in ROUTES.items():
        if route.method == "GET" and name not in APART:
            answer = await call(api, name, own, None, of=of)
            shown[name] = USED.sub("", answer.text)
    return shown


def foreign(answer, world, sent):
    """Return which of the other merchant's words an answer holds that were not in the request."""
    told, asked = answer.text.casefold(), sent.casefold()
    return [word for word in world.words if word.casefold() in told and word.casefold() not in asked]


async def test_what_is_another_s_is_as_what_does_not_exist(api):
    """Every route, with each of another merchant's ids in path and body: answered as an id of nothing, no change."""
    mine, theirs = await build(api, "acme"), await build(api, "zenith")
    nothing = missing(theirs.ids)
    before, faults = await everything(api, "zenith", theirs.ids), []
    gone, there, sent = lines(nothing, mine.ids, 0), lines(theirs.ids, mine.ids, 1), ""
    for name in ROUTES:
        for unknown, body in zip(gone[name], there[name], strict=True):
            expected = plain(await call(api, name, nothing, unknown, of="acme"), nothing)
            answer = await call(api, name, theirs.ids, body, of="acme")
            found = plain(answer, theirs.ids)
            # A list of the merchant's own may have grown by what the calls before have made.
            asks = "{" in name or body is not None
            if asks and (found != expected or ("{" in name and found[0] != HTTPStatus.NOT_FOUND)):
                faults.append((name, body, expected, found))
            sent += f"{name.format(**theirs.ids)} {body} "
            if words := foreign(answer, theirs, sent):
                faults.append((name, body, words))
    assert faults == [], "\n".join(map(str, faults))
    await api.project()
    after = await everything(api, "zenith", theirs.ids)
    assert {name: text for name, text in after.items() if text != before[name]} == {}


async def test_what_is_another_s_cannot_be_filtered_for(api):
    """Every list, with another merchant's ids as filters and with its cursors: nothing of that merchant, no hint."""
    mine, theirs = await build(api, "acme"), await build(api, "zenith")
    del mine
    nothing, faults, cursors = missing(theirs.ids), [], 0
    for name, route in ROUTES.items():
        if route.method != "GET" or "{" in name:
            continue
        asked = [each for each in FILTERS if each in route.query.model_fields]
        for each in asked:
            value = theirs.ids.get(each, theirs.ids["partner_id"])
            unknown = nothing.get(each, nothing["partner_id"])
            expected = plain(await call(api, name, {}, None, of="acme", params={each: unknown}), {each: unknown})
            found = plain(await call(api, name, {}, None, of="acme", params={each: value}), {each: value})
            if found != expected:
                faults.append((name, each, expected, found))
        if "cursor" in route.query.model_fields:
            page = await call(api, name, {}, None, of="zenith", params={"limit": 1})
            cursor = page.json["next_cursor"]
            cursors += cursor is not None
            answer = await call(api, name, {}, None, of="acme", params={"cursor": cursor} if cursor else {})
            if answer.status != HTTPStatus.OK or foreign(answer, theirs, ""):
                faults.append((name, cursor, answer))
    assert faults == [], "\n".join(map(str, faults))
    assert cursors > 5


async def test_another_s_activity_is_counted_nowhere(api):
    """Whatever another merchant does, everything that a merchant is shown stays as it was."""
    mine = await build(api, "acme")
    before = await everything(api, "acme", mine.ids)
    await build(api, "zenith")
    after = await everything(api, "acme", mine.ids)
    assert {name: text for name, text in after.items() if text != before[name]} == {}


async def test_idempotency_keys_are_each_merchant_s_own(api):
    """A request that another merchant made, sent with its idempotency key, is neither replayed nor a conflict."""
    mine, theirs = await build(api, "acme"), await build(api, "zenith")
    del mine
    for path, body, idempotency_key in theirs.requests:
        answer = await api.post(path, body, headers={"Idempotency-Key": idempotency_key})
        assert "Idempotency-Replayed" not in answer.headers, path
        assert answer.code != "idempotency_key_reused", path
        assert foreign(answer, theirs, f"{path} {body}") == [], path
        again = await api.post(path, body, headers={"Idempotency-Key": idempotency_key}, of="zenith")
        assert again.headers["Idempotency-Replayed"] == "true", path


async def test_a_key_makes_exactly_the_calls_of_its_scopes(api):
    """Every route, with a key of each scope and of a user of each role: the declared ones pass, no others."""
    mine, faults = await build(api, "acme"), []
    for scope in SCOPES:
        made = await api.post("/keys", {"name": scope, "scopes": [scope]})
        api.keys[scope] = made.json["api_key"]
    for role, scopes in ROLES.items():
        user = await api.post("/users", {"name": role, "email": f"{role}@roles.example", "role": role})
        made = await api.post("/keys", {"name": role, "scopes": sorted(scopes), "user_id": user.json["id"]})
        api.keys[role] = made.json["api_key"]
    has = {scope: {scope} for scope in SCOPES} | {"admin": set(SCOPES)} | dict(ROLES)
    told = lines(missing(mine.ids), mine.ids)
    for name, route in ROUTES.items():
        for body in told[name]:
            needed = route.scope or (("payouts" if body["action"] == "mark-paid" else "partners") if body else None)
            for holder, scopes in has.items():
                answer = await call(api, name, missing(mine.ids), body, of=holder)
                refused = (answer.status, answer.code) == (HTTPStatus.FORBIDDEN, "scope_missing")
                if refused is (needed is None or needed in scopes):
                    faults.append((name, holder, needed, answer.status, answer.text))
    assert faults == [], "\n".join(map(str, faults))


async def test_a_key_of_few_scopes_learns_nothing_from_a_refusal(api):
    """Without the scope, what is one's own, another's and nobody's is refused alike, before anything is looked at."""
    mine, theirs = await build(api, "acme"), await build(api, "zenith")
    made = await api.post("/keys", {"name": "weak", "scopes": ["payouts"]})
    api.keys["weak"] = made.json["api_key"]
    for name, route in ROUTES.items():
        if route.scope not in {None, "payouts"}:
            answers = [
                plain(await call(api, name, ids, {"anything": 1} if route.body else None, of="weak"), ids)
                for ids in (mine.ids, theirs.ids, missing(theirs.ids))
            ]
            assert answers[0][0] == HTTPStatus.FORBIDDEN, name
            assert answers[0] == answers[1] == answers[2], name
