"""What becomes of a payment is learned by looking, by webhooks, or by both: first, late, twice or never."""

from collections.abc import Callable
from datetime import timedelta
from itertools import permutations

import pytest

from consumers.rails.paypal_webhooks import PayPalWebhooks
from consumers.rails.stripe_webhooks import StripeWebhooks
from tests.support.doubles.paypal import WEBHOOK_ID
from tests.support.doubles.stripe import WEBHOOK_SECRET
from tests.support.payout_office import Office, town

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
async def office(database_url):
    """Yield an office with both providers."""
    async with town(database_url) as found:
        yield found


class Followed:
    """A payout that was sent, what happens to it at its provider, and the two ways to learn of it."""

    def __init__(self, office: Office, rail: str):
        self.office, self.rail = office, rail

    async def send(self):
        """Send a payout."""
        self.office.earn("ada")
        self.id = (await self.office.pay("run", {"ada": self.rail}))["ada"]

    def happen(self):
        """Let the payment go out, or come back where it is out by being there."""
        if self.rail == "paypal":
            self.office.paypal.move("ITEM1", "SUCCESS")
        else:
            self.office.stripe.reverse("tr_1", 400)

    async def poll(self):
        """Look, a day later: the poller is due long before."""
        await self.office.work(DAY)

    async def hear(self, event_id="evt_1"):
        """Take a webhook, by the reader of the rail, into the inbox."""
        office, now = self.office, self.office.clock.now
        if self.rail == "stripe":
            body = office.stripe.event("transfer.reversed", office.stripe.transfers[0], event_id)
            message = StripeWebhooks([WEBHOOK_SECRET]).read(body, office.stripe.signed(body), now)
        else:
            body = office.paypal.event("SUCCEEDED", "ITEM1", event_id)
            rail = office.paying.rails.rails["paypal"]._rail
            place = f"{office.paypal.url}/v1/notifications/certs/"
            reader = PayPalWebhooks(rail._client, WEBHOOK_ID, certificates=[place])
            message = await reader.read(body, office.paypal.signed(body), now)
        await office.worker.take_hint(message.payment)
        await office.work()

    @property
    def settled(self):
        """What the books say of it: the state, and what came back."""
        payout = self.office.payout(self.id)
        return payout.state, payout.returned_minor


EXPECTED = {"stripe": ("returned", 400), "paypal": ("processed", 0)}


@pytest.fixture(params=["stripe", "paypal"])
async def followed(request, office):
    """Yield a payout that was sent by each of the two."""
    found = Followed(office, request.param)
    await found.send()
    return found


async def test_by_looking_alone(followed: Followed) -> None:
    """Where no webhook ever comes the poller learns it, and looks in vain before."""
    before = followed.settled
    await followed.poll()
    assert followed.settled == before
    followed.happen()
    await followed.poll()
    assert followed.settled == EXPECTED[followed.rail]


async def test_by_a_webhook_alone(followed: Followed) -> None:
    """A webhook is enough, at once, before anybody looks."""
    followed.happen()
    await followed.hear()
    assert followed.settled == EXPECTED[followed.rail]


@pytest.mark.parametrize("order", [*permutations(["poll", "hear", "hear_late"]), ("hear", "hear", "poll")])
async def test_in_any_order(followed: Followed, order: tuple[str, ...]) -> None:
    """Looking and webhooks, doubled and late, in any order: the money is moved once, and the books say the same."""
    each, office = followed, followed.office
    acts: dict[str, Callable[[Followed], object]] = {
        "poll": lambda each: each.poll(), "hear": lambda each: each.hear(),
        "hear_late": lambda each: each.hear("evt_2"),
    }  # fmt: skip
    each.happen()
    for name in order:
        await acts[name](each)
    assert each.settled == EXPECTED[each.rail]
    topics = [type(event.event).__name__ for event in office.ledger.stream(f"payout/acme/{each.id}")]
    returned = int(each.rail == "stripe")
    assert (topics.count("PayoutReturned"), topics.count("PayoutProcessed")) == (returned, 1)


async def test_what_partners_see_is_paypals_transaction(office: Office) -> None:
    """The number of a payment by PayPal is that of its transaction, and it is still looked up by its batch."""
    followed = Followed(office, "paypal")
    await followed.send()
    assert office.payout(followed.id).paid_under is None
    followed.happen()
    await followed.poll()
    payout = office.payout(followed.id)
    assert (payout.paid_under, payout.transaction_id, payout.reference) == ("TXITEM1", "TXITEM1", "BATCH1")
    office.paypal.move("ITEM1", "REVERSED")
    await followed.poll()
    assert followed.settled == ("returned", 1_000)
    with office.ledger.connection() as conn:
        paid = conn.execute(
            "SELECT state ->> 'reference' AS reference FROM ledger.events WHERE topic = 'CommissionPaid'"
        ).fetchall()
    assert [row["reference"] for row in paid] == ["TXITEM1"]
    assert office.verified() == []
