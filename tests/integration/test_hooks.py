"""The addresses where Stripe and PayPal send their messages: what is kept, what is refused; nothing is believed."""

from datetime import timedelta
from zlib import crc32

import psycopg
import pytest
import structlog
from pydantic import SecretStr

from consumers.rails.messages import BODY_BYTES_MAX
from tests.support.api import NOW, PAYOUTS, running
from tests.support.doubles.faults import FAULTS
from tests.support.doubles.paypal import CLIENT_ID, CLIENT_SECRET, WEBHOOK_ID, paypal_double
from tests.support.doubles.stripe import KEY, WEBHOOK_SECRET, stripe_double
from tests.support.payouts import earn, later, payable_to, run, work
from tests.support.paypal_forgery import forged

PAYOUT = "po_0123456789abcdef"
TRANSFER = {"id": "tr_1", "object": "transfer", "metadata": {"payout_id": PAYOUT}}
OLD_SECRET = "whsec_former"  # noqa: S105 - of nobody


@pytest.fixture
async def stripe():
    """Yield Stripe on the loopback."""
    async with stripe_double() as found:
        yield found


@pytest.fixture
async def paypal():
    """Yield PayPal on the loopback."""
    async with paypal_double() as found:
        yield found


@pytest.fixture
def settings(stripe, paypal):
    """Return an environment with both, whose messages are signed."""
    told = {
        "stripe_api_key": SecretStr(KEY), "stripe_api_base": stripe.url, "stripe_timeout_s": 1.0,
        "stripe_webhook_secrets": (SecretStr(OLD_SECRET), SecretStr(WEBHOOK_SECRET)), "paypal_client_id": CLIENT_ID,
        "paypal_client_secret": SecretStr(CLIENT_SECRET), "paypal_webhook_id": WEBHOOK_ID,
        "paypal_api_base": paypal.url, "paypal_timeout_s": 1.0,
    }  # fmt: skip
    return PAYOUTS.model_copy(update=told)


@pytest.fixture
async def api(database_url, settings):
    """Yield the application with both."""
    async with running(database_url, payouts=settings) as found:
        yield found


async def to_stripe(api, body, signature, **more):
    """Return the answer to a message of Stripe."""
    return await api.post("//hooks/stripe", of=None, data=body, headers={"Stripe-Signature": signature}, **more)


async def to_paypal(api, body, headers):
    """Return the answer to a message of PayPal."""
    return await api.post("//hooks/paypal", of=None, data=body, headers=headers)


def inbox(api):
    """Return what is in the inbox: provider, event, payout and reference."""
    with psycopg.connect(api.database_url) as conn:
        return conn.execute(
            "SELECT provider, event_id, payout_id, reference FROM ledger.payout_hints ORDER BY 1, 2"
        ).fetchall()


async def test_a_message_of_stripe_is_kept_once(api, stripe) -> None:
    """A message with a right signature, by either secret, is answered with 200 once it is in the inbox, once."""
    body = stripe.event("transfer.reversed", TRANSFER, "evt_1")
    for secret in (WEBHOOK_SECRET, OLD_SECRET, WEBHOOK_SECRET):
        answer = await to_stripe(api, body, stripe.signed(body, secret=secret))
        assert (answer.status, answer.text) == (200, "")
    assert inbox(api) == [("stripe", "evt_1", PAYOUT, "tr_1")]
    other = stripe.event("payout.failed", {"id": "po_1"}, "evt_2")
    assert (await to_stripe(api, other, stripe.signed(other))).status == 200
    assert len(inbox(api)) == 1


async def test_what_is_not_stripe_s_is_400(api, stripe) -> None:
    """Forged, replayed, future, not UTF-8, changed, not JSON: refused with 400 and a code, and nothing is repeated."""
    body = stripe.event("transfer.created", TRANSFER, "evt_secret_word")
    right, stamp = stripe.signed(body), int(NOW.timestamp())
    refused = [
        (body, "", "bad_signature"), (body, stripe.signed(body, secret="whsec_x"), "bad_signature"),  # noqa: S106
        (body + b" ", right, "bad_signature"), (body, right.replace("v1=", "v0="), "bad_signature"),
        (body, f"t={stamp}", "bad_signature"), (body, f"t={'9' * 40},v1=x", "bad_signature"),
        (body, stripe.signed(body, NOW - timedelta(minutes=6)), "not_now"),
        (body, stripe.signed(body, NOW + timedelta(minutes=6)), "not_now"),
        (b'{"id": "\xff"}', f"t={stamp},v1=00", "unreadable"), (b"[]", stripe.signed(b"[]"), "unreadable"),
    ]  # fmt: skip
    for sent, signature, code in refused:
        with structlog.testing.capture_logs() as log:
            answer = await to_stripe(api, sent, signature)
        assert (answer.status, answer.code) == (400, code)
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert "evt_secret_word" not in answer.text + str(log)
    assert (await to_stripe(api, b" " * (BODY_BYTES_MAX + 1), right)).status == 413
    assert inbox(api) == []


async def test_who_is_refused_often_is_told_to_wait(database_url, settings, stripe) -> None:
    """After many refusals of an address the next is 429; a message of Stripe's own is taken all the same."""
    async with running(database_url, payouts=settings, failures_burst=3) as api:
        body = stripe.event("transfer.created", TRANSFER, "evt_1")
        found = [(await to_stripe(api, body, "t=1,v1=x")).status for _ in range(4)]
        assert found == [400, 400, 400, 429]
        assert (await to_stripe(api, body, stripe.signed(body))).status == 200
        # They are counted apart from passwords and keys.
        assert (await api.get("/partners")).status == 200


