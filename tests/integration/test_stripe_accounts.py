"""Connected accounts and Stripe's webhooks, against the double."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from consumers.rails.messages import BODY_BYTES_MAX
from consumers.rails.stripe import close, stripe_client
from consumers.rails.stripe_accounts import Standing, StripeAccounts
from consumers.rails.stripe_webhooks import StripeWebhooks
from ledger.payout_store import Hint
from schemas.errors import RejectedError, RetryableError
from tests.support.doubles.faults import FAULTS
from tests.support.doubles.stripe import KEY, WEBHOOK_SECRET, StripeDouble, stripe_double

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PAYOUT = "po_0123456789abcdef"
TRANSFER = {"id": "tr_1", "object": "transfer", "metadata": {"payout_id": PAYOUT}}
URLS = {"return_url": "https://example.com/back", "refresh_url": "https://example.com/again"}


@pytest.fixture
async def double():
    """Yield Stripe on the loopback."""
    async with stripe_double() as found:
        yield found


@pytest.fixture
async def accounts(double):
    """Yield what opens accounts there."""
    client = stripe_client(KEY, base=double.url, timeout_s=1.0)
    yield StripeAccounts(client, timeout_s=0.3)
    await close(client)


async def test_an_account_is_opened_once(accounts: StripeAccounts, double: StripeDouble) -> None:
    """The same partner is the same account: the key is the partner's id."""
    first = await accounts.create("p_ada", "ada@example.com")
    assert await accounts.create("p_ada", "ada@example.com") == first
    assert list(double.accounts) == [first]
    assert {sent.key for sent in double.sent} == {"acct-p_ada"}


async def test_only_the_capability_proves_that_an_account_can_be_paid(
    accounts: StripeAccounts, double: StripeDouble
) -> None:
    """A partner who came back from the link is not payable before Stripe says `active` of the account itself."""
    account = await accounts.create("p_ada")
    link = await accounts.link(account, key="link-1", **URLS)
    assert account in link
    assert await accounts.standing(account) == Standing(account, False, "inactive", "requirements.past_due")
    double.account(account)
    assert await accounts.standing(account) == Standing(account, True, "active", None)


async def test_each_link_is_new(accounts: StripeAccounts) -> None:
    """A link works once, so each call has a key of its own and gives a new one."""
    account = await accounts.create("p_ada")
    first, second = [await accounts.link(account, key=key, **URLS) for key in ("link-1", "link-2")]
    assert first != second


async def test_an_account_that_is_not_there_is_refused(accounts: StripeAccounts) -> None:
    """An account that Stripe does not know is a refusal, not a reason to try again."""
    for ask in (accounts.standing("acct_gone"), accounts.link("acct_gone", key="k", **URLS)):
        with pytest.raises(RejectedError):
            await ask


@pytest.mark.parametrize("name", sorted(set(FAULTS) - {"400 with an unknown code"}))
async def test_no_definite_answer_is_retryable(accounts: StripeAccounts, double: StripeDouble, name: str) -> None:
    """Where Stripe gives no definite answer the call may be made again, and makes no second account."""
    double.faults.append(replace(FAULTS[name]))
    with pytest.raises(RetryableError):
        await accounts.create("p_ada")
    await accounts.create("p_ada")
    assert len(double.accounts) == 1


# --- webhooks ---


@pytest.fixture
def stripe_now():
    """Return Stripe, which does not listen, to make messages."""
    return StripeDouble(now=NOW)


def test_a_message_about_a_transfer_is_a_hint(stripe_now: StripeDouble) -> None:
    """Events of transfers say which payout to look at, and nothing else."""
    for kind in ("transfer.created", "transfer.updated", "transfer.reversed"):
        body = stripe_now.event(kind, TRANSFER, "evt_x")
        told = StripeWebhooks([WEBHOOK_SECRET]).read(body, stripe_now.signed(body), NOW)
        assert told.payment == Hint("stripe", "evt_x", PAYOUT, "tr_1")
    foreign = stripe_now.event("transfer.created", TRANSFER | {"metadata": {"payout_id": "po_1'; DROP"}})
    told = StripeWebhooks([WEBHOOK_SECRET]).read(foreign, stripe_now.signed(foreign), NOW)
    assert told.payment is not None
    assert told.payment.payout_id is None


