"""Payouts by bank transfer. What is submitted waits for a batch; a person gives its file to the bank.

Nothing leaves by itself, so nothing is ever unknown but whether our own database answered: an order is kept once under
its end-to-end id, and looked up there.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from consumers.rails import Accepted, Attempt, Found, Instruction, Missing, Rejected, Several, State, Unknown
from consumers.rails.bank_file import Debtor, Payment, build, checked_payment
from consumers.rails.bank_statements import Movement, Statement
from ledger.bank_orders import Applied, BankOrders, Batch, Order, Told

_STATES: dict[str, State] = {
    "waiting": "in_transit",
    "sealed": "in_transit",
    "settled": "processed",
    "rejected": "failed",
    "returned": "returned",
}


class BankRail:
    """The rail `bank`."""

    name = "bank"
    # Our own table forgets no key.
    window = timedelta(days=3_650)

    def __init__(self, orders: BankOrders) -> None:
        self._orders = orders

    def refusal(self, instruction: Instruction, now: datetime) -> str | None:  # noqa: ARG002 - others ask what it is
        """Return None: whoever has an account may order."""
        return None

    def compose(self, instruction: Instruction) -> bytes:
        """Return the payment as JSON, byte for byte the same for the same instruction.

        Raises RejectedError as `bank_file.checked_payment` does.
        """
        payee = instruction.payee
        told = Payment(
            end_to_end_id_of(instruction), instruction.amount_minor, instruction.currency,
            payee.address, payee.name, payee.routing or None,
        )  # fmt: skip
        return json.dumps(checked_payment(told)._asdict(), separators=(",", ":")).encode()

    async def submit(self, attempt: Attempt) -> Accepted | Rejected | Unknown:
        """Keep the order, once: it waits for a batch."""
        ours = attempt.instruction
        told = Order(
            end_to_end_id_of(ours), ours.merchant_id, ours.payout_id, ours.amount_minor, ours.currency, attempt.body
        )
        try:
            return Accepted(_found(await asyncio.to_thread(self._orders.order, told, attempt.started_at)))
        except Exception as error:  # noqa: BLE001 - the database may have kept it all the same
            return Unknown(type(error).__name__)

    async def look_up(self, attempt: Attempt) -> Found | Missing | Several | Unknown:
        """Return the order of the attempt's payout, of whichever attempt it is."""
        try:
            orders = await asyncio.to_thread(self._orders.of_payout, attempt.instruction.payout_id)
        except Exception as error:  # noqa: BLE001 - as above
            return Unknown(type(error).__name__)
        # What was refused has an end; what a later attempt ordered counts.
        alive = [each for each in orders if each.state != "rejected"]
        if len(alive) > 1:
            return Several(tuple(each.end_to_end_id for each in alive))
        own = [each for each in orders if each.end_to_end_id == end_to_end_id_of(attempt.instruction)]
        return _found((alive or own)[0]) if alive or own else Missing()

    async def state(self, reference: str) -> Found | Missing | Unknown:
        """Return the order with this end-to-end id."""
        try:
            order = await asyncio.to_thread(self._orders.find, reference)
        except Exception as error:  # noqa: BLE001 - as above
            return Unknown(type(error).__name__)
        return Missing() if order is None else _found(order)


class BankBatches:
    """What a person does with batches: seal, fetch again, unseal (`BankOrders`), and give back what the bank told."""

    def __init__(self, orders: BankOrders, debtor: Debtor) -> None:
        self._orders, self._debtor = orders, debtor

    def seal(self, merchant_id: str, idempotency_key: str, *, execution_on: date, by: str, now: datetime) -> Batch:
        """Return the batch of everything that waits; the same request again is the same batch, byte for byte.

        Raises RejectedError as `BankOrders.seal` and `bank_file.build` do.
        """

        def files(orders: Sequence[Order], message_id: str) -> tuple[bytes, bytes]:
            payments = [Payment(**json.loads(order.body)) for order in orders]
            return build(payments, self._debtor, message_id=message_id, sealed_at=now, execution_on=execution_on)

        return self._orders.seal(merchant_id, idempotency_key, files, execution_on=execution_on, by=by, now=now)

    def take(self, statement: Statement, *, by: str, now: datetime, merchant_id: str | None = None) -> Applied:
        """Take what a file of the bank told; returns what came of each payment, and the payouts to look at."""
        told = [_told(each) for each in statement.movements]
        return self._orders.apply(
            told, by=by, now=now, merchant_id=merchant_id, refused_messages=statement.refused_messages
        )


def end_to_end_id_of(instruction: Instruction) -> str:
    """Return the id under which the bank knows the payment: the payout's, in letters and digits; at most 35."""
    own = "".join(character for character in instruction.payout_id if character.isalnum())
    return own if instruction.number == 1 else f"{own}A{instruction.number}"


def _told(movement: Movement) -> Told:
    return Told(*movement)


def _found(order: Order) -> Found:
    # A part that came back is not all of it.
    in_part = order.state == "returned" and order.returned_minor < order.amount_minor
    return Found(
        state="processed" if in_part else _STATES[order.state],
        reference=order.end_to_end_id,
        amount_minor=order.amount_minor,
        currency=order.currency,
        payee=json.loads(order.body)["iban"],
        returned_minor=order.returned_minor,
        code=order.code,
    )
