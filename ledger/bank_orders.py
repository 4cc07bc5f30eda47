"""Bank transfers on their way: what waits, what is sealed into which batch, and what the bank told of each.

A batch is built once; its bytes are kept and handed out the same for ever, since a bank tells a duplicate by them.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from hashlib import blake2b, sha256
from typing import Any, Literal, NamedTuple, TypeAlias

from psycopg import Connection, Rollback
from psycopg.rows import DictRow

from ledger.application import Ledger
from ledger.payout_books import Sealing
from ledger.payout_findings import Finding, keep_finding
from ledger.payout_spending import why_off
from ledger.payout_store import Hint, keep_hint
from schemas.errors import ConflictError, CorruptionError, NotFoundError, RejectedError, RetryableError

PAYMENTS_A_BATCH_MAX = 10_000

Became: TypeAlias = Literal["settled", "returned", "rejected", "known", "differs", "unknown"]
"""What came of a movement. `known`: told before; `differs`: not as ordered, a person looks; `unknown`: not ours."""


class Order(NamedTuple):
    """A transfer that was ordered. `body` is what is to be paid to whom, in clear: personal data."""

    end_to_end_id: str
    merchant_id: str
    payout_id: str
    amount_minor: int
    currency: str
    body: bytes
    state: str = "waiting"
    batch_id: str | None = None
    returned_minor: int = 0
    code: str | None = None


class Batch(NamedTuple):
    """A sealed batch; `xml` and `csv` are what is handed out, byte for byte."""

    batch_id: str
    merchant_id: str
    message_id: str
    payments: int
    amount_minor: int
    currency: str
    execution_on: date
    sealed_at: datetime
    xml: bytes
    xml_sha256: str
    csv: bytes
    csv_sha256: str
    unsealed_at: datetime | None = None
    declared: str | None = None


class Told(NamedTuple):
    """What the bank told of a payment; see `consumers.rails.bank_statements.Movement`."""

    kind: str
    end_to_end_id: str
    reference: str
    amount_minor: int | None
    currency: str | None
    code: str | None


class Result(NamedTuple):
    """A movement and what came of it; `payout_id` is None where it is none of ours."""

    told: Told
    payout_id: str | None
    became: Became


class Applied(NamedTuple):
    """What came of each movement, in order, and which payouts there is to look at now: the hints are in the inbox."""

    results: tuple[Result, ...]
    hints: tuple[Hint, ...]

    @property
    def became(self) -> tuple[tuple[str, Became], ...]:
        """What became of each end-to-end id."""
        return tuple((result.told.end_to_end_id, result.became) for result in self.results)


Build = Callable[[Sequence[Order], str], tuple[bytes, bytes]]
"""Makes the files (XML, CSV) of a batch from its orders and its message id. Raises RejectedError."""


def batch_id_of(merchant_id: str, idempotency_key: str) -> str:
    """Return the id of the batch that a request seals: the same request again is the same batch."""
    digest = blake2b(f"{merchant_id}\n{idempotency_key}".encode(), digest_size=8)
    return f"bb_{digest.hexdigest()}"


def _message_id(batch_id: str) -> str:
    return batch_id.replace("_", "")


class BankOrders:
    """The orders and batches in PostgreSQL; thread-safe. Every call is one transaction and raises RetryableError."""

    def __init__(self, ledger: Ledger, sealing: Sealing) -> None:
        self._ledger, self._sealing = ledger, sealing

    # --- ordering ---

    def order(self, order: Order, now: datetime) -> Order:
        """Keep the order, once, and return it as it stands."""
        with self._ledger.connection() as conn:
            conn.execute(
                "INSERT INTO people.bank_orders (end_to_end_id, merchant_id, payout_id, amount_minor, currency, state,"
                " body, ordered_at, moved_at) VALUES (%s, %s, %s, %s, %s, 'waiting', %s, %s, %s)"
                " ON CONFLICT (end_to_end_id) DO NOTHING",
                (*order[:5], self._sealing.seal(order.body), now, now),
            )
        found = self.find(order.end_to_end_id)
        assert found is not None  # noqa: S101 - it was written just now, and is never removed
        return found

    def find(self, end_to_end_id: str) -> Order | None:
        """Return the order, None where there is none."""
        with self._ledger.connection() as conn:
            rows = conn.execute(f"{_ORDERS} WHERE end_to_end_id = %s", (end_to_end_id,)).fetchall()
        return self._opened(rows)[0] if rows else None

    def of_payout(self, payout_id: str) -> list[Order]:
        """Return every order of the payout, in the order of their ids."""
        with self._ledger.connection() as conn:
            rows = conn.execute(f"{_ORDERS} WHERE payout_id = %s ORDER BY end_to_end_id", (payout_id,)).fetchall()
        return self._opened(rows)

    def withdraw(self, merchant_id: str, end_to_end_id: str, now: datetime) -> Hint:
        """Take an order back that is in no batch: nothing was paid. Returns the hint, kept, to look at its payout.

        Raises NotFoundError, ConflictError `not_waiting`.
        """
        with self._ledger.connection() as conn, conn.transaction():
            moved = conn.execute(
                "UPDATE people.bank_orders SET state = 'rejected', code = 'withdrawn', moved_at = %s"
                " WHERE end_to_end_id = %s AND merchant_id = %s AND state = 'waiting' RETURNING payout_id",
                (now, end_to_end_id, merchant_id),
            ).fetchone()
            if moved is not None:
                hint = Hint("bank", f"{end_to_end_id} withdrawn", moved["payout_id"], end_to_end_id)
                keep_hint(conn, hint, now)
                return hint
        found = self.find(end_to_end_id)
        if found is None or found.merchant_id != merchant_id:
            raise NotFoundError("bank order", end_to_end_id)
        raise ConflictError("not_waiting", f"the order is {found.state}: it may have been given to the bank")

    # --- batches ---

    def seal(
        self, merchant_id: str, idempotency_key: str, build: Build, *, execution_on: date, by: str, now: datetime
    ) -> Batch:
        """Put everything that waits into a batch, build its files, keep them, and return it; once for a request.

        Raises RejectedError `nothing_waits`, ConflictError `rail_off`, `payments_unknown`, and what `build` raises.
        """
        batch_id = batch_id_of(merchant_id, idempotency_key)
        known = self._known(batch_id)
        if known is not None:
            return known
        with self._ledger.connection() as conn:
            _check_may_seal(conn, merchant_id)
            rows = conn.execute(_WAITING, (merchant_id, PAYMENTS_A_BATCH_MAX)).fetchall()
        if not rows:
            raise RejectedError("nothing_waits", "no bank transfer waits to be sent")
        # Ten thousand payments take seconds to build and to check: no transaction waits for that.
        xml, csv = build(self._opened(rows), _message_id(batch_id))
        total, currency = sum(row["amount_minor"] for row in rows), rows[0]["currency"]
        batch = Batch(
            batch_id, merchant_id, _message_id(batch_id), len(rows), total, currency, execution_on, now,
            xml, sha256(xml).hexdigest(), csv, sha256(csv).hexdigest(),
        )  # fmt: skip
        return self._sealed(batch, [row["end_to_end_id"] for row in rows], by)

    def _known(self, batch_id: str) -> Batch | None:
        with self._ledger.connection() as conn:
            row = conn.execute(f"{_BATCHES} WHERE batch_id = %s", (batch_id,)).fetchone()
        return None if row is None else self._batch(row)

    def _sealed(self, batch: Batch, ids: list[str], by: str) -> Batch:
        """Keep the batch where all of its orders still wait; returns it, or the one that the same request made."""
        with self._ledger.connection() as conn, conn.transaction():
            moved = conn.execute(
                "UPDATE people.bank_orders SET state = 'sealed', moved_at = %s"
                " WHERE end_to_end_id = ANY(%s) AND state = 'waiting'",
                (batch.sealed_at, ids),
            ).rowcount
            if moved == len(ids):
                conn.execute(
                    _KEEP_BATCH,
                    (
                        *batch[:8],
                        self._sealing.seal(batch.xml),
                        batch.xml_sha256,
                        self._sealing.seal(batch.csv),
                        batch.csv_sha256,
                        by,
                    ),
                )
                conn.execute(
                    "UPDATE people.bank_orders SET batch_id = %s WHERE end_to_end_id = ANY(%s)", (batch.batch_id, ids)
                )
                return batch
            # Somebody else was faster with some of them: nothing of this is kept.
            raise Rollback
        known = self._known(batch.batch_id)
        if known is None:
            raise RetryableError("orders of the batch were moved while it was built")
        return known

    def batch(self, merchant_id: str, batch_id: str) -> Batch:
        """Return the batch with the bytes that were sealed. Raises NotFoundError, CorruptionError."""
        with self._ledger.connection() as conn:
            row = conn.execute(
                f"{_BATCHES} WHERE batch_id = %s AND merchant_id = %s", (batch_id, merchant_id)
            ).fetchone()
        if row is None:
            raise NotFoundError("bank batch", batch_id)
        return self._batch(row)

    def unseal(self, merchant_id: str, batch_id: str, *, declared: str, by: str, now: datetime) -> Batch:
        """Let the orders of a batch wait again, because a person declares that it was not uploaded. Returns the batch.

        Its bytes are kept. Raises NotFoundError, RejectedError `no_declaration`, ConflictError `unsealed_before`, and
        `bank_knows_it` where the bank told of any of its orders.
        """
        if not declared.strip():
            raise RejectedError.at("$.declared", "no_declaration", "say who knows that it was not uploaded, and how")
        with self._ledger.connection() as conn, conn.transaction():
            row = conn.execute(
                f"{_BATCHES} WHERE batch_id = %s AND merchant_id = %s FOR UPDATE", (batch_id, merchant_id)
            ).fetchone()
            if row is None:
                raise NotFoundError("bank batch", batch_id)
            if row["unsealed_at"] is not None:
                raise ConflictError("unsealed_before", "the batch was unsealed before")
            freed = conn.execute(
                "UPDATE people.bank_orders SET state = 'waiting', batch_id = NULL, moved_at = %s"
                " WHERE batch_id = %s AND state = 'sealed'",
                (now, batch_id),
            ).rowcount
            if freed != row["payments"]:
                raise ConflictError("bank_knows_it", "the bank told of orders of this batch: it was uploaded")
            conn.execute(
                "UPDATE people.bank_batches SET unsealed_at = %s, unsealed_by = %s, declared = %s WHERE batch_id = %s",
                (now, by, declared, batch_id),
            )
        return self.batch(merchant_id, batch_id)

    # --- what the bank tells ---

    def apply(
        self,
        told: Iterable[Told],
        *,
        by: str,
        now: datetime,
        merchant_id: str | None = None,
        refused_messages: Sequence[str] = (),
    ) -> Applied:
        """Take what the bank told, each movement once, however often and in whichever order its files come.

        With `merchant_id`, what is another merchant's is `unknown`. A message that was refused as a whole refuses all
        of its batch. Returns what came of each. Raises RejectedError where a reference settled another order by hand.
        """
        results: list[Result] = []
        hints: list[Hint] = []
        with self._ledger.connection() as conn, conn.transaction():
            refused = _refused(conn, refused_messages, merchant_id)
            for each in sorted([*told, *refused], key=_settled_first):
                row = conn.execute(f"{_ORDERS} WHERE end_to_end_id = %s FOR UPDATE", (each.end_to_end_id,)).fetchone()
                if row is None or merchant_id not in (None, row["merchant_id"]):
                    results.append(Result(each, None, "unknown"))
                    if row is None:
                        _keep_stranger(conn, each, merchant_id, now)
                    continue
                results.append(Result(each, row["payout_id"], _apply(conn, row, each, by, now)))
                if results[-1].became not in ("known", "differs"):
                    event_id = f"{each.end_to_end_id} {each.kind} {each.reference}"
                    hints.append(Hint("bank", event_id, row["payout_id"], each.end_to_end_id))
                    # In the same transaction: nobody asks again about a payout that is out, so that it came back would
                    # be known here and nowhere else.
                    keep_hint(conn, hints[-1], now)
        return Applied(tuple(results), tuple(hints))

    def settle_by_hand(
        self, merchant_id: str, end_to_end_id: str, reference: str, *, by: str, now: datetime
    ) -> Applied:
        """Note that a person saw the order on the bank's statement, under a reference that no other order has.

        The same again changes nothing. Raises NotFoundError, ConflictError `reference_used`, `not_sealed`.
        """
        found = self.find(end_to_end_id)
        if found is None or found.merchant_id != merchant_id:
            raise NotFoundError("bank order", end_to_end_id)
        told = Told("by_hand", end_to_end_id, reference, found.amount_minor, found.currency, None)
        applied = self.apply([told], by=by, now=now, merchant_id=merchant_id)
        if applied.became[0][1] == "differs":
            raise ConflictError("not_sealed", f"the order is {found.state}")
        return applied

    # --- parts ---

    def _opened(self, rows: Sequence[DictRow]) -> list[Order]:
        return [Order(**row | {"body": self._sealing.unseal(bytes(row["body"]))}) for row in rows]

    def _batch(self, row: DictRow) -> Batch:
        xml, csv = (self._sealing.unseal(bytes(row[name])) for name in ("xml", "csv"))
        batch = Batch(**row | {"xml": xml, "csv": csv})
        if (sha256(xml).hexdigest(), sha256(csv).hexdigest()) != (batch.xml_sha256, batch.csv_sha256):
            raise CorruptionError(f"the files of {batch.batch_id} are not those that were sealed")
        return batch


_ORDERS = f"SELECT {', '.join(Order._fields)} FROM people.bank_orders"  # noqa: S608 - our own words
_WAITING = f"{_ORDERS} WHERE merchant_id = %s AND state = 'waiting' ORDER BY end_to_end_id LIMIT %s"
_KEEP_BATCH = (
    "INSERT INTO people.bank_batches (batch_id, merchant_id, message_id, payments, amount_minor, currency,"
    " execution_on, sealed_at, xml, xml_sha256, csv, csv_sha256, sealed_by)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_BATCHES = f"SELECT {', '.join(Batch._fields)} FROM people.bank_batches"  # noqa: S608 - as above
# A file that tells of a payment and of its return is taken in the order in which they happened.
_ORDER_OF_KINDS = {"settled": 0, "by_hand": 0, "rejected": 1, "returned": 2}


def _settled_first(told: Told) -> int:
    return _ORDER_OF_KINDS[told.kind]


def _check_may_seal(conn: Connection[DictRow], merchant_id: str) -> None:
    reason = why_off(conn, "bank")
    if reason is not None:
        raise ConflictError("rail_off", f"bank transfers are switched off: {reason}")
    if conn.execute(_STRANGERS_OPEN, (merchant_id,)).fetchone() is not None:
        raise ConflictError(
            "payments_unknown", "the bank has paid what is on no books: say first what it was (payout reconciliation)"
        )


def _keep_stranger(conn: Connection[DictRow], told: Told, merchant_id: str | None, now: datetime) -> None:
    """Keep that the bank paid under an id of ours what is on no books; what names none of ours is somebody else's."""
    ours = _OUR_ID.fullmatch(told.end_to_end_id)
    if ours is None or told.kind != "settled" or told.amount_minor is None or told.currency is None:
        return
    theirs = (told.amount_minor, told.currency)
    found = Finding("bank", "theirs_only", "not_in_books", merchant_id, None, f"po_{ours[1]}", (ours[0],), None, theirs)
    keep_finding(conn, found, now)