def test_a_message_about_an_account_names_it(stripe_now: StripeDouble) -> None:
    """Events of accounts and capabilities name the account; a partner's own withdrawal is information only."""
    hooks = StripeWebhooks([WEBHOOK_SECRET])
    for kind, told, account in (
        ("account.updated", {"id": "acct_1"}, "acct_1"),
        ("capability.updated", {"id": "transfers", "account": "acct_1"}, "acct_1"),
        ("payout.failed", {"id": "po_1"}, None),
    ):
        body = stripe_now.event(kind, told)
        message = hooks.read(body, stripe_now.signed(body), NOW)
        assert (message.kind, message.account_id, message.payment) == (kind, account, None)


def refused(body: bytes, signature: str | None, secrets: tuple[str, ...] = (WEBHOOK_SECRET,)) -> str:
    """Return the code with which the message is refused."""
    with pytest.raises(RejectedError) as caught:
        StripeWebhooks(secrets).read(body, signature, NOW)
    return caught.value.code


def test_a_forged_message_is_refused(stripe_now: StripeDouble) -> None:
    """Another secret, another body, no signature, a broken one, no secret of ours: all are refused."""
    body = stripe_now.event("transfer.created", TRANSFER)
    right = stripe_now.signed(body)
    assert refused(body, stripe_now.signed(body, secret="whsec_x")) == "bad_signature"  # noqa: S106 - of nobody
    assert refused(body + b" ", right) == "bad_signature"
    assert refused(body, right.replace("v1=", "v0=")) == "bad_signature"
    assert refused(body, right, secrets=()) == "bad_signature"
    stamp = int(NOW.timestamp())
    for broken in (None, "", "t=", "t=1", "v1=x", "t=x,v1=y", f"t={stamp}", f"t={stamp},v1=", f"t={'9' * 40},v1=x"):
        assert refused(body, broken) == "bad_signature"


def test_a_replayed_message_is_refused(stripe_now: StripeDouble) -> None:
    """A message signed more than five minutes ago is refused, and so is one from the future, which the SDK takes."""
    body = stripe_now.event("transfer.created", TRANSFER)
    for minutes in (-6, 6, 60 * 24 * 365):
        assert refused(body, stripe_now.signed(body, NOW + timedelta(minutes=minutes))) == "not_now"
    assert StripeWebhooks([WEBHOOK_SECRET]).read(body, stripe_now.signed(body, NOW - timedelta(minutes=4)), NOW)


def test_what_is_not_readable_is_refused(stripe_now: StripeDouble) -> None:
    """What is not UTF-8, not JSON, not an event or too large is refused, signed or not."""
    assert refused(b'{"id": "\xff"}', f"t={int(NOW.timestamp())},v1=00") == "unreadable"
    for body in (b"", b"[]", b"{}", b"null", b"[" * 100_000, b'{"id": 1}', b'{"id": "e", "type": "transfer.created"}'):
        assert refused(body, stripe_now.signed(body)) == "unreadable"
    assert refused(b" " * (BODY_BYTES_MAX + 1), "t=1,v1=x") == "too_large"
    spaced = json.dumps({"id": "evt 1", "type": "x", "data": {"object": {}}}).encode()
    assert refused(spaced, stripe_now.signed(spaced)) == "unreadable"


def test_two_secrets_are_valid_while_one_is_replaced(stripe_now: StripeDouble) -> None:
    """While a secret is replaced, messages signed with either are taken."""
    body = stripe_now.event("transfer.created", TRANSFER)
    for secret in ("whsec_new", "whsec_old"):
        assert StripeWebhooks(["whsec_new", "whsec_old"]).read(body, stripe_now.signed(body, secret=secret), NOW)
