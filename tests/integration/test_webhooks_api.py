"""The webhooks' API: secrets shown once, addresses refused, limits, and other merchants' webhooks that do not exist."""

import json

import psycopg

URL = "https://shop.example.com/hooks/ledger?token=keep-this"


async def create(api, **change):
    """Return the answer to the creation of a webhook."""
    options = change.pop("options", {})
    return await api.post("/webhooks", {"url": URL, "types": ["*"]} | change, **options)


async def test_a_webhook_is_created_shown_changed_and_deleted(api):
    """What was told comes back as it was told, and a deleted webhook is as one that never was."""
    made = await create(api, types=["partner.*", "commission.paid"], description="our shop")
    assert made.status == 201, made.text
    webhook = made.json
    assert webhook["secret"].startswith("whsec_")
    shown = await api.get(f"/webhooks/{webhook['id']}")
    assert shown.json == {name: value for name, value in webhook.items() if name != "secret"}
    changed = await api.ask("PATCH", f"/webhooks/{webhook['id']}", {"types": ["*"]})
    assert changed.json == shown.json | {"types": ["*"]}
    assert (await api.get("/webhooks")).json["data"] == [changed.json]
    assert (await api.ask("DELETE", f"/webhooks/{webhook['id']}")).status == 204
    assert (await api.get(f"/webhooks/{webhook['id']}")).status == 404
    types = [entry["type"] for entry in (await api.get("/events?types=webhook.*")).json["data"]]
    assert types == ["webhook.created", "webhook.changed", "webhook.deleted"]


async def test_the_secret_is_shown_once_and_stands_nowhere(api):
    """A repeated Idempotency-Key makes no second webhook and shows no secret, which stands in no table."""
    options = {"headers": {"Idempotency-Key": "hook-1"}}
    first, again = await create(api, options=options), await create(api, options=options)
    assert (again.status, again.json["id"], again.json["secret"]) == (201, first.json["id"], None)
    assert again.headers["Idempotency-Replayed"] == "true"
    rotated = await api.post(f"/webhooks/{first.json['id']}/rotate")
    with psycopg.connect(api.database_url) as conn:
        tables = conn.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname IN ('ledger', 'access', 'people', 'read', 'webhooks')"
        ).fetchall()
        dump = {table: str(conn.execute(f"SELECT t::text FROM {table} AS t").fetchall()) for (table,) in tables}  # noqa: S608
    for answer in (first, rotated):
        secret = answer.json["secret"].removeprefix("whsec_")
        assert len(secret) == 44
        assert [table for table, text in dump.items() if secret in text] == []
    assert "keep-this" in dump["webhooks.endpoints"]
    assert "keep-this" not in dump["ledger.events"]


async def test_addresses_that_nothing_is_sent_to_are_refused(api):
    """What is no https address on the public internet is refused when it is named, with the field and the reason."""
    for url in ("http://shop.example.com/hook", "https://169.254.169.254/latest/meta-data", "https://", "https://a/\n"):
        refused = await create(api, url=url)
        assert (refused.status, refused.code) == (422, "bad_url"), url
        assert refused.json["errors"][0]["path"] == "$.url"


async def test_types_that_do_not_exist_are_refused(api):
    """A misspelt type is refused, for it would never be told."""
    refused = await create(api, types=["partner.*", "comission.paid"])
    assert (refused.status, refused.code) == (422, "unknown_type")
    assert (await create(api, types=[])).status == 422


async def test_a_merchant_has_at_most_twenty_webhooks(api):
    """One more is a conflict, which says what to do; another merchant is not concerned."""
    for _ in range(20):
        assert (await create(api)).status == 201
    refused = await create(api)
    assert (refused.status, refused.code) == (409, "too_many_webhooks")
    assert (await create(api, options={"of": "zenith"})).status == 201
    page = await api.get("/webhooks?limit=15")
    rest = await api.get(f"/webhooks?limit=15&cursor={page.json['next_cursor']}")
    assert len({row["id"] for row in page.json["data"] + rest.json["data"]}) == 20


async def test_webhooks_and_their_deliveries_are_files_too(api):
    """The lists of webhooks come as CSV and JSON Lines, as every list does, with what the list says."""
    made = (await create(api, description="=1+1")).json
    listed = (await api.get("/webhooks")).json["data"]
    lines = await api.get("/webhooks.jsonl")
    assert [json.loads(line) for line in lines.text.splitlines()] == listed
    assert "'=1+1" in (await api.get("/webhooks.csv")).text
    assert (await api.get(f"/webhooks/{made['id']}/deliveries.jsonl")).text == ""
    assert (await api.get("/webhooks/wh_none/deliveries.csv")).status == 404


async def test_another_merchants_webhook_does_not_exist(api):
    """Whatever is asked of it, the answer is the one to an id that nobody has."""
    webhook = (await create(api)).json
    calls = [
        ("GET", "", None), ("PATCH", "", {"description": "mine"}), ("DELETE", "", None), ("POST", "/rotate", None),
        ("POST", "/test", None), ("POST", "/enable", None), ("POST", "/disable", None),
        ("POST", "/replay", {"after": 0}),
        ("GET", "/deliveries", None), ("POST", "/deliveries/msg_x/redeliver", None),
    ]  # fmt: skip
    for method, path, body in calls:
        theirs = await api.ask(method, f"/webhooks/{webhook['id']}{path}", body, of="zenith")
        nobodys = await api.ask(method, f"/webhooks/wh_none{path}", body, of="zenith")
        assert theirs.status == nobodys.status == 404, path
        assert theirs.json["detail"].replace(webhook["id"], "ID") == nobodys.json["detail"].replace("wh_none", "ID")
    assert (await api.get(f"/webhooks/{webhook['id']}")).json["description"] == ""
