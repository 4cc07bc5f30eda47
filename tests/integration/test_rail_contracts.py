"""What the rails rely on at their providers: of the doubles always, of the sandboxes where there are keys for them.

`STRIPE_SANDBOX_KEY` with `STRIPE_SANDBOX_ACCOUNT` (a connected account that can be paid, US dollars in the balance);
`PAYPAL_SANDBOX_CLIENT_ID` with `PAYPAL_SANDBOX_CLIENT_SECRET` and `PAYPAL_SANDBOX_RECEIVER`.
"""

import os
import secrets
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from consumers.rails import Accepted, Attempt, Found, Instruction, Missing, Payee, Rejected, Unknown
from consumers.rails.paypal import Credentials, PayPalClient, PayPalRail
from consumers.rails.stripe import StripeRail, close, stripe_client
from tests.support.doubles.paypal import CLIENT_ID, CLIENT_SECRET, paypal_double
from tests.support.doubles.stripe import KEY, stripe_double

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SANDBOX = "https://api-m.sandbox.paypal.com"


def of_environment(*names: str) -> list[str]:
    """Return what the variables hold; skips where one is not set."""
    values = [os.environ.get(name, "") for name in names]
    if not all(values):
        pytest.skip(f"needs {' and '.join(names)}")
    return values


@asynccontextmanager
async def stripe_at(key: str, base: str, account: str):
    """Yield the rail and whom it can pay."""
    client = stripe_client(key, base=base, timeout_s=30.0)
    yield StripeRail(client), account
    await close(client)


@asynccontextmanager
async def paypal_at(client_id: str, client_secret: str, base: str, receiver: str):
    """Yield the rail and whom it can pay."""
    async with PayPalClient(Credentials(client_id, client_secret, base)) as client:
        yield PayPalRail(client), receiver


@asynccontextmanager
async def place(name: str):
    """Yield the rail at the double or the sandbox of this name, and whom it can pay."""
    if name == "stripe double":
        async with stripe_double() as double, stripe_at(KEY, double.url, double.account("acct_ada")) as found:
            yield found
    elif name == "paypal double":
        async with paypal_double() as double, paypal_at(CLIENT_ID, CLIENT_SECRET, double.url, "a@b.example") as found:
            yield found
    elif name == "stripe sandbox":
        key, account = of_environment("STRIPE_SANDBOX_KEY", "STRIPE_SANDBOX_ACCOUNT")
        async with stripe_at(key, "https://api.stripe.com", account) as found:
            yield found
    else:
        names = ("PAYPAL_SANDBOX_CLIENT_ID", "PAYPAL_SANDBOX_CLIENT_SECRET", "PAYPAL_SANDBOX_RECEIVER")
        client_id, client_secret, receiver = of_environment(*names)
        async with paypal_at(client_id, client_secret, SANDBOX, receiver) as found:
            yield found


@pytest.fixture(params=["stripe double", "stripe sandbox", "paypal double", "paypal sandbox"])
async def rail(request):
    """Yield a rail and whom it can pay."""
    async with place(request.param) as found:
        yield found


def attempt(rail, payee, **changes):
    """Return an attempt of a new payout of one dollar: sandboxes remember."""
    payout_id = f"po_{secrets.token_hex(8)}"
    told = Instruction("acme", payout_id, "p_ada", 1, f"payout-{payout_id}-1", 100, "USD", Payee(payee))
    body = rail.compose(told._replace(**changes))
    return Attempt(told, body, sha256(body).hexdigest(), NOW, NOW + rail.window)


async def test_the_same_again_is_the_same_payment(rail) -> None:
    """The same key and body make one payment, which is shown by its reference with amount and currency."""
    rail, payee = rail
    told = attempt(rail, payee)
    first, second = await rail.submit(told), await rail.submit(told)
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert first.found.reference == second.found.reference
    shown = await rail.state(first.found.reference)
    assert isinstance(shown, Found)
    assert (shown.amount_minor, shown.currency) == (100, "USD")


async def test_what_is_not_there_is_missing(rail) -> None:
    """A payout that was never sent is missing, and so is a reference that there is not."""
    rail, payee = rail
    assert await rail.look_up(attempt(rail, payee)) == Missing()
    assert await rail.state("tr_1NotThereNotThere" if rail.name == "stripe" else "NOTTHERE00001") == Missing()


async def test_a_bad_payee_is_definite(rail) -> None:
    """A payee that the provider cannot pay is a definite rejection."""
    rail, payee = rail
    told = attempt(rail, payee)
    other = b"acct_1NotThereNotThere" if rail.name == "stripe" else b"not-an-address"
    assert isinstance(await rail.submit(told._replace(body=told.body.replace(payee.encode(), other))), Rejected)


async def test_another_body_under_a_key_is_never_paid(rail) -> None:
    """Another amount under a key that was used makes no payment: a person looks, or the first one is shown."""
    rail, payee = rail
    told = attempt(rail, payee)
    first = await rail.submit(told)
    other = await rail.submit(told._replace(body=rail.compose(told.instruction._replace(amount_minor=200))))
    if isinstance(other, Unknown):
        assert other.then == "review"
    else:
        assert (other.found.reference, other.found.amount_minor) == (first.found.reference, 100)