async def test_a_message_about_an_account_asks_stripe(api, stripe) -> None:
    """`account.updated` makes nobody payable; Stripe, asked for the account, does, and unmakes as well."""
    partner = await api.partner()
    place = f"/partners/{partner['id']}/payout-details"
    await api.post(f"{place}/stripe")
    (account,) = stripe.accounts
    message = stripe.event("account.updated", {"id": account, "capabilities": {"transfers": "active"}})
    assert (await to_stripe(api, message, stripe.signed(message))).status == 200
    assert (await api.get(place)).json["method"] is None
    stripe.account(account)
    other = stripe.event("capability.updated", {"id": "transfers", "account": account})
    assert (await to_stripe(api, other, stripe.signed(other))).status == 200
    shown = (await api.get(place)).json
    assert (shown["method"]["method"], shown["history"][0]["by"]["kind"]) == ("stripe", "provider")
    stripe.account(account, "inactive")
    assert (await to_stripe(api, message, stripe.signed(message))).status == 200
    assert (await api.get(place)).json["method"] is None
    foreign = stripe.event("account.updated", {"id": "acct_somebodys"})
    assert (await to_stripe(api, foreign, stripe.signed(foreign))).status == 200
    stripe.faults.append(FAULTS["500"])
    assert (await to_stripe(api, message, stripe.signed(message))).status == 503


async def test_a_reversal_arrives_by_message(api, stripe) -> None:
    """A transfer that is reversed comes back to the books by the hint alone; its message says nothing of amounts."""
    partner = await api.partner()
    await payable_to(api, partner["id"], "stripe", stripe.account("acct_ada"))
    await earn(api, "100.00")
    await run(api)
    (payout,) = (await api.get("/payouts")).json["data"]
    assert payout["status"] == "processed"
    (transfer,) = stripe.transfers
    stripe.reverse(transfer["id"])
    lie = transfer | {"amount_reversed": 1}
    body = stripe.event("transfer.reversed", lie)
    assert (await to_stripe(api, body, stripe.signed(body))).status == 200
    later(api)
    await work(api)
    (payout,) = (await api.get("/payouts")).json["data"]
    assert (payout["status"], payout["returned"]["amount"]) == ("returned", "10.00")


async def test_a_message_of_paypal_is_what_paypal_says(api, paypal) -> None:
    """The item of a message is asked for; the hint is made of the answer, and a payout is settled by it."""
    partner = await api.partner()
    await payable_to(api, partner["id"], "paypal", "jane@example.com")
    await earn(api, "100.00")
    await run(api)
    (item,) = paypal.items
    paypal.move(item["payout_item_id"], "SUCCESS")
    body = paypal.event("SUCCEEDED", item["payout_item_id"])
    for _ in range(2):
        assert (await to_paypal(api, body, paypal.signed(body))).status == 200
    (payout,) = (await api.get("/payouts")).json["data"]
    assert [(each[0], each[2]) for each in inbox(api)] == [("paypal", payout["id"])]
    later(api)
    await work(api)
    (payout,) = (await api.get("/payouts")).json["data"]
    assert payout["status"] == "processed"


async def test_what_is_not_paypal_s_is_400(api, paypal) -> None:
    """Forged, replayed, for another webhook, from another place, with an equal CRC-32: nothing of it gets in."""
    body = paypal.event("SUCCEEDED", "ITEM_OF_NOBODY")
    right = paypal.signed(body)
    same_sum = forged({"id": "WH-2", "event_type": "PAYMENT.PAYOUTS-ITEM.SUCCEEDED",
                       "resource": {"payout_item_id": "ITEM_FORGED"}}, crc32(body))  # fmt: skip
    refused = [
        (body + b" ", right, "bad_signature"), (body, paypal.signed(body, webhook_id="another"), "bad_signature"),
        (body, right | {"paypal-cert-url": "https://evil.example/cert"}, "bad_signature"),
        (body, right | {"paypal-auth-algo": "none"}, "bad_signature"), (body, {}, "bad_signature"),
        (body, paypal.signed(body, NOW - timedelta(days=4)), "not_now"),
        (body, paypal.signed(body, NOW + timedelta(hours=1)), "not_now"),
        (body, right, "no_such_item"), (same_sum, right, "no_such_item"),
    ]  # fmt: skip
    for sent, headers, code in refused:
        answer = await to_paypal(api, sent, headers)
        assert (answer.status, answer.code) == (400, code)
        assert "ITEM_" not in answer.text
    assert inbox(api) == []


async def test_where_paypal_does_not_answer_the_message_comes_again(api, paypal) -> None:
    """Without the certificate, or without the item, a message is 503: PayPal sends it again."""
    body = paypal.event("SUCCEEDED", "ITEM1")
    for name in ("500", "200 in HTML", "time-out"):
        paypal.faults.append(FAULTS[name])
        answer = await to_paypal(api, body, paypal.signed(body))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


async def test_without_a_secret_there_is_no_address(database_url) -> None:
    """A provider whose messages cannot be checked has no address here, and a page of ours never answers there."""
    async with running(database_url) as api:
        for provider in ("stripe", "paypal", "other"):
            answer = await api.post(f"//hooks/{provider}", of=None, data=b"{}", headers={"Accept": "text/html"})
            assert (answer.status, answer.code) == (404, "not_found")
        assert (await api.get("//hooks/stripe", of=None)).status == 405
