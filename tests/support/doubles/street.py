"""Both doubles on one street: with a clock, slow answers, faults by chance, and webhooks of whatever happens there."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import aiohttp
from aiohttp import web

from consumers.rails.stripe import from_stripe
from schemas.money import to_minor
from tests.support.doubles.faults import FAULTS, MADE
from tests.support.doubles.paypal import PayPalDouble
from tests.support.doubles.serving import Take, serving
from tests.support.doubles.stripe import StripeDouble

# What PayPal calls an item that came into a status.
_PAYPAL_KINDS = {"SUCCESS": "SUCCEEDED", "ONHOLD": "HELD"}
_OVER = ("FAILED", "BLOCKED", "RETURNED", "REFUNDED", "REVERSED")
_TRIES = 20
_AGAIN_S = 0.2


@dataclass
class Paid:
    """One payment as its provider has it; `live` where money went to the payee, or will go, and did not come back."""

    provider: str
    reference: str
    payout_id: str | None
    payee: str
    amount_minor: int
    currency: str
    status: str
    returned_minor: int
    live: bool
    transaction_id: str | None = None


@dataclass
class Webhooks:
    """Where a provider tells what happened: each `times` times, `late_s` after it was signed, in any order or its own.

    `lost` is the chance that one is never sent.
    """

    to: str
    times: int = 1
    late_s: float = 0.0
    shuffle: bool = False
    lost: float = 0.0


@dataclass
class Provider:
    """One double, and what the world does to it. `chance` is that of a fault of these `kinds`, a request."""

    name: str
    double: StripeDouble | PayPalDouble
    clock: Callable[[], datetime]
    random: Random
    chance: float = 0.0
    kinds: tuple[str, ...] = tuple(FAULTS)
    slow_s: float = 0.0
    webhooks: Webhooks | None = None
    counts: Counter[str] = field(default_factory=Counter)
    under_way: Counter[str] = field(default_factory=Counter)
    mail: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    _told: dict[str, tuple[str, int]] = field(default_factory=dict)

    # --- requests ---

    async def watch(self, request: web.Request, handler: Take) -> web.StreamResponse:
        """Let the double answer: at the time that it is, slowly, and with a fault where chance has it."""
        self.double.now = self.clock()
        if not request.path.startswith(("/v1/transfers", "/v1/payments/")):
            return await handler(request)
        await request.read()
        self.counts[f"{request.method} came in"] += 1
        with self._at_work(request):
            await asyncio.sleep(self.random.uniform(0, self.slow_s))
            self._draw_a_fault()
            answer = asyncio.ensure_future(handler(request))
            # It is done before the first await of a fault, so that even what is never answered is told by webhook.
            await asyncio.sleep(0)
            self.tell()
        response = await answer
        with self._at_work(request):
            await asyncio.sleep(self.random.uniform(0, self.slow_s))
        if request.transport is None and MADE not in request:
            self.counts[f"{request.method} caller gone"] += 1
        return response

    @contextmanager
    def _at_work(self, request: web.Request) -> Iterator[None]:
        self.under_way[request.method] += 1
        try:
            yield
        finally:
            self.under_way[request.method] -= 1

    def _draw_a_fault(self) -> None:
        self.double.now = self.clock()
        if self.random.random() < self.chance:
            kind = self.random.choice(self.kinds)
            self.double.faults.append(replace(FAULTS[kind]))
            self.counts[f"fault: {kind}"] += 1

    # --- what was paid ---

    def paid(self) -> list[Paid]:
        """Return every payment that there ever was."""
        if isinstance(self.double, StripeDouble):
            return [_paid_by_stripe(each) for each in self.double.transfers]
        return [_paid_by_paypal(batch) for batch in self.double.batches.values()]

    def move(self, item_id: str, status: str) -> None:
        """Let an item at PayPal come into a status, and tell."""
        assert isinstance(self.double, PayPalDouble)
        self.double.move(item_id, status)
        self.counts[f"moved to {status}"] += 1
        self.tell()

    def move_some(self, before: str, after: list[str], most: int) -> int:
        """Let up to so many items in one status come into another, drawn by lot; return how many there were."""
        assert isinstance(self.double, PayPalDouble)
        found = [each for each in self.double.items if each["transaction_status"] == before][:most]
        for item in found:
            self.move(item["payout_item_id"], self.random.choice(after))
        return len(found)

    # --- webhooks ---

    def tell(self) -> None:
        """Put into the mail what is new since the last time."""
        news = self._news()
        if self.webhooks is None:
            return
        self.double.now = self.clock() - timedelta(seconds=self.webhooks.late_s)
        for told, kind, thing in news:
            body = self._event(kind, thing)
            self.mail += [(body, self._signature(body))] * self.webhooks.times
            self.counts[f"told: {told}"] += 1
        self.double.now = self.clock()

    def message(self, reference: str, kind: str, at: datetime | None = None) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of one message about a transfer or an item (or the payout that it is of).

        Raises KeyError for an unknown one.
        """
        known = {name: thing for name, _, thing in self._things()}
        thing = known.get(reference) or {_payout_of(thing): thing for thing in known.values()}[reference]
        body = self._event(kind, thing)
        return body, self._signature(body, at)

    def _news(self) -> list[tuple[str, str, Any]]:
        news = []
        for reference, state, thing in self._things():
            before = self._told.get(reference)
            if before == state:
                continue
            self._told[reference] = state
            if self.name == "stripe":
                news.append((reference, "transfer.created" if before is None else "transfer.reversed", thing))
            elif before is not None or state[0] != "PENDING":
                news.append((reference, _PAYPAL_KINDS.get(state[0], state[0]), thing))
        return [("created" if kind == "transfer.created" else "changed", kind, thing) for _, kind, thing in news]

    def _things(self) -> list[tuple[str, tuple[str, int], Any]]:
        if isinstance(self.double, StripeDouble):
            return [(each["id"], ("", each["amount_reversed"]), each) for each in self.double.transfers]
        return [(each["payout_item_id"], (each["transaction_status"], 0), each) for each in self.double.items]

    def _event(self, kind: str, thing: Any) -> bytes:
        if isinstance(self.double, StripeDouble):
            return self.double.event(kind, thing)
        self.counts["events"] += 1
        return self.double.event(kind, thing["payout_item_id"], f"WH-{self.counts['events']}")

    def _signature(self, body: bytes, at: datetime | None = None) -> dict[str, str]:
        if isinstance(self.double, StripeDouble):
            return {"stripe-signature": self.double.signed(body, at)}
        return self.double.signed(body, at)

    async def deliver(self) -> None:
        """Send the mail for as long as nobody cancels: repeated, as providers do, until it is taken."""
        waiting: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while True:
                while self.mail and self.webhooks and len(waiting) < 8:
                    place = self.random.randrange(len(self.mail)) if self.webhooks.shuffle else 0
                    task = asyncio.create_task(self._send(session, self.webhooks, *self.mail.pop(place)))
                    waiting.add(task)
                    task.add_done_callback(waiting.discard)
                await asyncio.sleep(0.02)

    async def _send(
        self, session: aiohttp.ClientSession, webhooks: Webhooks, body: bytes, headers: dict[str, str]
    ) -> None:
        if self.random.random() < webhooks.lost:
            self.counts["webhook: lost"] += 1
            return
        for _ in range(_TRIES):
            status = await post(session, webhooks.to, body, headers)
            self.counts[f"webhook: {status}"] += 1
            if status == 200:
                return
            await asyncio.sleep(_AGAIN_S)


