"""One batch of messages, decided in memory: what becomes of each, and all that has to be written for it.

Nothing here reads or writes: `ledger.intake` loads the streams of the batch's orders before and commits the outcome
after.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

import orjson

from ledger import bans
from ledger.commissions import DUPLICATE, Act, Order, evolve, fold, take_fact, take_parked, told_before
from ledger.directory import Directory, Program
from ledger.events import (
    DeadLetterOpened,
    Event,
    OrderTaken,
    ParkedRefundRejected,
    Recorded,
    RefundParked,
    Stream,
)
from ledger.hashes import dead_letter_id
from ledger.orders import CustomerOrders, fact_of, place
from schemas.errors import RejectedError
from schemas.money import to_decimal_string
from schemas.order_events import OrderEvent, OrderPlaced, names_of

OUTCOMES = ("earned", "adjusted", "skipped", "ignored", "duplicate", "dead_lettered")


class Source(NamedTuple):
    """Where messages come from: the Kafka cluster's id (or `api`, `import`), the topic, the partition."""

    source: str
    topic: str
    partition: int

    @property
    def merchant_id(self) -> str | None:
        """Return the merchant to whom all that comes from here belongs: the API key's, the import's.

        None where it may be anybody's: Kafka topics, and imports for all merchants (`*`).
        """
        if self.source == "api":
            return self.topic
        owner = self.topic.rpartition("-")[0] if self.source == "import" else "*"
        return None if owner == "*" else owner

    def cause(self, position: int) -> str:
        """Return the name of one message, as it stands in the events that it caused."""
        return f"{self.place()}@{position}"

    def place(self) -> str:
        """Return the name of the partition, with which the names of its messages begin."""
        return f"{self.source}/{self.topic}/{self.partition}"

    @classmethod
    def of_cause(cls, cause: str) -> tuple["Source", int]:
        """Return the source and position that `cause` names."""
        place, position = cause.rsplit("@", 1)
        source, topic, partition = place.rsplit("/", 2)
        return cls(source, topic, int(partition)), int(position)


class Message(NamedTuple):
    """One message as it came: its position in the partition and its bytes."""

    position: int
    raw: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Result(NamedTuple):
    """What became of one message. `commission_minor` is what the order earns now, where it is on the books."""

    outcome: str
    order_id: str | None = None
    commission_minor: int | None = None
    currency: str | None = None
    error: RejectedError | None = None


class DeadLetter(NamedTuple):
    """A refused message with its reason, as it is kept."""

    dead_letter_id: str
    source: Source
    position: int
    merchant_id: str | None
    key: bytes | None
    raw: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    error: RejectedError


class Note(NamedTuple):
    """What an order event said in the storefront's own words: it may tell of people, so it is not in an event."""

    customer_id: str | None
    reason: str | None
    metadata: Mapping[str, str] | None


CustomerKey = tuple[str, str]
"""Merchant id and customer id."""


