"""Webhooks end to end: created over the API, told of events by a sender, received, repeated, switched off."""

from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from ledger import deliveries
from tests.support.receivers import receiving, sending
from tests.support.webhooks import hook, log_of, orders


def signed_by(message, secret):
    """Return whether the message bears the signature that the reference library, which knows no code of ours, makes."""
    at = datetime.fromtimestamp(int(message.headers["webhook-timestamp"]), tz=UTC)
    signature = Webhook(secret).sign(message.id, at, message.body.decode())
    return signature in message.headers["webhook-signature"].split(" ")


async def test_what_happens_is_told_as_the_feed_tells_it(api, receiver, sender):
    """A webhook gets each event from its creation on, once, in order, as the feed's entry, signed and with an id."""
    await api.partner()
    webhook = await hook(api, receiver)
    await orders(api, "o-1")
    await api.post("/commissions/o-1/approve")
    await sender.all()
    assert [message.json["type"] for message in receiver.got] == ["commission.earned", "commission.approved"]
    feed = (await api.get("/events?limit=500")).json["data"]
    told = [{name: value for name, value in m.json.items() if name != "timestamp"} for m in receiver.got]
    assert told == [entry for entry in feed if entry["type"].startswith("commission.")]
    assert all(signed_by(message, webhook["secret"]) for message in receiver.got)
    assert receiver.got[0].json["timestamp"] == receiver.got[0].json["occurred_at"]
    assert receiver.got[0].headers["content-type"] == "application/json"
    await sender.after(days=1)
    assert len(receiver.got) == 2
    log = await log_of(api, webhook)
    assert [(row["status"], len(row["attempts"]), row["attempts"][0]["status"]) for row in log] == [
        ("delivered", 1, 204),
        ("delivered", 1, 204),
    ]
    assert [row["id"] for row in log] == [message.id for message in receiver.got]


async def test_the_reference_library_accepts_what_is_sent_now(api, receiver):
    """A message that is sent at the true time passes the reference library as it is, and no altered one does."""
    webhook = await hook(api, receiver)
    await api.partner()
    async with sending(api.ledger, datetime.now(UTC)) as sender:
        await sender.all()
    message = receiver.got[0]
    reference = Webhook(webhook["secret"])
    assert reference.verify(message.body, message.headers)["type"] == "partner.registered"
    for headers, body in (
        (message.headers, message.body + b" "),
        (message.headers | {"webhook-id": "msg_other"}, message.body),
        (message.headers | {"webhook-timestamp": str(int(message.headers["webhook-timestamp"]) + 1)}, message.body),
    ):
        with pytest.raises(WebhookVerificationError):
            reference.verify(body, headers)


async def test_only_the_types_that_a_webhook_takes_are_told(api, receiver, sender):
    """Types and kinds of types are told, other merchants' events never, a test always and to nobody else."""
    async with receiving() as others:
        await hook(api, others, of="zenith")
        webhook = await hook(api, receiver, "partner.*", "commission.approved")
        all_ = await hook(api, others)
        jane = await api.partner()
        await orders(api, "o-1")
        await api.post("/commissions/o-1/approve")
        tested = await api.post(f"/webhooks/{webhook['id']}/test")
        assert tested.status == 200
        await sender.all()
        assert [message.json["type"] for message in receiver.got] == [
            "partner.registered",
            "commission.approved",
            "webhook.tested",
        ]
        assert receiver.got[0].json["subject"] == f"partner/{jane['id']}"
        assert "webhook.tested" not in [message.json["type"] for message in others.got]
        assert {message.json["type"] for message in others.got} >= {"coupon.assigned", "commission.earned"}
        assert [row["status"] for row in await log_of(api, all_)] == ["delivered"] * 4


