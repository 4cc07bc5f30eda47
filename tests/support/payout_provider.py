"""Two providers in memory that keep the truth: what was really sent, under which key, and what became of it.

One is like Stripe (a key is good for a day, replays what it answered, and there is a list to look in), the other like
PayPal (a key is good for thirty days, shows the original, is freed by a denial, and nothing can be looked up).
"""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from consumers.rails import Accepted, Found, Missing, Rejected, Several, Unknown
from schemas.errors import RetryableError

UNDER_WAY_MAX = timedelta(minutes=2)

# Later than this money comes back only with a webhook that arrives: nobody looks once a day for ever.
RETURNS_FOR = timedelta(days=30)


class Pause:
    """Gives the floor to whoever the search picks next; a crash happens here, or nowhere."""

    def __await__(self):
        """Yield once."""
        yield


@dataclass
class Payment:
    """Money that left."""

    reference: str
    payout_id: str
    key: str
    amount_minor: int
    currency: str
    payee: str
    state: str
    at: datetime
    returned_minor: int = 0

    @property
    def net_minor(self):
        """What the partner has of it."""
        return self.amount_minor - self.returned_minor if self.state == "processed" else 0

    @property
    def is_out(self):
        """Whether the partner has it, or is going to."""
        return self.state in ("in_transit", "held") or self.net_minor > 0


@dataclass
class Ticket:
    """A request under way: it arrives before its time is over, or never, whatever became of its sender."""

    instruction: object
    body: bytes
    until: object
    answer: object = None
    done: bool = False


@dataclass
class Provider:
    """The truth of one provider."""

    kind: str
    random: object
    clock: object
    faults: float = 1.0
    payments: list = field(default_factory=list)
    keys: dict = field(default_factory=dict)
    under_way: list = field(default_factory=list)
    mail: list = field(default_factory=list)
    twice: set = field(default_factory=set)
    sent_events: int = 0

    def roll(self, chance):
        """Return whether a fault of this chance happens."""
        return self.random.random() < chance * self.faults

    # --- requests ---

    def send(self, instruction, body):
        """Put a request on its way."""
        ticket = Ticket(instruction, body, self.clock.now + UNDER_WAY_MAX)
        self.under_way.append(ticket)
        return ticket

    def arrive(self, ticket):
        """Let the request arrive, or be lost."""
        self.under_way.remove(ticket)
        ticket.done = True
        if not self.roll(0.1):
            ticket.answer = self.execute(ticket.instruction, ticket.body)

    def hurry(self, until):
        """Let arrive whatever would be too late at that time."""
        for ticket in [ticket for ticket in self.under_way if ticket.until <= until]:
            self.arrive(ticket)

    def execute(self, instruction, body):
        """Do what the request says, as this provider does it; returns its answer, None for a 500."""
        key = instruction.key
        lasts = timedelta(hours=24) if self.kind == "stripe" else timedelta(days=30)
        known = self.keys.get(key)
        if known is not None and self.clock.now < known["at"] + lasts:
            if known["body"] != body:
                return Unknown("idempotency_error", "review")
            return known["answer"]() if callable(known["answer"]) else known["answer"]
        stored = self.random.random() < 0.5
        if self.roll(0.15):
            answer = Rejected("balance_insufficient")
            if stored and self.kind == "stripe":
                self.keys[key] = {"at": self.clock.now, "body": body, "answer": answer}
            return answer
        if self.roll(0.1):
            if stored and self.kind == "stripe":
                self.keys[key] = {"at": self.clock.now, "body": body, "answer": None}
            return None
        return self._pay(instruction, body)

    def _pay(self, instruction, body):
        others = [payment for payment in self.payments if payment.payout_id == instruction.payout_id and payment.is_out]
        if others:
            self.twice.add(instruction.payout_id)
        payment = Payment(
            f"{self.kind}-{len(self.payments)}", instruction.payout_id, instruction.key, instruction.amount_minor,
            instruction.currency, instruction.payee.address, "processed" if self.kind == "stripe" else "in_transit",
            self.clock.now,
        )  # fmt: skip
        self.payments.append(payment)
        self.tell(payment)
        # Stripe replays what it said then; PayPal shows what the original is now.
        told = self.shown(payment)
        answer = Accepted(told) if self.kind == "stripe" else (lambda: Accepted(self.shown(payment)))
        if self.kind == "stripe" and self.roll(0.1):
            answer = None
        self.keys[instruction.key] = {"at": self.clock.now, "body": body, "answer": answer}
        return answer() if callable(answer) else answer

    # --- what becomes of it ---

    def progress(self, payment, *, settle=False):
        """Let something become of a payment; `settle`: it is not in transit any more afterwards."""
        before = (payment.state, payment.returned_minor)
        old = self.clock.now > payment.at + RETURNS_FOR
        if payment.state == "in_transit":
            payment.state = self.random.choice(["processed", "failed"] if settle else ["processed", "held", "failed"])
        elif payment.state == "held":
            payment.state = self.random.choice(["processed", "returned", "failed"])
        elif payment.state == "processed" and payment.returned_minor < payment.amount_minor and not (settle or old):
            left = payment.amount_minor - payment.returned_minor
            part = self.random.randint(1, left) if self.kind == "stripe" and self.random.random() < 0.6 else left
            payment.returned_minor += part
            if self.kind == "paypal":
                payment.state = "returned"
        if before != (payment.state, payment.returned_minor):
            self.tell(payment)
            if payment.state == "failed":
                self.keys.pop(payment.key, None)

    def tell(self, payment):
        """Send a webhook: once, twice, or never."""
        self.sent_events += 1
        event_id = f"{self.kind}-evt-{self.sent_events}"
        self.mail += [(event_id, payment.payout_id, payment.reference)] * self.random.choice([0, 1, 1, 2])

    def shown(self, payment):
        """Return the payment as it is now."""
        return Found(
            payment.state, payment.reference, payment.amount_minor, payment.currency, payment.payee,
            payment.returned_minor, "denied" if payment.state == "failed" else None,
        )  # fmt: skip


