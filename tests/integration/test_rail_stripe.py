"""The rail `stripe`: the real SDK, over HTTP, against a double that checks by the SDK's own types."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
import stripe
from stripe._api_version import _ApiVersion

from consumers.rails import Accepted, Attempt, Found, Instruction, Missing, Payee, Rejected, Several, Unknown
from consumers.rails.stripe import API_VERSION, DEFINITE, StripeRail, close, from_stripe, stripe_client, to_stripe
from schemas.errors import RejectedError
from tests.support.doubles.faults import FAULTS, Fault
from tests.support.doubles.stripe import KEY, StripeDouble, stripe_double

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
async def double():
    """Yield Stripe on the loopback, with one account that can be paid."""
    async with stripe_double() as found:
        found.account("acct_ada")
        yield found


@pytest.fixture
async def rail(double):
    """Yield the rail, which gives up soon."""
    client = stripe_client(KEY, base=double.url, timeout_s=1.0)
    yield StripeRail(client, timeout_s=1.0)
    await close(client)


def instruction(number=1, *, amount_minor=1250, currency="EUR", account="acct_ada", payout_id="po_0123456789abcdef"):
    """Return what an attempt is to do."""
    key = f"payout-{payout_id}-{number}"
    return Instruction("acme", payout_id, "p_ada", number, key, amount_minor, currency, Payee(account))


def attempt(rail, told=None):
    """Return an attempt as it would be written down."""
    told = told or instruction()
    body = rail.compose(told)
    return Attempt(told, body, sha256(body).hexdigest(), NOW, NOW + rail.window)


async def test_a_payout_is_one_transfer(rail: StripeRail, double: StripeDouble) -> None:
    """A payout is one transfer with the amount, the account, its group and its metadata."""
    made = await rail.submit(attempt(rail))
    assert made == Accepted(Found("processed", "tr_1", 1250, "EUR", "acct_ada"))
    (transfer,) = double.transfers
    assert (transfer["transfer_group"], transfer["metadata"]) == (
        "payout_po_0123456789abcdef",
        {"attempt": "1", "merchant_id": "acme", "partner_id": "p_ada", "payout_id": "po_0123456789abcdef"},
    )


async def test_the_body_goes_out_as_it_was_written_down(rail: StripeRail, double: StripeDouble) -> None:
    """The bytes and the key of the request are those of the attempt, whatever the SDK would have made of them."""
    told = attempt(rail)
    # The same parameters in another order: the SDK would never write them so.
    body = b"&".join(reversed(told.body.split(b"&")))
    await rail.submit(told._replace(body=body))
    (sent,) = double.sent
    assert (sent.body, sent.key) == (body, "payout-po_0123456789abcdef-1")
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert sent.headers["Stripe-Version"] == API_VERSION == _ApiVersion.CURRENT
    assert "telemetry" not in str(sent.headers).lower()


async def test_the_same_key_and_body_pay_once(rail: StripeRail, double: StripeDouble) -> None:
    """The same attempt, sent again, is answered with the same transfer."""
    told = attempt(rail)
    assert await rail.submit(told) == await rail.submit(told)
    assert len(double.transfers) == 1


def test_a_body_is_the_same_for_ever() -> None:
    """The body is made of the instruction alone, byte for byte."""
    rail = StripeRail(stripe_client(KEY, base="http://127.0.0.1:1", timeout_s=1.0))
    body = b"amount=1250&currency=eur&destination=acct_ada&metadata[attempt]=1&metadata[merchant_id]=acme"
    body += b"&metadata[partner_id]=p_ada&metadata[payout_id]=po_0123456789abcdef"
    assert rail.compose(instruction()) == body + b"&transfer_group=payout_po_0123456789abcdef"


@pytest.mark.parametrize("name", sorted(FAULTS))
async def test_what_is_not_definite_is_unknown(rail: StripeRail, double: StripeDouble, name: str) -> None:
    """Whatever goes wrong on the way is unknown, never rejected, and the SDK sends nothing a second time."""
    double.faults.append(replace(FAULTS[name]))
    made = await rail.submit(attempt(rail))
    assert isinstance(made, Unknown)
    assert made.then == "again"
    assert len(double.sent) == 1


@pytest.mark.parametrize("name", sorted(FAULTS))
async def test_after_the_unknown_the_truth_is_found(rail: StripeRail, double: StripeDouble, name: str) -> None:
    """After any fault the look-up shows a transfer exactly where there is one, and the same again makes no second."""
    told = attempt(rail)
    double.faults.append(replace(FAULTS[name]))
    await rail.submit(told)
    shown = await rail.look_up(told)
    assert isinstance(shown, Found if FAULTS[name].when == "after" else Missing)
    assert isinstance(await rail.submit(told), Accepted)
    assert len(double.transfers) == 1


@pytest.mark.parametrize("name", sorted(FAULTS))
async def test_a_look_up_that_fails_is_unknown(rail: StripeRail, double: StripeDouble, name: str) -> None:
    """A look-up that goes wrong is unknown, never missing."""
    told = attempt(rail)
    for ask in (lambda: rail.look_up(told), lambda: rail.state("tr_1")):
        double.faults.append(replace(FAULTS[name], when="before") if FAULTS[name].kind != "cut" else FAULTS["500"])
        assert isinstance(await ask(), Unknown)


async def test_a_refused_connection_is_unknown(rail: StripeRail) -> None:
    """Nobody at the other end is unknown."""
    client = stripe_client(KEY, base="http://127.0.0.1:1", timeout_s=1.0)
    away = StripeRail(client)
    assert isinstance(await away.submit(attempt(rail)), Unknown)
    assert isinstance(await away.look_up(attempt(rail)), Unknown)
    await close(client)


async def test_a_cancelled_task_tells_nothing(rail: StripeRail, double: StripeDouble) -> None:
    """Whoever is cancelled in the middle of the call learns nothing, and the look-up finds what was done."""
    told = attempt(rail)
    double.faults.append(replace(FAULTS["time-out"]))
    task = asyncio.create_task(rail.submit(told))
    while not double.transfers:  # noqa: ASYNC110 - the double has no event to wait for
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(await rail.look_up(told), Found)


async def test_a_foreign_exception_is_unknown(rail: StripeRail, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody thought of is unknown."""

    async def explode(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(rail._client.v1.transfers, "create_async", explode)
    assert isinstance(await rail.submit(attempt(rail)), Unknown)


async def test_no_balance_is_definite(rail: StripeRail, double: StripeDouble) -> None:
    """Too little money with us is a definite rejection, and the key replays it."""
    double.balance["eur"] = 1
    told = attempt(rail)
    assert (await rail.submit(told)).code == "balance_insufficient"
    double.balance["eur"] = 10**9
    assert (await rail.submit(told)).code == "balance_insufficient"
    assert isinstance(await rail.submit(attempt(rail, instruction(2))), Accepted)


async def test_an_account_that_cannot_be_paid_is_definite(rail: StripeRail, double: StripeDouble) -> None:
    """An account without the capability, or that does not exist, is a definite rejection."""
    double.account("acct_new", "pending")
    unable = await rail.submit(attempt(rail, instruction(account="acct_new")))
    assert unable.code == "insufficient_capabilities_for_transfer"
    gone = await rail.submit(attempt(rail, instruction(2, account="acct_gone")))
    assert (gone.code, double.transfers) == ("resource_missing", [])


async def test_parameter_errors_are_definite(rail: StripeRail, double: StripeDouble) -> None:
    """A parameter that Stripe refuses is a definite rejection, with or without a code of its own."""
    huge = await rail.submit(attempt(rail, instruction(amount_minor=10**12)))
    assert huge == Rejected("amount_too_large", "double: amount_too_large amount")
    told = attempt(rail, instruction(2))
    nobody = await rail.submit(told._replace(body=told.body.replace(b"currency=eur", b"currency=EUR")))
    assert isinstance(nobody, Rejected)
    assert nobody.code == "parameter_invalid_currency"
    unknown = await rail.submit(attempt(rail, instruction(3))._replace(body=told.body + b"&amuont=1"))
    assert unknown.code == "parameter_unknown"
    assert double.transfers == []


@pytest.mark.parametrize(
    ("status", "code"), [(status, code) for status, codes in DEFINITE.items() for code in sorted(codes)]
)
async def test_the_closed_list_of_rejections(rail: StripeRail, double: StripeDouble, status: int, code: str) -> None:
    """Each code of the closed list is a rejection at its status, at no other, and not where Stripe asks for more."""
    body = b'{"error": {"type": "invalid_request_error", "message": "no", "code": "%s"}}' % code.encode()
    double.faults.append(Fault("answer", "before", status, body))
    assert await rail.submit(attempt(rail)) == Rejected(code, "no")
    for other in {400, 402, 404, 409, 500} - {status}:
        double.faults.append(Fault("answer", "before", other, body))
        assert isinstance(await rail.submit(attempt(rail)), Unknown)


async def test_a_parameter_without_a_code_is_definite_at_400_only(rail: StripeRail, double: StripeDouble) -> None:
    """An error that names a parameter and no code is a rejection with status 400, of a parameter that we send."""
    for status, param, kind in ((404, "currency", Unknown), (400, "colour", Unknown), (400, "currency", Rejected)):
        body = b'{"error": {"type": "invalid_request_error", "param": "%s"}}' % param.encode()
        double.faults.append(Fault("answer", "before", status, body))
        assert isinstance(await rail.submit(attempt(rail)), kind)


async def test_a_rejection_that_may_be_repeated_is_none(rail: StripeRail, double: StripeDouble) -> None:
    """Where Stripe's own header says that the same call may succeed, nothing is definite."""
    body = b'{"error": {"type": "invalid_request_error", "code": "balance_insufficient"}}'
    double.faults.append(Fault("answer", "before", 400, body, headers={"Stripe-Should-Retry": "true"}))
    assert isinstance(await rail.submit(attempt(rail)), Unknown)


async def test_another_body_under_the_key_is_our_bug(rail: StripeRail, double: StripeDouble) -> None:
    """Stripe's idempotency error goes to a person: it can only be a bug of ours."""
    await rail.submit(attempt(rail))
    other = await rail.submit(attempt(rail, instruction(amount_minor=1)))
    assert isinstance(other, Unknown)
    assert other.then == "review"
    assert len(double.transfers) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_bad_credentials_stop_the_rail(rail: StripeRail, double: StripeDouble, status: int) -> None:
    """A key that is not (or no longer) valid stops the rail, and fails no payout."""
    body = b'{"error": {"type": "invalid_request_error", "message": "no", "code": "resource_missing"}}'
    for ask in (rail.submit, rail.look_up):
        double.faults.append(Fault("answer", "before", status, body))
        told = await ask(attempt(rail))
        assert isinstance(told, Unknown)
        assert told.then == "stop"


async def test_a_key_ends_and_the_transfer_is_still_found(rail: StripeRail, double: StripeDouble) -> None:
    """After a day Stripe would pay the same key again, which is why we look first and never send after the window."""
    told = attempt(rail)
    await rail.submit(told)
    double.now += timedelta(hours=23, minutes=59)
    await rail.submit(told)
    assert len(double.transfers) == 1
    double.now += timedelta(minutes=2)
    assert isinstance(await rail.look_up(told), Found)
    await rail.submit(told)
    assert len(double.transfers) == 2
    assert await rail.look_up(told) == Several(("tr_1", "tr_2"))
    assert rail.window < timedelta(hours=24)


async def test_reversals_are_a_running_total(rail: StripeRail, double: StripeDouble) -> None:
    """What came back is told in all, and all of it is returned."""
    told = attempt(rail)
    await rail.submit(told)
    double.reverse("tr_1", 250)
    assert await rail.state("tr_1") == Found("processed", "tr_1", 1250, "EUR", "acct_ada", 250, "reversed")
    double.reverse("tr_1")
    assert await rail.look_up(told) == Found("returned", "tr_1", 1250, "EUR", "acct_ada", 1250, "reversed")


async def test_a_later_attempt_sees_what_an_earlier_one_sent(rail: StripeRail) -> None:
    """The group is that of the payout: the look-up of a second attempt shows the first one's transfer."""
    await rail.submit(attempt(rail))
    assert isinstance(await rail.look_up(attempt(rail, instruction(2))), Found)
    other = instruction(payout_id="po_fedcba9876543210")
    assert await rail.look_up(attempt(rail, other)) == Missing()
    assert await rail.state("tr_9") == Missing()


async def test_what_was_reversed_stands_in_no_later_attempts_way(rail: StripeRail, double: StripeDouble) -> None:
    """A first transfer that came back altogether is not the second attempt's, nor are the two several payments."""
    first, second = attempt(rail), attempt(rail, instruction(2))
    await rail.submit(first)
    double.reverse("tr_1", 1249)
    assert (await rail.look_up(second)).returned_minor == 1249
    double.reverse("tr_1")
    assert (await rail.look_up(first)).state == "returned"
    assert await rail.look_up(second) == Missing()
    await rail.submit(second)
    assert await rail.look_up(second) == Found("processed", "tr_2", 1250, "EUR", "acct_ada")
    double.reverse("tr_2")
    assert [(await rail.look_up(told)).reference for told in (first, second)] == ["tr_1", "tr_2"]


async def test_more_transfers_than_any_payout_has(rail: StripeRail, double: StripeDouble) -> None:
    """Where there are more transfers than are fetched at once, nobody says that the others are dead."""
    await rail.submit(attempt(rail))
    dead = double.reverse("tr_1")
    double.transfers += [dead | {"id": f"tr_{number}"} for number in range(2, 13)]
    assert isinstance(await rail.look_up(attempt(rail)), Several)


async def test_the_list_shows_what_we_do_not_know_of(rail: StripeRail, double: StripeDouble) -> None:
    """The list of a time has every transfer of it, page after page, also those that are of no payout of ours."""
    await rail.submit(attempt(rail))
    ours = double.transfers[0]
    foreign = [ours | {"id": f"tr_f{number}", "metadata": {"payout_id": "x"}} for number in range(250)]
    double.transfers += [*foreign, ours | {"id": "tr_old", "created": 1}, ours | {"id": "tr_bare", "metadata": {}}]
    listed = await rail.listed(NOW - timedelta(days=35), NOW + timedelta(seconds=1))
    assert len({each.found.reference for each in listed}) == len(listed) == 252
    (known,) = (each for each in listed if each.payout_id)
    assert (known.found.reference, known.merchant_id, known.partner_id) == ("tr_1", "acme", "p_ada")
    assert len(await rail.listed(NOW - timedelta(days=35), NOW)) == 0
    double.faults.extend([FAULTS["500"]])
    assert isinstance(await rail.listed(NOW, NOW + timedelta(days=1)), Unknown)


@pytest.mark.parametrize(
    ("minor", "currency", "amount"),
    [
        (1250, "EUR", 1250), (7, "JPY", 7), (500, "MGA", 5), (3, "ISK", 300), (1230, "KWD", 1230), (100, "HUF", 100),
    ],
)  # fmt: skip
def test_stripe_counts_its_own_way(minor: int, currency: str, amount: int) -> None:
    """Amounts are sent as Stripe counts them, where that is not ISO 4217, and read back as we do."""
    assert to_stripe(minor, currency) == amount
    assert from_stripe(amount, currency) == minor


@pytest.mark.parametrize(
    ("minor", "currency", "code"),
    [
        (0, "EUR", "bad_amount"), (-5, "EUR", "bad_amount"), (1, "MGA", "amount_not_payable"),
        (1231, "KWD", "amount_not_payable"), (100, "UGX", "unsupported_currency"), (100, "CLF", "unsupported_currency"),
        (100, "LYD", "unsupported_currency"), (100, "XXX", "unknown_currency"),
    ],
)  # fmt: skip
def test_what_stripe_cannot_send_is_refused(minor: int, currency: str, code: str) -> None:
    """An amount or a currency that Stripe cannot send is refused before anything is written down."""
    with pytest.raises(RejectedError) as caught:
        to_stripe(minor, currency)
    assert caught.value.code == code


@pytest.mark.parametrize("account", ["", "ada@example.com", "acct_", "acct_1 2", "acct_é", "acct_1\n"])
def test_only_an_account_is_paid(account: str) -> None:
    """A payee that is no account id is refused before anything is written down."""
    rail = StripeRail(stripe_client(KEY, base="http://127.0.0.1:1", timeout_s=1.0))
    with pytest.raises(RejectedError, match="account"):
        rail.compose(instruction(account=account))


def test_the_sdk_writes_nothing_at_home() -> None:
    """Telemetry is off: with it, the SDK writes a file into the home folder."""
    assert stripe.enable_telemetry is False