async def test_a_failing_delivery_blocks_its_subject_alone_and_keeps_its_order(api, receiver, sender):
    """What fails is tried again later; the same order's next event waits for it, other orders do not."""
    broken = {"order/o-1"}

    async def answer(message, _):
        return web.Response(status=500 if message.json["subject"] in broken else 200, text="sorry \x00 not now")

    receiver.answer = answer
    await api.partner()
    webhook = await hook(api, receiver, "commission.*")
    await orders(api, "o-1", "o-2")
    await api.post("/commissions/o-1/approve")
    await api.post("/commissions/o-2/approve")
    await sender.all()
    first = receiver.got[0]
    told = [(m.json["subject"], m.json["type"]) for m in receiver.got]
    assert told.count(("order/o-1", "commission.earned")) == 1
    assert ("order/o-1", "commission.approved") not in told
    assert [type_ for subject, type_ in told if subject == "order/o-2"] == ["commission.earned", "commission.approved"]
    log = {row["position"]: row for row in await log_of(api, webhook)}
    waits = log[first.json["position"]]
    assert (waits["status"], waits["attempts"][0]["status"]) == ("waiting", 500)
    assert waits["attempts"][0]["answer"] == "sorry \ufffd not now"
    behind = [row for row in log.values() if row["subject"] == "order/o-1"][1]
    assert (behind["status"], behind["next_attempt_at"], behind["attempts"]) == ("waiting", None, [])
    broken.clear()
    await sender.after(minutes=1)
    mine = [m for m in receiver.got if m.json["subject"] == "order/o-1"]
    assert [m.json["type"] for m in mine] == ["commission.earned", "commission.earned", "commission.approved"]
    assert mine[0].id == mine[1].id != mine[2].id
    assert mine[0].body == mine[1].body


async def test_retries_go_on_for_three_days_with_growing_pauses(api, receiver, sender):
    """A delivery is tried again and again for 3 days, is then marked as failed, and makes way for the next one."""
    receiver.answer = 503
    await api.partner()
    webhook = await hook(api, receiver, "commission.*")
    await orders(api, "o-1")
    await api.post("/commissions/o-1/approve")
    began = sender.now
    await sender.all()
    while (row := (await log_of(api, webhook))[0])["status"] == "waiting":
        (due,) = await due_at(api, webhook)
        assert due > sender.now
        assert due - sender.now <= deliveries.DELAY_MAX
        sender.now = due
        await sender.all()
    assert row["status"] == "failed"
    assert sender.now == began + timedelta(days=3)
    assert len(row["attempts"]) >= 15
    receiver.answer = 200
    await sender.after(seconds=10)
    assert receiver.got[-1].json["type"] == "commission.approved"
    shown = (await api.get(f"/webhooks/{webhook['id']}")).json
    assert (shown["status"], shown["failing_since"]) == ("enabled", None)
    failed = await log_of(api, webhook, "&status=failed")
    assert [each["type"] for each in failed] == ["commission.earned"]


async def due_at(api, webhook):
    """Return when each delivery that waits is due."""
    rows = await log_of(api, webhook)
    return [datetime.fromisoformat(row["next_attempt_at"]) for row in rows if row["next_attempt_at"]]


async def test_a_webhook_that_only_fails_is_switched_off_after_days_and_goes_on_where_it_stopped(api, receiver, sender):
    """After 5 days of nothing but failures nothing is sent any more; enabled again it gets all that it missed."""
    receiver.answer = 500
    await api.partner()
    webhook = await hook(api, receiver, "commission.*")
    await orders(api, "o-1")
    await sender.all()
    for day in range(1, 7):
        await orders(api, f"late-{day}")
        await sender.after(days=1)
    shown = (await api.get(f"/webhooks/{webhook['id']}")).json
    assert (shown["status"], shown["reason"]) == ("disabled", "failing")
    told = (await api.get("/events?types=webhook.disabled")).json["data"]
    assert [(each["data"]["reason"], each["cause"]) for each in told] == [("failing", "timer/webhooks")]
    sent = len(receiver.got)
    receiver.answer = 200
    await orders(api, "last")
    await sender.after(days=1)
    assert len(receiver.got) == sent
    refused = await api.post(f"/webhooks/{webhook['id']}/test")
    assert (refused.status, refused.code) == (409, "disabled")
    assert (await api.post(f"/webhooks/{webhook['id']}/enable")).json["status"] == "enabled"
    await sender.all()
    rows = await log_of(api, webhook)
    assert {row["subject"] for row in rows} == {"order/o-1", "order/last"} | {f"order/late-{n}" for n in range(1, 7)}
    assert {row["status"] for row in rows} <= {"delivered", "failed"}
    assert rows[-1]["status"] == "delivered"