class SimulatedRail:
    """The rail of one simulated provider, with everything that can go wrong between it and us."""

    def __init__(self, provider):
        self.provider, self.name = provider, provider.kind
        self.window = timedelta(hours=23) if provider.kind == "stripe" else timedelta(days=29)

    def refusal(self, instruction, now):  # noqa: ARG002 - of the protocol
        """Return that it may begin."""
        return "off" if self.provider.roll(0.02) else None

    def compose(self, instruction):
        """Return the body."""
        told = [instruction.payout_id, instruction.amount_minor, instruction.currency, instruction.payee.address]
        return json.dumps(told).encode()

    async def submit(self, attempt):
        """Send it; the answer may be late, lost or garbled."""
        ticket = self.provider.send(attempt.instruction, attempt.body)
        while not ticket.done:
            await Pause()
            if self.provider.roll(0.05):
                raise TimeoutError
        await Pause()
        if self.provider.roll(0.05):
            raise ValueError("a cut body")
        return ticket.answer if ticket.answer is not None else Unknown("HTTP 500")

    async def look_up(self, attempt):
        """Return what the provider lists for the payout."""
        await self._trouble()
        mine = [each for each in self.provider.payments if each.payout_id == attempt.instruction.payout_id]
        out = [each for each in mine if each.is_out] if self.name == "stripe" else []
        # What came back altogether is shown to the attempt that made it.
        own = [each for each in mine if each.key == attempt.instruction.key] if self.name == "stripe" else []
        shown = [self.provider.shown(each) for each in out or own]
        await self._trouble()
        if len(out) > 1:
            return Several([each.reference for each in out])
        return shown[-1] if shown else Missing()

    async def state(self, reference):
        """Return one payment."""
        await self._trouble()
        shown = [self.provider.shown(each) for each in self.provider.payments if each.reference == reference]
        await self._trouble()
        return shown[0] if shown else Missing()

    async def _trouble(self):
        await Pause()
        if self.provider.roll(0.05):
            raise RetryableError("the provider does not answer")


class RandomKeys(SimulatedRail):
    """A control: a new key for every send."""

    async def submit(self, attempt):
        """Send it under any key."""
        key = f"{self.provider.random.random()}"
        return await super().submit(attempt._replace(instruction=attempt.instruction._replace(key=key)))

    async def look_up(self, attempt):  # noqa: ARG002 - that is what is wrong with it
        """Trust in the key, and look nothing up."""
        await Pause()
        return Missing()


class BlindResends(SimulatedRail):
    """A control: the same key, but as if the provider knew it for ever, and without looking anything up."""

    def __init__(self, provider):
        super().__init__(provider)
        self.window = timedelta(days=3650)

    async def look_up(self, attempt):  # noqa: ARG002 - that is what is wrong with it
        """Look nothing up."""
        await Pause()
        return Missing()


class UnknownIsFailed(SimulatedRail):
    """A control: what is not known is taken for a rejection."""

    async def submit(self, attempt):
        """Say that nothing was sent, although nobody knows."""
        try:
            outcome = await super().submit(attempt)
        except Exception:  # noqa: BLE001 - that is what is wrong with it
            return Rejected("failed")
        return Rejected("failed") if isinstance(outcome, Unknown) else outcome