@dataclass
class Street:
    """Both providers, running."""

    stripe: Provider
    paypal: Provider

    def provider(self, name: str) -> Provider:
        """Return the provider of this name. Raises KeyError."""
        return {"stripe": self.stripe, "paypal": self.paypal}[name]


@asynccontextmanager
async def street(
    stripe_port: int = 0, paypal_port: int = 0, clock: Callable[[], datetime] = lambda: datetime.now(UTC), seed: int = 0
) -> AsyncIterator[Street]:
    """Yield both, listening; `clock` is theirs, `seed` decides about what is left to chance."""
    stripe = Provider("stripe", StripeDouble(), clock, Random(f"stripe {seed}"))
    paypal = Provider("paypal", PayPalDouble(), clock, Random(f"paypal {seed}"))
    async with (
        serving(stripe.double, stripe_port, stripe.watch),
        serving(paypal.double, paypal_port, paypal.watch),
    ):
        senders = [asyncio.create_task(each.deliver()) for each in (stripe, paypal)]
        try:
            yield Street(stripe, paypal)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)


async def post(session: aiohttp.ClientSession, to: str, body: bytes, headers: dict[str, str]) -> int:
    """Return the status with which a message was answered, 0 where nobody answered."""
    try:
        async with session.post(to, data=body, headers=headers | {"content-type": "application/json"}) as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        return 0


def _payout_of(thing: dict[str, Any]) -> str | None:
    item = thing.get("payout_item")
    return str(item["sender_item_id"]) if item else thing["metadata"].get("payout_id")


def _paid_by_stripe(transfer: dict[str, Any]) -> Paid:
    currency = transfer["currency"].upper()
    amount, back = (from_stripe(transfer[name], currency) for name in ("amount", "amount_reversed"))
    return Paid(
        "stripe", transfer["id"], transfer["metadata"].get("payout_id"), transfer["destination"], amount, currency,
        "reversed" if transfer["reversed"] else "paid", back, back < amount, transfer["balance_transaction"],
    )  # fmt: skip


def _paid_by_paypal(batch: dict[str, Any]) -> Paid:
    (item,) = batch["items"]
    told, status = item["payout_item"], item["transaction_status"]
    dead = batch["batch_header"]["batch_status"] in ("DENIED", "CANCELED")
    minor, currency = to_minor(told["amount"]["value"], told["amount"]["currency"], "$"), told["amount"]["currency"]
    back = minor if status in _OVER[2:] else 0
    return Paid(
        "paypal", batch["batch_header"]["payout_batch_id"], told["sender_item_id"], told["receiver"], minor, currency,
        "DENIED" if dead else status, back, not dead and status not in _OVER, item.get("transaction_id"),
    )  # fmt: skip
