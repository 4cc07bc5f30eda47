"""Limits and switches of rails, on PostgreSQL; which rails there are; and the rail on which nothing is sent."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import pytest

from consumers.rails import Accepted, Attempt, Found, Instruction, Missing, Payee, Unknown
from consumers.rails.chosen import Rails, Standing
from consumers.rails.limited import LimitedRail
from consumers.rails.manual import ManualRail, check_confirmation
from ledger.application import Ledger
from ledger.bank_orders import BankOrders
from ledger.payout_spending import ALL, Limits, SqlSpending
from ledger.sealing import KeyRing
from schemas.errors import RejectedError, RetryableError
from schemas.payout_settings import PayoutSettings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LIMITS = Limits(payout={"EUR": 500}, partner_day={"EUR": 800}, day={"EUR": 1_000})


class Counting:
    """A rail that pays everything and counts."""

    name = "stripe"
    window = timedelta(hours=23)

    def __init__(self):
        self.sent = []

    def refusal(self, instruction, now):
        """Return None."""

    def compose(self, _):
        """Return a body."""
        return b"body"

    async def submit(self, attempt):
        """Count it."""
        self.sent.append(attempt.instruction.payout_id)
        return Accepted(await self.state("tr_1"))

    async def look_up(self, _):
        """Return nothing."""
        return Missing()

    async def state(self, reference):
        """Return a payment."""
        return Found("processed", reference, 1, "EUR")


@pytest.fixture
def spending(database_url):
    """Yield the spending of a database of its own."""
    ledger = Ledger(database_url, hash_key=b"k" * 32)
    yield SqlSpending(ledger)
    ledger.close()


@pytest.fixture
def limited(spending):
    """Return a rail within limits."""
    return LimitedRail(Counting(), spending, LIMITS)


def attempt(payout, amount_minor, *, partner="p_ada", currency="EUR", now=NOW):
    """Return an attempt."""
    payout_id = f"po_{payout:016x}"
    key = f"payout-{payout_id}-1"
    told = Instruction("acme", payout_id, partner, 1, key, amount_minor, currency, Payee("acct_1"))
    return Attempt(told, b"body", "", now, now + timedelta(hours=23))


async def refused(limited, *args, now=NOW, **more):
    """Return why neither an attempt may begin nor be sent, None where both may."""
    told = attempt(*args, now=now, **more)
    await limited.refresh(now)
    reason = limited.refusal(told.instruction, now)
    made = await limited.submit(told)
    assert reason == (made.reason if isinstance(made, Unknown) else None)
    return reason


async def test_limits_hold(limited: LimitedRail) -> None:
    """Per payout, per partner and day, and per day: what is over a limit does not begin and is not sent."""
    assert await refused(limited, 1, 501) == "over_payout_limit"
    assert await refused(limited, 2, 500) is None
    assert await refused(limited, 3, 301) == "over_partner_day_limit"
    assert await refused(limited, 4, 300) is None
    assert await refused(limited, 5, 201, partner="p_bob") == "over_day_limit"
    assert await refused(limited, 6, 200, partner="p_bob") is None
    assert await refused(limited, 7, 1, partner="p_eve") == "over_day_limit"
    assert await refused(limited, 8, 10**9, currency="USD") is None
    assert len(limited._rail.sent) == 4


async def test_a_limit_of_nothing_lets_nothing_through(spending: SqlSpending) -> None:
    """A limit of 0 stops the currency."""
    limited = LimitedRail(Counting(), spending, Limits(payout={"EUR": 0}))
    assert await refused(limited, 1, 1) == "over_payout_limit"


async def test_a_day_ends(limited: LimitedRail) -> None:
    """The next day (UTC) begins with nothing."""
    assert await refused(limited, 1, 500) is None
    assert await refused(limited, 2, 400) == "over_partner_day_limit"
    assert await refused(limited, 2, 400, now=NOW + timedelta(hours=12)) is None


async def test_the_same_payout_counts_once(limited: LimitedRail) -> None:
    """Sending the same again counts nothing, and is not stopped by what it counted itself, on the next day either."""
    for _ in range(3):
        assert await refused(limited, 1, 500) is None
    assert await refused(limited, 2, 300) is None
    assert isinstance(await limited.submit(attempt(1, 500, now=NOW + timedelta(days=1))), Accepted)
    assert await refused(limited, 3, 500, now=NOW + timedelta(days=1)) is None


async def test_workers_share_a_limit(spending: SqlSpending) -> None:
    """Of two workers that know nothing of each other only as much goes out as may."""
    workers = [LimitedRail(Counting(), spending, LIMITS) for _ in range(2)]
    made = await asyncio.gather(
        *(workers[n % 2].submit(attempt(n, 300, partner=f"p_{n}")) for n in range(10))
    )  # fmt: skip
    assert sum(isinstance(each, Accepted) for each in made) == 3
    assert sum(len(each._rail.sent) for each in workers) == 3


async def test_a_switch_stops_every_worker(spending: SqlSpending) -> None:
    """A rail that is switched off sends nothing in any worker, whatever it knew; what was sent is still followed."""
    limited = LimitedRail(Counting(), spending, Limits())
    await limited.refresh(NOW)
    for rail in ("stripe", ALL):
        spending.switch_off(rail, reason="restored from a backup", by="user/u_grace", now=NOW)
        assert await limited.submit(attempt(1, 1)) == Unknown("off")
        assert limited.refusal(attempt(1, 1).instruction, NOW) == "off"
        assert isinstance(await limited.state("tr_1"), Found)
        assert spending.switch_on(rail)
        assert not spending.switch_on(rail)
        assert await refused(limited, 1, 1) is None
    spending.switch_off("paypal", reason="other", by="user/u_grace", now=NOW)
    assert await refused(limited, 2, 1) is None


async def test_a_switch_of_the_process_stops_it(spending: SqlSpending) -> None:
    """The switch of the environment stops this process without asking anybody."""
    limited = LimitedRail(Counting(), spending, Limits(), off=True)
    assert limited.refusal(attempt(1, 1).instruction, NOW) == "off"
    assert await limited.submit(attempt(1, 1)) == Unknown("off")


async def test_what_cannot_be_counted_is_not_sent(monkeypatch: pytest.MonkeyPatch, limited: LimitedRail) -> None:
    """Where the database does not answer nothing is sent."""

    def away(*_):
        raise RetryableError

    monkeypatch.setattr(limited._spending, "begin", away)
    assert isinstance(await limited.submit(attempt(1, 1)), Unknown)
    assert limited._rail.sent == []


# --- which rails there are ---


async def test_a_rail_without_keys_says_so(spending: SqlSpending) -> None:
    """Without keys there is the manual rail alone, and each other one says what it lacks."""
    async with Rails(PayoutSettings(), spending, None) as rails:
        assert rails.usable() == {"manual"}
        assert rails.standings() == [
            Standing("stripe", False, ("STRIPE_API_KEY",)),
            Standing("paypal", False, ("PAYPAL_CLIENT_ID", "PAYPAL_CLIENT_SECRET")),
            Standing("bank", False, ("BANK_DEBTOR_NAME", "BANK_DEBTOR_IBAN", "PAYOUT_DETAILS_KEYS")),
            Standing("manual", True),
        ]


async def test_rails_with_keys_can_be_chosen(spending: SqlSpending) -> None:
    """With its keys a rail can be chosen, unless it is switched off."""
    key = base64.b64encode(b"s" * 32).decode()
    settings = PayoutSettings(
        stripe_api_key="sk_test_x", stripe_webhook_secrets="whsec_x", paypal_client_id="x",
        paypal_client_secret="x", paypal_webhook_id="WH-1",  # noqa: S106 - of nobody
        bank_debtor_name="Acme GmbH", bank_debtor_iban="DE89370400440532013000",
        payout_details_keys=f"k1:{key}", paypal_off=True, stripe_day_max={"EUR": "5.00"},
    )  # fmt: skip
    orders = BankOrders(spending._ledger, KeyRing([("k1", b"s" * 32)]))
    async with Rails(settings, spending, orders) as rails:
        assert rails.usable() == {"stripe", "bank", "manual"}
        assert set(rails.rails) == {"stripe", "paypal", "bank", "manual"}
        assert rails.rails["paypal"].refusal(attempt(1, 1).instruction, NOW) == "off"
        assert rails.rails["stripe"].refusal(attempt(1, 501).instruction, NOW) == "over_day_limit"
        assert None not in (rails.stripe_accounts, rails.stripe_webhooks, rails.paypal_webhooks, rails.bank_batches)


async def test_an_account_that_is_none_is_refused_at_the_start(spending: SqlSpending) -> None:
    """The account that pays by bank transfer is checked before anything else is done."""
    with pytest.raises(RejectedError, match="IBAN"):
        Rails(PayoutSettings(bank_debtor_name="Acme", bank_debtor_iban="DE00"), spending, None)


# --- by hand ---


async def test_by_hand_nothing_is_sent() -> None:
    """On the manual rail no attempt begins, and nothing is sent or found."""
    rail = ManualRail()
    assert rail.refusal(attempt(1, 1).instruction, NOW) == "by_hand"
    with pytest.raises(RejectedError):
        rail.compose(attempt(1, 1).instruction)
    assert await rail.submit(attempt(1, 1)) == Unknown("by_hand", "review")
    assert await rail.look_up(attempt(1, 1)) == await rail.state("x") == Missing()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"transaction_id": ""}, "bad_transaction_id"), ({"transaction_id": " x"}, "bad_transaction_id"),
        ({"transaction_id": "x\n"}, "bad_transaction_id"), ({"transaction_id": "a\x00b"}, "bad_transaction_id"),
        ({"transaction_id": "x" * 129}, "bad_transaction_id"), ({"method": "Cash"}, "bad_method"),
        ({"method": ""}, "bad_method"), ({"paid_at": NOW + timedelta(minutes=6)}, "paid_in_the_future"),
        ({"paid_at": datetime(2026, 11, 22)}, "no_time_zone"),  # noqa: DTZ001 - that is what is refused
    ],
)  # fmt: skip
def test_a_confirmation_that_cannot_be_is_refused(changed: dict[str, object], code: str) -> None:
    """A confirmation without a transaction id, of an unspeakable method, or from the future is refused."""
    told = {"method": "cash", "transaction_id": "R 2026/11-1", "paid_at": NOW}
    check_confirmation(**told, now=NOW)
    check_confirmation(**told | {"transaction_id": "x"}, now=NOW)
    with pytest.raises(RejectedError) as caught:
        check_confirmation(**told | changed, now=NOW)
    assert caught.value.code == code
