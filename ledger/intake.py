"""Intake: messages and their positions in, their outcome committed, in one transaction a batch (DESIGN section 6).

The Kafka consumer, the tracking API and the file import all come through here. The outcome of a message never depends
on when, how often, in which batch or by which worker it is processed: the streams of its orders are read first, the
decision is pure, and the stream's version (for the order) and the position row (for the partition) refuse whatever was
decided on an old reading.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from ledger.application import ATTEMPTS, Ledger
from ledger.batch import OUTCOMES, Batch, CustomerKey, Message, Result, Source
from ledger.directory import Directory
from ledger.events import Stream
from ledger.orders import CustomerOrders
from ledger.requests import Request
from ledger.rows import check_decision, move_position, note_newest, read_customer_orders, write_batch
from ledger.store import PositionTakenError, VersionConflictError
from schemas.errors import RejectedError, RetryableError
from schemas.json_text import MESSAGE_BYTES_MAX, decode
from schemas.order_events import OrderEvent, OrderPlaced, parse, parse_object

__all__ = ["OUTCOMES", "Intake", "Message", "Result", "Source", "Taken"]

Told = OrderEvent | RejectedError


class Taken(NamedTuple):
    """What a batch became: where the partition stands now, the counts, a result per message, the last event's place."""

    position: int
    counts: Mapping[str, int]
    results: Sequence[Result]
    event_position: int | None


class Intake:
    """Takes messages into the books. Thread-safe; one a process is enough."""

    def __init__(self, ledger: Ledger) -> None:
        self.directory = Directory(ledger)
        self._ledger = ledger

    def position(self, source: Source) -> int | None:
        """Return the position of the last message whose outcome is committed, None where there is none."""
        with self._ledger.connection() as conn:
            row = conn.execute(
                "SELECT position FROM ledger.positions WHERE source = %s AND topic = %s AND partition = %s",
                source,
                prepare=True,
            ).fetchone()
        return row["position"] if row else None

    def saw(self, source: str, topic: str, newest: Mapping[int, int], now: datetime) -> None:
        """Write down each partition's newest message, for those who watch lag. Raises RetryableError."""
        with self._ledger.connection() as conn, conn.cursor() as curs:
            note_newest(curs, source, topic, newest, now)

    def take(self, source: Source, messages: Sequence[Message], now: datetime, *, after: int | None) -> Taken:
        """Commit the outcome of the messages (at least one, in order of position) of one partition.

        `after` is the position that the caller believes to be tracked. Raises PositionTakenError where it is another
        (nothing is written), RetryableError while the database is away (whether it was written is told by `position`),
        CorruptionError.
        """
        told = [_read(source, message) for message in messages]
        return self._commit(source, messages, told, now, after, None)

    def take_objects(
        self, merchant_id: str, objects: Sequence[object], now: datetime, request: Request | None = None
    ) -> Taken:
        """Commit the outcome of order events from the tracking API, decoded from JSON, all of this merchant.

        An event that names another merchant is refused. Raises as `take`, and RequestRepeatedError.
        """
        source = Source("api", merchant_id, 0)
        raw = [_raw(merchant_id, thing) for thing in objects]
        told = [_read_object(merchant_id, thing, len(value)) for thing, value in zip(objects, raw, strict=True)]
        for _ in range(ATTEMPTS):
            after = self.position(source)
            messages = [Message(number, value) for number, value in enumerate(raw, 0 if after is None else after + 1)]
            try:
                return self._commit(source, messages, told, now, after, request)
            except PositionTakenError:
                continue
        raise RetryableError("too many requests of this merchant at once")

    def take_again(self, source: Source, message: Message, now: datetime) -> tuple[Batch, Result]:
        """Decide a message anew without committing anything; for dead letters that are retried."""
        told = _read(source, message)
        self.directory.refresh()
        batch = self._batch(source, now, [told])
        return batch, batch.take(message, told)

    def rehearse(
        self, source: Source, messages: Sequence[Message], now: datetime, earlier: Batch | None
    ) -> tuple[Batch, list[Result]]:
        """Decide messages without committing anything, as if the `earlier` batch had been; for dry runs of files."""
        told = [_read(source, message) for message in messages]
        self.directory.refresh()
        batch = self._batch(source, now, told)
        if earlier is not None:
            batch.follow(earlier)
        return batch, [batch.take(message, said) for message, said in zip(messages, told, strict=True)]

    def _commit(
        self,
        source: Source,
        messages: Sequence[Message],
        told: Sequence[Told],
        now: datetime,
        after: int | None,
        request: Request | None,
    ) -> Taken:
        position = messages[-1].position
        for _ in range(ATTEMPTS):
            self.directory.refresh()
            batch = self._batch(source, now, told)
            results = [batch.take(message, said) for message, said in zip(messages, told, strict=True)]

            def beside(curs: Any, batch: Batch = batch) -> None:
                move_position(curs, source, after, position, batch.counts, now)
                write_batch(curs, batch, now)

            def after_insert(curs: Any, _: int | None, batch: Batch = batch) -> None:
                check_decision(curs, batch)

            try:
                last = self._ledger.record(
                    batch.events, beside=beside, after=after_insert, request=request, result=results
                )
            except VersionConflictError:
                continue
            return Taken(position, batch.counts, results, last)
        raise RetryableError(f"the orders of {source.topic}/{source.partition} are being written by somebody else")

    def _batch(self, source: Source, now: datetime, told: Iterable[Told]) -> Batch:
        names = {
            Stream.order(event.merchant_id, event.order_id) for event in told if not isinstance(event, RejectedError)
        }
        streams = self._ledger.streams(list(names)) if names else {}
        bought = self._bought(told) if self.directory.counts_customers else {}
        return Batch(self.directory, source, now, self._ledger.hash_key, streams, bought)

    def _bought(self, told: Iterable[Told]) -> dict[CustomerKey, CustomerOrders]:
        """Return what the customers of these orders bought so far, in programs that count it."""
        programs = self.directory.programs
        keys = {
            (event.merchant_id, event.customer_id)
            for event in told
            if isinstance(event, OrderPlaced) and event.customer_id is not None and event.merchant_id in programs
            and programs[event.merchant_id].counts_customers
        }  # fmt: skip
        if not keys:
            return {}
        with self._ledger.connection() as conn:
            return read_customer_orders(conn, keys)


def _read(source: Source, message: Message) -> Told:
    try:
        if source.merchant_id is None:
            return parse(message.raw, message.headers)
        return parse_object(decode(message.raw), source.merchant_id)
    except RejectedError as error:
        return error


def _read_object(merchant_id: str, thing: object, size: int) -> Told:
    try:
        if size > MESSAGE_BYTES_MAX:
            raise RejectedError.at("$", "too_large", f"{size} bytes, at most {MESSAGE_BYTES_MAX} are allowed")
        return parse_object(thing, merchant_id)
    except RejectedError as error:
        return error


def _raw(merchant_id: str, thing: object) -> bytes:
    # As a message of the topic would say it: its dead letter is complete, and says the same when it is taken in again.
    if isinstance(thing, dict):
        thing = {"merchant_id": merchant_id} | thing
    try:
        return orjson.dumps(thing, default=_as_sent)
    except TypeError:
        # Integers beyond 64 bits: wrong as they are, they must still be kept. So are fractions, which stay fractions.
        return json.dumps(thing, default=float).encode()


def _as_sent(number: object) -> orjson.Fragment:
    # The parser's exact floats: written as text they would turn into amounts, which a retry would book.
    return orjson.Fragment(str(number).encode())
