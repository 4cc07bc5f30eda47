"""The doubles as developers and new users run them: steered over HTTP, telling by webhook what happens."""

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest

from consumers.rails.stripe import API_VERSION
from consumers.rails.stripe_webhooks import StripeWebhooks
from schemas.errors import RejectedError
from tests.support.doubles.control import HELP, application
from tests.support.doubles.faults import FAULTS
from tests.support.doubles.paypal import CLIENT_ID, CLIENT_SECRET
from tests.support.doubles.serving import listening
from tests.support.doubles.street import street
from tests.support.doubles.stripe import KEY, WEBHOOK_SECRET
from tests.support.receivers import receiving
from tests.support.waiting import until

PAYOUT = "po_0123456789abcdef"
BODY = f"amount=1250&currency=eur&destination=acct_ada&metadata[payout_id]={PAYOUT}&transfer_group=payout_{PAYOUT}"
HEADERS = {"Authorization": f"Bearer {KEY}", "Stripe-Version": API_VERSION, "Idempotency-Key": "payout-1"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Steered:
    """The doubles, and what a story does with them."""

    def __init__(self, found, session):
        self.street, self._session = found, session

    async def get(self, path):
        """Return what the control says."""
        async with self._session.get(path) as answer:
            return await answer.json()

    async def post(self, path, told=None, status=200):
        """Return what the control says to this."""
        async with self._session.post(path, data=json.dumps(told or {})) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def pay(self):
        """Ask Stripe for a transfer; return the status."""
        url = f"{self.street.stripe.double.url}/v1/transfers"
        async with self._session.post(url, data=BODY, headers=HEADERS | FORM) as answer:
            return answer.status

    async def pay_by_paypal(self):
        """Ask PayPal for a payout; return the status."""
        url = self.street.paypal.double.url
        headers = {"Authorization": aiohttp.encode_basic_auth(CLIENT_ID, CLIENT_SECRET)}
        told = "grant_type=client_credentials"
        async with self._session.post(f"{url}/v1/oauth2/token", data=told, headers=headers | FORM) as got:
            token = (await got.json())["access_token"]
        item = {"recipient_type": "EMAIL", "amount": {"value": "12.50", "currency": "EUR"}, "receiver": "a@b.example"}
        told = {"sender_batch_header": {"sender_batch_id": "k"}, "items": [item | {"sender_item_id": PAYOUT}]}
        headers = {"Authorization": f"Bearer {token}"}
        async with self._session.post(f"{url}/v1/payments/payouts", json=told, headers=headers) as answer:
            return answer.status


@pytest.fixture
async def steered():
    """Yield the doubles, running."""
    async with _steered() as found:
        yield found


@asynccontextmanager
async def _steered():
    async with street() as found, listening(application(found)) as control, aiohttp.ClientSession(control) as session:
        yield Steered(found, session)


async def test_a_story_is_told_with_them(steered):
    """An account is made payable, a fault made, something paid, taken back and denied, and what was paid is shown."""
    await steered.post("/stripe/accounts/acct_ada")
    await steered.post("/stripe/faults", {"kind": "500 before"})
    assert [await steered.pay(), await steered.pay()] == [500, 200]
    await steered.post("/stripe/transfers/tr_1/reverse", {"amount": 250})
    assert await steered.pay_by_paypal() == 201
    await steered.post(f"/paypal/items/{PAYOUT}", {"status": "SUCCESS"})
    by_stripe, by_paypal = await steered.get("/paid")
    assert (by_stripe["payout_id"], by_stripe["amount_minor"], by_stripe["returned_minor"]) == (PAYOUT, 1250, 250)
    assert (by_paypal["payee"], by_paypal["status"], by_paypal["live"]) == ("a@b.example", "SUCCESS", True)
    counts = await steered.get("/counts")
    assert counts["stripe"]["fault: 500 before"] == counts["paypal"]["POST came in"] == 1


async def test_what_happens_is_told_as_often_as_is_wanted(steered):
    """Each transfer and each change of it is told twice, signed now; one signed long ago is refused."""
    hooks = StripeWebhooks([WEBHOOK_SECRET])
    async with receiving() as told:
        told.answer = 200
        await steered.post("/stripe/webhooks", {"to": told.url, "times": 2})
        await steered.post("/stripe/accounts/acct_ada")
        await steered.pay()
        await steered.post("/stripe/transfers/tr_1/reverse")
        await until(lambda: len(told.got) == 4, "everything being told twice")
        assert await steered.post("/stripe/webhooks") == {}
        late = {"to": told.url, "about": PAYOUT, "kind": "transfer.updated", "late_s": 600}
        assert (await steered.post("/stripe/message", late))["statuses"] == [200]
    kinds = []
    for each in told.got[:4]:
        message = hooks.read(each.body, each.headers["stripe-signature"], datetime.now(UTC))
        assert message.payment.payout_id == PAYOUT
        kinds.append(message.kind)
    assert sorted(kinds) == ["transfer.created"] * 2 + ["transfer.reversed"] * 2
    with pytest.raises(RejectedError, match="too long ago"):
        hooks.read(told.got[4].body, told.got[4].headers["stripe-signature"], datetime.now(UTC))


async def test_whoever_asks_for_what_there_is_not_is_told_so(steered):
    """A kind of fault, a provider or an item that there is not is 400, and changes nothing."""
    for path, told in (
        ("/stripe/faults", {"kind": "earthquake"}), ("/square/faults", {"kind": "500"}),
        ("/paypal/items/ITEM9", {"status": "SUCCESS"}), ("/stripe/message", {"about": "tr_9", "kind": "x", "to": ""}),
        ("/stripe/webhooks", {"to": "x", "colour": "red"}),
    ):  # fmt: skip
        assert "GET /" in (await steered.post(path, told, status=400))["help"], path
    assert await steered.get("/stripe/faults") == sorted(FAULTS)
    assert "POST /stripe/faults" in HELP
