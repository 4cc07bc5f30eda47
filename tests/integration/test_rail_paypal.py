"""The rail `paypal`, over HTTP, against a double that checks every request and every answer."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from consumers.rails import Accepted, Attempt, Found, Instruction, Missing, Payee, Rejected, Unknown
from consumers.rails.paypal import DEFINITE, Credentials, PayPalClient, PayPalRail
from schemas.errors import RejectedError
from tests.support.doubles.faults import FAULTS, Fault
from tests.support.doubles.paypal import CLIENT_ID, CLIENT_SECRET, PayPalDouble, paypal_double

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PAYOUT = "po_0123456789abcdef"


@pytest.fixture
async def double():
    """Yield PayPal on the loopback."""
    async with paypal_double() as found:
        yield found


@pytest.fixture
async def rail(double):
    """Yield the rail, which gives up soon."""
    async with PayPalClient(Credentials(CLIENT_ID, CLIENT_SECRET, double.url), timeout_s=1.0) as client:
        yield PayPalRail(client)


def instruction(number=1, *, amount_minor=1250, currency="EUR", payee="ada@example.com", kind="", payout_id=PAYOUT):
    """Return what an attempt is to do."""
    key = f"payout-{payout_id}-{number}"
    return Instruction(
        "acme", payout_id, "p_ada", number, key, amount_minor, currency, Payee(payee, routing=kind)
    )  # fmt: skip


def attempt(told=None, **more):
    """Return an attempt as it would be written down."""
    told = told or instruction(**more)
    body = PayPalRail(None).compose(told)
    return Attempt(told, body, sha256(body).hexdigest(), NOW, NOW + PayPalRail.window)


def found(state, **more):
    """Return the batch of the first payout in this state."""
    return Found(state, "BATCH1", 1250, "EUR", "ada@example.com", **more)


async def test_a_payout_is_one_batch_of_one_item(rail: PayPalRail, double: PayPalDouble) -> None:
    """A payout is a batch of its own, whose id is our key, and the body goes out byte for byte."""
    told = attempt()
    made = await rail.submit(told)
    assert made == Accepted(Found("in_transit", "BATCH1", 1250, "EUR"))
    assert double.sent == [("POST", "/v1/payments/payouts", told.body)]
    (item,) = double.items
    assert item["sender_batch_id"] == f"payout-{PAYOUT}-1"
    assert item["payout_item"]["amount"] == {"value": "12.50", "currency": "EUR"}
    assert rail.window < timedelta(days=30)


async def test_a_repeat_shows_the_original(rail: PayPalRail, double: PayPalDouble) -> None:
    """The same again is answered with the batch that is there, fetched with item, amount and payee."""
    told = attempt()
    await rail.submit(told)
    double.move("ITEM1", "SUCCESS")
    assert await rail.submit(told) == Accepted(found("processed", transaction_id="TXITEM1"))
    assert len(double.batches) == 1
    # The link that is told leads to another host: it is our own address that is asked.
    assert double.sent[-1][:2] == ("GET", "/v1/payments/payouts/BATCH1")


async def test_the_original_is_told_as_it_is(rail: PayPalRail) -> None:
    """An original with another amount or payee is told as it is: whoever reads it compares."""
    await rail.submit(attempt(amount_minor=1))
    assert await rail.submit(attempt()) == Accepted(Found("in_transit", "BATCH1", 1, "EUR", "ada@example.com"))


async def test_a_batch_that_is_not_ours_goes_to_a_person(rail: PayPalRail, double: PayPalDouble) -> None:
    """Another item, or another key, behind the link is a bug of ours: a person looks."""
    told = attempt()
    await rail.submit(told)
    double.items[0]["payout_item"]["sender_item_id"] = "po_fedcba9876543210"
    made = await rail.submit(told)
    assert isinstance(made, Unknown)
    assert made.then == "review"
    double.items[0]["payout_item"]["sender_item_id"] = PAYOUT
    double.batches["BATCH1"]["batch_header"]["sender_batch_header"]["sender_batch_id"] = "x"
    assert (await rail.submit(told)).then == "review"


@pytest.mark.parametrize(
    "href", ["https://evil.test/", "https://evil.test/v1/oauth2/token", "/v1/payments/payouts/a/b"]
)
async def test_a_link_leads_nowhere_else(rail: PayPalRail, double: PayPalDouble, href: str) -> None:
    """A link that is not that of a batch is not followed, and tells nothing."""
    body = {"name": "USER_BUSINESS_ERROR", "message": "?", "debug_id": "1"}
    body["details"] = [{"field": "SENDER_BATCH_ID", "issue": "x", "link": [{"href": href, "rel": "self"}]}]
    double.faults.append(Fault("answer", "before", 400, json.dumps(body).encode()))
    assert isinstance(await rail.submit(attempt()), Unknown)
    assert len(double.sent) == 1


async def test_a_duplicate_without_a_link_is_unknown(rail: PayPalRail, double: PayPalDouble) -> None:
    """Whatever an error says about the key is no rejection, whichever name it has."""
    for name in ("USER_BUSINESS_ERROR", *DEFINITE):
        body = {"name": name, "details": [{"field": "SENDER_BATCH_ID", "issue": "Duplicate batch request"}]}
        double.faults.append(Fault("answer", "before", 400, json.dumps(body).encode()))
        assert isinstance(await rail.submit(attempt()), Unknown)


async def test_a_denied_batch_frees_its_key(rail: PayPalRail, double: PayPalDouble) -> None:
    """A denied batch is failed, and the same key pays again: what was seen denied must never go again."""
    told = attempt()
    await rail.submit(told)
    double.deny("BATCH1")
    assert await rail.state("BATCH1") == found("failed", code="denied")
    await rail.submit(told)
    assert len(double.batches) == 2


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("PENDING", found("in_transit")),
        ("ONHOLD", found("held", code="onhold")),
        ("UNCLAIMED", found("held", code="receiver_unregistered")),
        ("SUCCESS", found("processed", transaction_id="TXITEM1")),
        ("FAILED", found("failed", code="receiver_account_locked")),
        ("BLOCKED", found("failed", code="receiver_account_locked")),
        ("RETURNED", found("returned", returned_minor=1250, code="returned")),
        ("REFUNDED", found("returned", returned_minor=1250, code="refunded")),
        ("REVERSED", found("returned", returned_minor=1250, code="reversed")),
    ],
)
async def test_the_states_of_an_item(rail: PayPalRail, double: PayPalDouble, status: str, expected: Found) -> None:
    """Each status of an item is one state: in transit, held, processed, failed or come back."""
    await rail.submit(attempt())
    double.move("ITEM1", status)
    assert await rail.state("BATCH1") == expected


async def test_a_batch_whose_items_are_not_there_yet(rail: PayPalRail, double: PayPalDouble) -> None:
    """Before its items are there a batch is in transit, and tells its amount."""
    await rail.submit(attempt())
    double.batches["BATCH1"]["items"] = []
    assert await rail.state("BATCH1") == Found("in_transit", "BATCH1", 1250, "EUR")


async def test_nothing_can_be_looked_up(rail: PayPalRail, double: PayPalDouble) -> None:
    """PayPal is asked by its own ids alone: a look-up by ours shows nothing and asks nothing."""
    await rail.submit(attempt())
    assert await rail.look_up(attempt()) == Missing()
    assert len(double.sent) == 1
    assert await rail.state("BATCH9") == Missing()


@pytest.mark.parametrize("name", sorted(FAULTS))
async def test_what_is_not_definite_is_unknown(rail: PayPalRail, double: PayPalDouble, name: str) -> None:
    """After any fault the outcome is unknown, never rejected, and the same again makes no second batch."""
    told = attempt()
    double.faults.append(replace(FAULTS[name]))
    made = await rail.submit(told)
    assert isinstance(made, Unknown)
    assert made.then == "again"
    assert len(double.sent) == 1
    assert isinstance(await rail.submit(told), Accepted)
    assert len(double.batches) == 1


@pytest.mark.parametrize("name", sorted(FAULTS))
async def test_a_question_that_fails_is_unknown(rail: PayPalRail, double: PayPalDouble, name: str) -> None:
    """A question that goes wrong is unknown, never missing; the same for the original behind a link."""
    told = attempt()
    await rail.submit(told)
    # A question on a connection that turns out to be closed is asked again by the client itself, once.
    times = 2 if FAULTS[name].kind == "reset" else 1
    double.faults.extend([FAULTS[name]] * times)
    assert isinstance(await rail.state("BATCH1"), Unknown)
    double.faults.clear()
    double.faults.extend([Fault("answer", "before", 400, _duplicate()), *[FAULTS[name]] * times])
    assert isinstance(await rail.submit(told), Unknown)


def _duplicate() -> bytes:
    link = [{"href": "https://api.paypal.com/v1/payments/payouts/BATCH1", "rel": "self"}]
    return json.dumps({"name": "USER_BUSINESS_ERROR", "details": [{"issue": "x", "link": link}]}).encode()


async def test_a_cancelled_task_tells_nothing(rail: PayPalRail, double: PayPalDouble) -> None:
    """Whoever is cancelled in the middle of the call learns nothing, and the same again shows what was done."""
    told = attempt()
    double.faults.append(replace(FAULTS["time-out"]))
    task = asyncio.create_task(rail.submit(told))
    while not double.batches:  # noqa: ASYNC110 - the double has no event to wait for
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await rail.submit(told) == Accepted(found("in_transit"))


@pytest.mark.parametrize("name", sorted(DEFINITE))
async def test_the_closed_list_of_rejections(rail: PayPalRail, double: PayPalDouble, name: str) -> None:
    """Each name of the closed list is a rejection with status 400, and with no other."""
    body = json.dumps({"name": name, "message": "no", "debug_id": "1"}).encode()
    double.faults.append(Fault("answer", "before", 400, body))
    assert await rail.submit(attempt()) == Rejected(name)
    for status in (404, 409, 422, 429, 500, 504):
        double.faults.append(Fault("answer", "before", status, body))
        assert isinstance(await rail.submit(attempt()), Unknown)


async def test_rejections_of_the_double(rail: PayPalRail, double: PayPalDouble) -> None:
    """No balance, a bad receiver, a field too many, broken JSON: definite, and no batch is there."""
    double.balance = 1
    assert (await rail.submit(attempt())).code == "INSUFFICIENT_FUNDS"
    double.balance = 10**9
    told = attempt()
    for changed in (
        told.body.replace(b"ada@example.com", b"ada"),
        told.body.replace(b'"recipient_type"', b'"colour":"red","recipient_type"'),
        told.body.replace(b"12.50", b"12.505"),
        told.body[:-1],
    ):
        assert isinstance(await rail.submit(told._replace(body=changed)), Rejected)
    assert double.batches == {}


async def test_one_bad_receiver_refuses_a_whole_batch(double: PayPalDouble) -> None:
    """Two items, one of them bad, are refused together, and so are two currencies: why a payout is a batch."""
    credentials = Credentials(CLIENT_ID, CLIENT_SECRET, double.url)
    for payee, currency in (("bob", "EUR"), ("bob@example.com", "USD")):
        body = json.loads(attempt().body)
        body["items"] += json.loads(attempt(payee="x@example.com", currency=currency).body)["items"]
        body["items"][1]["receiver"] = payee
        async with PayPalClient(credentials) as client:
            made = await PayPalRail(client).submit(attempt()._replace(body=json.dumps(body).encode()))
        assert isinstance(made, Rejected)
    assert double.batches == {}


async def test_bad_credentials_stop_the_rail(rail: PayPalRail, double: PayPalDouble) -> None:
    """Credentials that are not valid, or a missing permission, stop the rail and fail no payout."""
    double.secret = "other"  # noqa: S105 - of nobody
    assert (await rail.submit(attempt())).then == "stop"
    assert double.sent == []
    double.secret = CLIENT_SECRET
    body = b'{"name": "REQUIRED_SCOPE_MISSING", "message": "no", "debug_id": "1"}'
    double.faults.append(Fault("answer", "before", 403, body))
    assert (await rail.submit(attempt())).then == "stop"


async def test_a_token_that_was_taken_back_is_asked_for_anew(rail: PayPalRail, double: PayPalDouble) -> None:
    """A token that ended before its time is replaced, once, and the same body goes out again."""
    await rail.submit(attempt())
    double.tokens = {"others"}
    assert await rail.state("BATCH1") == found("in_transit")
    double.faults.extend([Fault("answer", "before", 401, b"{}")] * 2)
    assert (await rail.state("BATCH1")).then == "stop"


async def test_a_token_is_asked_for_once(double: PayPalDouble) -> None:
    """A token is used until shortly before it ends."""
    seconds = [0.0]
    credentials = Credentials(CLIENT_ID, CLIENT_SECRET, double.url)
    async with PayPalClient(credentials, clock=lambda: seconds[0]) as client:
        rail = PayPalRail(client)
        for _ in range(3):
            await rail.submit(attempt())
        assert len(double.tokens) == 1
        seconds[0] = 32_400 - 59.0
        await rail.submit(attempt())
        assert len(double.tokens) == 2


@pytest.mark.parametrize(
    ("minor", "currency", "value"), [(1250, "EUR", "12.50"), (7, "JPY", "7"), (700, "HUF", "7"), (100, "TWD", "1")]
)
async def test_amounts_have_the_decimals_of_paypal(
    rail: PayPalRail, double: PayPalDouble, minor: int, currency: str, value: str
) -> None:
    """Amounts are strings with the decimals that PayPal takes (HUF, JPY, TWD: none), and are read back as ours."""
    await rail.submit(attempt(amount_minor=minor, currency=currency))
    assert double.items[0]["payout_item"]["amount"]["value"] == value
    seen = await rail.state("BATCH1")
    assert (seen.amount_minor, seen.currency) == (minor, currency)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"amount_minor": 0}, "bad_amount"), ({"amount_minor": -1}, "bad_amount"),
        ({"amount_minor": 750, "currency": "HUF"}, "amount_not_payable"),
        ({"currency": "KWD"}, "unsupported_currency"), ({"currency": "XXX"}, "unsupported_currency"),
        ({"payee": "ada"}, "bad_payee"), ({"payee": "a da@example.com"}, "bad_payee"),
        ({"payee": "a" * 120 + "@example.com"}, "bad_payee"), ({"payee": "ada@example.com\n"}, "bad_payee"),
        ({"kind": "PHONE"}, "bad_payee"), ({"payee": "x", "kind": "PAYPAL_ID"}, "bad_payee"),
    ],
)  # fmt: skip
def test_what_paypal_cannot_send_is_refused(more: dict[str, object], code: str) -> None:
    """An amount, a currency or a payee that PayPal cannot pay is refused before anything is written down."""
    with pytest.raises(RejectedError) as caught:
        PayPalRail(None).compose(instruction(**more))
    assert caught.value.code == code


def test_a_body_is_the_same_for_ever() -> None:
    """The body is made of the instruction alone, byte for byte; an account id is an address too."""
    told = instruction(payee="G83JXTJ5EHCQ2", kind="PAYPAL_ID")
    assert PayPalRail(None).compose(told) == (
        b'{"sender_batch_header":{"sender_batch_id":"payout-po_0123456789abcdef-1"},"items":[{"recipient_type":'
        b'"PAYPAL_ID","amount":{"value":"12.50","currency":"EUR"},"receiver":"G83JXTJ5EHCQ2","sender_item_id":'
        b'"po_0123456789abcdef"}]}'
    )
