"""PayPal's webhooks, against the double: what is signed, what is not, and what is believed."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from zlib import crc32

import pytest

from consumers.rails import Attempt, Instruction, Payee
from consumers.rails.paypal import Credentials, PayPalClient, PayPalRail
from consumers.rails.paypal_webhooks import PayPalWebhooks
from ledger.payout_store import Hint
from schemas.errors import RejectedError, RetryableError
from tests.support.doubles.faults import FAULTS
from tests.support.doubles.paypal import CLIENT_ID, CLIENT_SECRET, WEBHOOK_ID, PayPalDouble, paypal_double
from tests.support.paypal_forgery import forged

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PAYOUT = "po_0123456789abcdef"


@pytest.fixture
async def double():
    """Yield PayPal on the loopback."""
    async with paypal_double() as found:
        yield found


@pytest.fixture
async def client(double):
    """Yield a client of PayPal that has paid one payout."""
    async with PayPalClient(Credentials(CLIENT_ID, CLIENT_SECRET, double.url), timeout_s=0.3) as found:
        key = f"payout-{PAYOUT}-1"
        told = Instruction("acme", PAYOUT, "p_ada", 1, key, 1250, "EUR", Payee("ada@example.com"))
        rail = PayPalRail(found)
        body = rail.compose(told)
        await rail.submit(Attempt(told, body, sha256(body).hexdigest(), NOW, NOW + rail.window))
        double.sent.clear()
        yield found


@pytest.fixture
def hooks(client, double):
    """Return what reads messages, and takes certificates from the double."""
    return PayPalWebhooks(client, WEBHOOK_ID, certificates=[f"{double.url}/v1/notifications/certs/"])


async def refused(hooks: PayPalWebhooks, body: bytes, headers: dict[str, str], now: datetime = NOW) -> str:
    """Return the code with which the message is refused."""
    with pytest.raises(RejectedError) as caught:
        await hooks.read(body, headers, now)
    return caught.value.code


async def test_a_message_is_a_hint_that_paypal_confirms(hooks: PayPalWebhooks, double: PayPalDouble) -> None:
    """The item of a message is asked for, and the hint is made of what PayPal says of it."""
    body = double.event("SUCCEEDED", "ITEM1")
    message = await hooks.read(body, double.signed(body), NOW)
    assert message.payment == Hint("paypal", "WH-1", PAYOUT, "BATCH1")
    assert [sent[:2] for sent in double.sent] == [("GET", "/v1/payments/payouts-item/ITEM1")]


async def test_other_events_are_information(hooks: PayPalWebhooks, double: PayPalDouble) -> None:
    """Events that are not about items are taken, and nothing is asked."""
    body = b'{"id": "WH-2", "event_type": "PAYMENT.PAYOUTSBATCH.SUCCESS", "resource": {}}'
    message = await hooks.read(body, double.signed(body), NOW)
    assert (message.kind, message.payment, double.sent) == ("PAYMENT.PAYOUTSBATCH.SUCCESS", None, [])


async def test_a_body_under_an_equal_crc_brings_nothing(hooks: PayPalWebhooks, double: PayPalDouble) -> None:
    """A forged body of the same CRC-32 passes the signature, and is undone by asking PayPal for the item."""
    real = double.event("HELD", "ITEM1")
    captured = double.signed(real)
    kind = "PAYMENT.PAYOUTS-ITEM.SUCCEEDED"
    nobody = forged({"id": "WH-9", "event_type": kind, "resource": {"payout_item_id": "ITEM9"}}, crc32(real))
    assert crc32(nobody) == crc32(real)
    assert await refused(hooks, nobody, captured) == "no_such_item"
    lie = {"payout_item_id": "ITEM1", "payout_batch_id": "BATCH9", "transaction_status": "SUCCESS"}
    lie |= {"payout_item": {"sender_item_id": "po_fedcba9876543210"}}
    liar = forged({"id": "WH-9", "event_type": kind, "resource": lie}, crc32(real))
    assert (await hooks.read(liar, captured, NOW)).payment == Hint("paypal", "WH-9", PAYOUT, "BATCH1")


async def test_a_forged_message_is_refused(hooks: PayPalWebhooks, double: PayPalDouble) -> None:
    """Another body, another webhook, no signature, a certificate from elsewhere: all are refused."""
    body = double.event("SUCCEEDED", "ITEM1")
    right = double.signed(body)
    assert await refused(hooks, body + b" ", right) == "bad_signature"
    assert await refused(hooks, body, double.signed(body, webhook_id="WH-OTHER")) == "bad_signature"
    assert await refused(hooks, body, {}) == "bad_signature"
    for name, value in (
        ("transmission-sig", ""), ("transmission-sig", "not base64"), ("transmission-sig", "AAAA"),
        ("transmission-id", "other"), ("auth-algo", "none"), ("transmission-time", "yesterday"),
        ("transmission-time", "2026-11-22T12:00:00"), ("cert-url", "https://evil.test/v1/notifications/certs/CERT-1"),
        ("cert-url", f"{double.url}/v1/notifications/certs/../../oauth2/token"),
        ("cert-url", f"{double.url}.evil.test/v1/notifications/certs/CERT-1"), ("cert-url", ""),
    ):  # fmt: skip
        assert await refused(hooks, body, right | {f"paypal-{name}": value}) == "bad_signature", (name, value)
    assert double.sent == []


async def test_a_replayed_message_is_refused(hooks: PayPalWebhooks, double: PayPalDouble) -> None:
    """A message older than PayPal repeats one, or from the future, is refused; a repeated one has the same event id."""
    body = double.event("SUCCEEDED", "ITEM1")
    for passed in (timedelta(days=-4), timedelta(minutes=6)):
        assert await refused(hooks, body, double.signed(body, NOW + passed)) == "not_now"
    repeated = [await hooks.read(body, double.signed(body, NOW - timedelta(days=n)), NOW) for n in (0, 2)]
    assert repeated[0] == repeated[1]


async def test_a_certificate_has_its_time(hooks: PayPalWebhooks, double: PayPalDouble) -> None:
    """A certificate that is not valid now signs nothing."""
    late = datetime(2028, 1, 1, tzinfo=UTC)
    body = double.event("SUCCEEDED", "ITEM1")
    assert await refused(hooks, body, double.signed(body, late), late) == "bad_signature"


async def test_what_is_not_readable_is_refused(hooks: PayPalWebhooks, double: PayPalDouble) -> None:
    """What is not UTF-8, not JSON or not an event is refused, signed or not."""
    for body in (b'{"id": "\xff"}', b"", b"[]", b"null", b'{"id": "WH-1", "event_type": "PAYMENT.PAYOUTS-ITEM.HELD"}'):
        assert await refused(hooks, body, double.signed(body)) == "unreadable"
    assert await refused(hooks, b" " * 300_000, {}) == "too_large"


async def test_without_an_answer_nothing_is_taken(hooks: PayPalWebhooks, double: PayPalDouble) -> None:
    """Where PayPal cannot be asked the message is not taken, so that it comes again."""
    body = double.event("SUCCEEDED", "ITEM1")
    for name in (
        "500",
        "time-out",
        "200 in HTML",
        "429",
        "cut body",
        "200 that is something else",
        "200 that is a list",
    ):
        double.faults.append(FAULTS[name])
        with pytest.raises(RetryableError):
            await hooks.read(body, double.signed(body), NOW)