async def test_enabled_from_a_position_on_it_is_not_told_what_lies_before(api, receiver, sender):
    """Whoever does not want what was missed says from where on."""
    await api.partner()
    webhook = await hook(api, receiver, "commission.*")
    await api.post(f"/webhooks/{webhook['id']}/disable")
    await orders(api, "o-1")
    head = (await api.get("/events")).json["next_after"]
    beyond = await api.post(f"/webhooks/{webhook['id']}/enable", {"after": head + 1})
    assert (beyond.status, beyond.code) == (422, "unknown_position")
    await api.post(f"/webhooks/{webhook['id']}/enable", {"after": head})
    await orders(api, "o-2")
    await sender.all()
    assert receiver.subjects() == ["order/o-2"]


async def test_410_switches_a_webhook_off_at_once(api, receiver, sender):
    """A receiver that says it is gone is not asked again."""
    receiver.answer = 410
    await api.partner()
    webhook = await hook(api, receiver, "commission.*")
    await orders(api, "o-1", "o-2")
    await sender.all()
    await sender.after(days=1)
    assert 1 <= len(receiver.got) <= 2
    shown = (await api.get(f"/webhooks/{webhook['id']}")).json
    assert (shown["status"], shown["reason"]) == ("disabled", "gone")


async def test_both_secrets_sign_until_the_overlap_is_over(api, receiver, sender):
    """After a rotation a receiver may know either secret, for as long as was said, and then the new one only."""
    webhook = await hook(api, receiver, "partner.*")
    rotated = await api.post(f"/webhooks/{webhook['id']}/rotate", {"overlap_s": 3_600})
    assert rotated.status == 200
    new = rotated.json["secret"]
    assert new != webhook["secret"]
    await api.partner()
    await sender.all()
    assert signed_by(receiver.got[0], webhook["secret"])
    assert signed_by(receiver.got[0], new)
    await api.partner(email="john@example.com", coupon_code="J")
    await sender.after(seconds=3_600)
    assert not signed_by(receiver.got[1], webhook["secret"])
    assert signed_by(receiver.got[1], new)


async def test_a_message_is_sent_again_under_its_own_id(api, receiver, sender):
    """Redelivery of one, and a replay of everything behind a position, repeat ids and bodies and lose no order."""
    await api.partner()
    webhook = await hook(api, receiver, "commission.*")
    await orders(api, "o-1", "o-2")
    await api.post("/commissions/o-1/approve")
    await sender.all()
    first = list(receiver.got)
    again = await api.post(f"/webhooks/{webhook['id']}/deliveries/{first[0].id}/redeliver")
    assert (again.status, again.json) == (200, {"id": first[0].id, "status": "waiting"})
    await sender.all()
    assert [m.id for m in receiver.got[3:]] == [first[0].id]
    assert receiver.got[3].body == first[0].body
    assert (await api.post(f"/webhooks/{webhook['id']}/replay", {"after": webhook["position"]})).status == 200
    await sender.all()
    assert {m.id for m in receiver.got[4:]} == {m.id for m in first}
    mine = [m.json["type"] for m in receiver.got[4:] if m.json["subject"] == "order/o-1"]
    assert mine == ["commission.earned", "commission.approved"]
    beyond = await api.post(f"/webhooks/{webhook['id']}/replay", {"after": 10**9})
    assert (beyond.status, beyond.code) == (422, "unknown_position")
    missing = await api.post(f"/webhooks/{webhook['id']}/deliveries/msg_none/redeliver")
    assert missing.status == 404


async def test_a_replay_may_begin_before_the_webhook_was_made(api, receiver, sender):
    """A new receiver can be told the whole history."""
    await api.partner()
    await orders(api, "o-1")
    webhook = await hook(api, receiver)
    await api.post(f"/webhooks/{webhook['id']}/replay", {"after": 0})
    await sender.all()
    history = (await api.get("/events?limit=500")).json["data"]
    assert [m.json["position"] for m in sorted(receiver.got, key=lambda m: m.json["position"])] == [
        entry["position"] for entry in history
    ]


async def test_the_log_is_forgotten_in_time(api, receiver, sender):
    """What was finished long ago leaves the log; what waits never does."""
    await api.partner()
    webhook = await hook(api, receiver, "commission.*")
    await orders(api, "o-1")
    await sender.all()
    receiver.answer = 500
    await orders(api, "o-2")
    await sender.after(days=29)
    assert len(await log_of(api, webhook)) == 2
    await sender.after(days=2)
    assert [row["subject"] for row in await log_of(api, webhook)] == ["order/o-2"]