# By the end-to-end id alone nobody knows who was paid, so that nobody could be frozen.
_STRANGERS_OPEN = (
    "SELECT FROM ledger.payout_findings WHERE rail = 'bank' AND kind = 'theirs_only' AND resolved_at IS NULL"
    " AND merchant_id = %s AND partner_id IS NULL LIMIT 1"
)
_OUR_ID = re.compile(r"po([0-9a-f]{16})(?:A[0-9]+)?", re.ASCII)


def _refused(conn: Connection[DictRow], message_ids: Sequence[str], merchant_id: str | None) -> list[Told]:
    rows = conn.execute(
        "SELECT end_to_end_id, message_id FROM people.bank_orders JOIN people.bank_batches AS batch USING (batch_id)"
        " WHERE message_id = ANY(%s) AND unsealed_at IS NULL AND batch.merchant_id = coalesce(%s, batch.merchant_id)"
        " ORDER BY end_to_end_id",
        (list(message_ids), merchant_id),
    ).fetchall()
    return [Told("rejected", row["end_to_end_id"], row["message_id"], None, None, "message_refused") for row in rows]


def _apply(conn: Connection[DictRow], row: DictRow, told: Told, by: str, now: datetime) -> Became:
    """Take one movement of an order that is locked; returns what came of it."""
    if _told_before(conn, told):
        return "known"
    after = _after(row, told)
    if after is None:
        return "differs"
    kept = conn.execute(
        "INSERT INTO people.bank_movements (end_to_end_id, merchant_id, kind, reference, amount_minor, told_at,"
        " told_by) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (told.end_to_end_id, row["merchant_id"], told.kind, told.reference, told.amount_minor, now, by),
    ).rowcount
    if not kept:
        raise ConflictError("reference_used", f"{told.reference!r} has settled another order")
    if after["state"] == row["state"] and after["returned_minor"] == row["returned_minor"]:
        return "known"
    conn.execute(
        "UPDATE people.bank_orders SET state = %(state)s, returned_minor = %(returned_minor)s, code = %(code)s,"
        " reference = coalesce(%(reference)s, reference), moved_at = %(now)s WHERE end_to_end_id = %(id)s",
        {**after, "now": now, "id": told.end_to_end_id},
    )
    return "settled" if told.kind == "by_hand" else told.kind  # type: ignore[return-value]