class Batch:
    """Decides messages one after the other; each sees what those before it did."""

    def __init__(
        self,
        directory: Directory,
        source: Source,
        now: datetime,
        hash_key: bytes,
        streams: Mapping[str, list[Recorded]],
        customer_orders: Mapping[CustomerKey, CustomerOrders] | None = None,
    ) -> None:
        self.events: list[Recorded] = []
        self.dead_letters: list[DeadLetter] = []
        self.unparked: list[str] = []
        self.newest: dict[tuple[str, str], datetime] = {}
        self.ignored: dict[tuple[str, date, str], list[int]] = {}
        self.customers: dict[tuple[str, str], tuple[str | None, str | None]] = {}
        self.notes: dict[tuple[str, str, str], Note] = {}
        # Of customers whose orders are counted: what was on the books, and what is with this batch.
        self.counted_before: Mapping[CustomerKey, CustomerOrders] = customer_orders or {}
        self.counted: dict[CustomerKey, CustomerOrders] = {}
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self.directory_position = directory.position
        self._directory, self._source, self._now, self._hash_key = directory, source, now, hash_key
        self._place_name = source.place()
        self._streams: dict[str, list[Event]] = {name: [r.event for r in events] for name, events in streams.items()}
        self._orders: dict[str, Order] = {}

    def follow(self, earlier: "Batch") -> None:
        """Know what an earlier batch decided although it is not on the books: so a long dry run is one story."""
        self._streams |= earlier._streams  # noqa: SLF001 - of its own kind
        self.counted = dict(earlier.counted)

    def take(self, message: Message, told: OrderEvent | RejectedError) -> Result:
        """Decide one message; `told` is what it says, or why it could not be read."""
        try:
            if isinstance(told, RejectedError):
                raise told
            result = self._decide(told, f"{self._place_name}@{message.position}")
        except RejectedError as error:
            result = self._refuse(message, told, error)
        self.counts[result.outcome] += 1
        return result

    def _decide(self, told: OrderEvent, cause: str) -> Result:
        program = self._directory.programs.get(told.merchant_id)
        if program is None:
            raise RejectedError.at("$.merchant_id", "unknown_merchant", f"there is no merchant {told.merchant_id!r}")
        stream = Stream.order(told.merchant_id, told.order_id)
        if isinstance(told, OrderPlaced):
            return self._place(program, stream, told, cause)
        result = self._fact(program, stream, fact_of(program, told, self._now, cause))
        reason = getattr(told, "reason", None)
        if (told.metadata or reason) and result.outcome == "adjusted":
            self._keep_note(told, Note(None, reason, told.metadata))
        return result

    # --- placed orders ---

    def _place(self, program: Program, stream: str, told: OrderPlaced, cause: str) -> Result:
        known = stream in self._streams
        if known and told_before(self._order(stream), told):
            return self._result("duplicate", stream, told.order_id)
        events = place(program, told, self._now, cause, self._hash_key, self._bought(program, told))
        if not events:
            self._ignore(program, told)
            return Result("ignored", told.order_id)
        self._append(stream, events)
        first: OrderTaken = events[0]  # type: ignore[assignment]
        self._keep_newest(told, first.partner_id)
        if told.customer_id is not None:
            self._keep_people(told, told.customer_id)
        if told.metadata:
            self._keep_note(told, Note(told.customer_id, None, told.metadata))
        outcome = "earned" if first.to_state == "pending" else "skipped"
        if outcome == "earned" and program.counts_customers:
            self._count(program, told)
        if known:
            self._unpark(stream)
        self._shut_out(program, stream, first.partner_id, cause)
        if known:
            return self._result(outcome, stream, told.order_id)
        return Result(outcome, told.order_id, first.amount_minor, told.currency)

    def _bought(self, program: Program, told: OrderPlaced) -> CustomerOrders | None:
        """Return what the customer bought so far, None where nothing, or where the program does not count that."""
        if not program.counts_customers or told.customer_id is None:
            return None
        key = (told.merchant_id, told.customer_id)
        return self.counted.get(key) or self.counted_before.get(key)

    def _count(self, program: Program, told: OrderPlaced) -> None:
        if told.customer_id is None:
            return
        before = self._bought(program, told)
        at = told.occurred_at
        self.counted[told.merchant_id, told.customer_id] = before.and_one(at) if before else CustomerOrders(1, at)

    def _shut_out(self, program: Program, stream: str, partner_id: str, cause: str) -> None:
        """Reject what a message leaves open for a partner who is banned now, as the sweep would have done."""
        ban = program.partners[partner_id].ban
        if ban is None:
            return
        act = Act(self._now, self._now, program.day_of(self._now), cause)
        self._append(stream, bans.take(self._order(stream), self._streams[stream], ban, act))

    def _unpark(self, stream: str) -> None:
        order = self._order(stream)
        version, facts = order.version, {fact.cause: fact for fact in order.parked}
        events = take_parked(order)
        self._record(stream, version, events)
        for event in events:
            if isinstance(event, ParkedRefundRejected):
                self._refuse_parked(facts[event.parked_cause], event)

    def _ignore(self, program: Program, told: OrderPlaced) -> None:
        key = (told.merchant_id, program.day_of(told.occurred_at), told.currency)
        total = self.ignored.setdefault(key, [0, 0])
        total[0] += 1
        total[1] += told.total_minor

    def _keep_newest(self, told: OrderPlaced, partner_id: str) -> None:
        key = (told.merchant_id, partner_id)
        newest = self.newest.get(key)
        if newest is None or newest < told.occurred_at:
            self.newest[key] = told.occurred_at

    def _keep_people(self, told: OrderPlaced, customer_id: str) -> None:
        name, email = told.customer_name, told.customer_email
        if name or email:
            key = (told.merchant_id, customer_id)
            before = self.customers.get(key)
            self.customers[key] = (name or before[0], email or before[1]) if before else (name, email)

    def _keep_note(self, told: OrderEvent, note: Note) -> None:
        self.notes[told.merchant_id, told.order_id, told.event_id] = note

    # --- refunds, cancellations, disputes ---

    def _fact(self, program: Program, stream: str, fact: RefundParked) -> Result:
        order = self._order(stream)
        events = take_fact(order, fact)
        if events == DUPLICATE:
            return self._result("duplicate", stream, fact.order_id)
        was = order.state
        self._append(stream, events)
        if was == "reversed" and order.taken is not None:
            # Won back for a partner who may be banned since: what was reversed was not the sweep's to take.
            self._shut_out(program, stream, order.taken.partner_id, fact.cause)
        return self._result("adjusted", stream, fact.order_id)

    # --- what stands, and what is added ---

    def _order(self, stream: str) -> Order:
        order = self._orders.get(stream)
        if order is None:
            order = self._orders[stream] = fold(self._streams.setdefault(stream, []))
        return order

    def _append(self, stream: str, events: Sequence[Event]) -> None:
        known = self._streams.get(stream)
        if known is None:
            # A new order, as nearly all are: nobody has asked what it adds up to, so nothing is folded.
            self._record(stream, 0, events)
            return
        self._record(stream, len(known), events)
        order = self._orders.get(stream)
        if order is not None:
            for event in events:
                evolve(order, event)

    def _record(self, stream: str, version: int, events: Sequence[Event]) -> None:
        self._streams.setdefault(stream, []).extend(events)
        for event in events:
            version += 1
            self.events.append(Recorded(stream, version, event))

    def _result(self, outcome: str, stream: str, order_id: str) -> Result:
        order = self._order(stream)
        if order.taken is None:
            return Result(outcome, order_id)
        return Result(outcome, order_id, order.amount_minor + order.clawed_back_minor, order.taken.currency)

    # --- what is refused ---

    def _refuse(self, message: Message, told: OrderEvent | RejectedError, error: RejectedError) -> Result:
        merchant_id, order_id = (
            names_of(message.raw) if isinstance(told, RejectedError) else (told.merchant_id, told.order_id)
        )
        # Whoever came with a key is filed under it, whatever the message says. A letter without a merchant that we know
        # is the operator's to look at.
        merchant_id = self._source.merchant_id or merchant_id
        merchant_id = merchant_id if merchant_id in self._directory.programs else None
        id_ = dead_letter_id(*self._source, message.position)
        letter = DeadLetter(
            id_, self._source, message.position, merchant_id, message.key, message.raw, message.headers, error
        )
        self.dead_letters.append(letter)
        if merchant_id is not None:
            self._tell(letter, merchant_id)
        return Result("dead_lettered", order_id, error=error)

    def _tell(self, letter: DeadLetter, merchant_id: str) -> None:
        """Note that the letter was opened: a position is decided once, so this is the first that is said of it."""
        id_ = letter.dead_letter_id
        event = DeadLetterOpened(
            merchant_id=merchant_id, occurred_at=self._now, recorded_at=self._now,
            cause=self._source.cause(letter.position), dead_letter_id=id_, code=letter.error.code,
        )  # fmt: skip
        self.events.append(Recorded(Stream.notice(merchant_id, "dead-letter", id_), 1, event))

    def _refuse_parked(self, fact: RefundParked, event: ParkedRefundRejected) -> None:
        # Its message was counted as adjusted when it came; it is a dead letter after all, at its own position.
        source, position = Source.of_cause(fact.cause)
        error = RejectedError.at(
            "$.amount" if event.code == "refund_exceeds_total" else "$.currency",
            event.code,
            "found when the order came, after the refund",
        )
        raw = orjson.dumps(_as_told(fact))
        id_ = dead_letter_id(*source, position)
        self.dead_letters.append(DeadLetter(id_, source, position, fact.merchant_id, None, raw, (), error))
        self.unparked.append(fact.cause)


_TYPES = {
    "refund": "order.refunded",
    "cancellation": "order.cancelled",
    "dispute": "order.disputed",
    "dispute_won": "order.dispute_won",
}


def _as_told(fact: RefundParked) -> dict[str, object]:
    told: dict[str, object] = {
        "type": _TYPES[fact.kind],
        "event_id": fact.event_id,
        "merchant_id": fact.merchant_id,
        "order_id": fact.order_id,
        "occurred_at": fact.occurred_at,
    }
    if fact.kind == "refund":
        currency = str(fact.currency)
        told |= {
            "currency": currency,
            "refund_id": fact.refund_id,
            "amount": to_decimal_string(fact.refund_minor, currency),
        }
    return told
