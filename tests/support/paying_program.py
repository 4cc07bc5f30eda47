"""A program that pays by every rail, with payouts in every state: what the pages of payouts are looked at with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from consumers.payout_reconciliation import reconcile
from consumers.rails.bank_statements import read_statement
from ledger import payouts as decisions
from ledger.payouts import Act
from tests.support import payouts
from tests.support.api import PAYOUTS, Api, running
from tests.support.bank import Entry, camt
from tests.support.doubles.paypal import CLIENT_ID, CLIENT_SECRET, PayPalDouble, paypal_double
from tests.support.doubles.stripe import KEY, StripeDouble, stripe_double

NAMES = (
    "Jane Holloway", "Bartholomew Featherstonehaugh-Cholmondeley", "Zoë Ångström", "Kim Lee",
    "Müller & Söhne Verlag GmbH", "Ana Sofía Hernández de la Cruz", "Tech Deals Daily", "李小龍", "O'Brien Reviews",
    "The Slow Coffee Company",
)  # fmt: skip
IBANS = ("DE89370400440532013000", "NL91ABNA0417164300", "FR1420041010050500013M02606")


@dataclass
class Program:
    """The program: its API, and the providers that it pays by."""

    api: Api
    stripe: StripeDouble
    paypal: PayPalDouble
    partners: list[str] = field(default_factory=list)

    async def of(self, **query: str) -> list[dict[str, Any]]:
        """Return the payouts that fit."""
        return await payouts.payouts(self.api, **query)

    async def decide(self, payout: dict[str, Any], decide: Any) -> None:
        """Have something happen to the payout, as the ledger's decisions tell it."""
        assert self.api.paying is not None
        act = Act(self.api.now, "payouts/worker")
        books = self.api.paying.books
        await asyncio.to_thread(books.decide, ("acme", payout["id"]), lambda found: decide(found, act), act)

    async def compare(self, *rails: str) -> None:
        """Compare the books with the providers of these rails, as a worker does every day."""
        assert self.api.paying is not None
        self.pass_time(timedelta(minutes=30))
        until = self.api.now
        for rail in rails:
            await reconcile(self.api.paying, rail, until - timedelta(days=35), until, until)
        await self.api.project()

    def pass_time(self, by: timedelta) -> None:
        """Let time pass for everybody."""
        self.api.now += by
        self.stripe.now = self.paypal.now = self.api.now


@asynccontextmanager
async def paying_program(database_url: str) -> AsyncIterator[Program]:
    """Yield a program whose partners can be paid by Stripe, PayPal, bank and hand."""
    async with stripe_double() as stripe, paypal_double() as paypal:
        settings = PAYOUTS.model_copy(
            update={
                "stripe_api_key": SecretStr(KEY), "stripe_api_base": stripe.url, "paypal_client_id": CLIENT_ID,
                "paypal_client_secret": SecretStr(CLIENT_SECRET), "paypal_api_base": paypal.url,
                "bank_debtor_name": "Acme GmbH", "bank_debtor_iban": IBANS[0],
            }
        )  # fmt: skip
        async with running(database_url, payouts=settings) as api:
            yield Program(api, stripe, paypal)


async def fill(program: Program, partners: int = 30) -> None:
    """Make a first run, with payouts in every state, and then give the partners more to be paid for."""
    await _register(program, partners)
    await _earn(program, 3)
    await payouts.run(program.api)
    await _settle(program)
    await _contradict(program)
    program.pass_time(timedelta(hours=2))
    await payouts.work(program.api)
    await _earn(program, 2)


async def _register(program: Program, partners: int) -> None:
    api = program.api
    for number in range(partners):
        name = NAMES[number % len(NAMES)] + (f" {number // len(NAMES) + 1}" if number >= len(NAMES) else "")
        made = await api.partner(name=name, email=f"p{number}@partners.example", coupon_code=f"CODE{number}")
        program.partners.append(made["id"])
        rail = ("stripe", "paypal", "bank", "manual", "none")[number % 5]
        if rail == "stripe":
            address = program.stripe.account(f"acct_{number:016}")
            await payouts.payable_to(api, made["id"], "stripe", address)
        elif rail == "paypal":
            await payouts.payable_to(api, made["id"], "paypal", f"someone{number}@mail.example")
        elif rail == "bank":
            await payouts.payable_to(api, made["id"], "bank", IBANS[number % 3], name=f"Holder {number}")
        elif rail == "manual":
            await payouts.payable_to(api, made["id"], "manual", "cash at the fair")


async def _earn(program: Program, orders: int) -> None:
    for number in range(len(program.partners)):
        currency = "EUR" if number % 5 == 2 or number % 7 == 0 else "USD"
        totals = [f"{37 + (number * 131 + each * 977) % 4000}.{(number * 7) % 100:02}" for each in range(orders)]
        await payouts.earn(program.api, *totals, coupon_code=f"CODE{number}", currency=currency)


async def _settle(program: Program) -> None:
    """Let the providers do what providers do: pay, keep, refuse, send back."""
    api, paypal = program.api, program.paypal
    for item, status in zip(paypal.items, ("SUCCESS", "UNCLAIMED", "FAILED", "RETURNED", "SUCCESS"), strict=False):
        paypal.move(item["payout_item_id"], status)
    program.stripe.reverse(program.stripe.transfers[0]["id"])
    program.stripe.reverse(program.stripe.transfers[1]["id"], 500)
    program.pass_time(timedelta(days=1, minutes=1))
    await payouts.work(api)
    by_hand = await program.of(rail="manual", status="requested")
    for number, payout in enumerate(by_hand[:3]):
        await payouts.confirm(api, payout, f"WISE-{4711 + number}")
    await api.post(f"/payouts/{by_hand[3]['id']}/cancel", {"reason": "asked to wait until December"})
    body = {"execution_on": api.now.date().isoformat()}
    await api.post("/bank-batches", body, headers={"Idempotency-Key": "first"})
    orders = (await api.get("/bank-orders")).json["data"]
    entries = [Entry(each["id"], each["amount"]["amount"], reference=f"BANK-{n}") for n, each in enumerate(orders[:3])]
    back = entries[0]._replace(direction="CRDT", back="AC04", reference="BANK-BACK")
    assert api.paying is not None
    assert api.paying.rails.bank_batches is not None
    statement = read_statement(camt(*entries, back))
    take = api.paying.rails.bank_batches.take
    applied = await asyncio.to_thread(take, statement, by="test", now=api.now, merchant_id="acme")
    for hint in applied.hints:
        await asyncio.to_thread(api.paying.books.store.keep_hint, hint, api.now)
    await payouts.work(api)


async def _contradict(program: Program) -> None:
    """Let one need a decision, and one be paid twice; then compare with the providers."""
    waiting = [each for each in await program.of(status="submitted") if each["rail"] == "paypal"]
    await program.decide(waiting[0], lambda payout, act: decisions.review(payout, act, "failed_after_repeat"))
    paid = [each for each in await program.of(status="processed") if each["rail"] == "stripe"]
    await program.decide(paid[0], lambda payout, act: decisions.several(payout, act, ["tr_one", "tr_two"]))
    program.stripe.transfers.pop()
    await program.compare("stripe", "paypal", "bank")