def _told_before(conn: Connection[DictRow], told: Told) -> bool:
    return (
        conn.execute(
            "SELECT FROM people.bank_movements WHERE end_to_end_id = %s AND kind = %s AND reference = %s",
            (told.end_to_end_id, told.kind, told.reference),
        ).fetchone()
        is not None
    )


def _after(row: DictRow, told: Told) -> dict[str, Any] | None:
    """Return the order after the movement, None where it cannot be: a person has to look."""
    if told.kind == "rejected":
        return _after_rejection(row, told)
    if told.currency != row["currency"] or told.amount_minor is None:
        return None
    # What waits and was booked all the same was in a file that these books do not know of: they were restored, or the
    # batch was said not to be uploaded. It must not go into another one.
    booked = row["state"] == "waiting" and told.kind == "settled"
    if row["state"] not in ("sealed", "settled", "returned") and not booked:
        return None
    return _after_booking(row, told) if told.kind in ("settled", "by_hand") else _after_return(row, told)


def _after_rejection(row: DictRow, told: Told) -> dict[str, Any] | None:
    # After the money was booked, a refusal can be true of something else only.
    if row["state"] != "sealed":
        return None
    return {"state": "rejected", "returned_minor": 0, "code": told.code or "RJCT", "reference": None}


def _after_booking(row: DictRow, told: Told) -> dict[str, Any] | None:
    if told.amount_minor != row["amount_minor"]:
        return None
    state = "returned" if row["state"] == "returned" else "settled"
    return {**row, "state": state, "reference": told.reference}


def _after_return(row: DictRow, told: Told) -> dict[str, Any] | None:
    amount_minor, total = row["amount_minor"], row["returned_minor"] + (told.amount_minor or 0)
    if row["returned_minor"] == amount_minor == told.amount_minor:
        # The statement tells again, under its own reference, what the notification told.
        return {**row, "reference": None}
    if total > amount_minor or told.amount_minor == 0:
        return None
    return {"state": "returned", "returned_minor": total, "code": told.code, "reference": None}
