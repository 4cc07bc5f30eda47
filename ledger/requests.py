"""Idempotency keys: a request and its answer are remembered for ever, in the transaction of what the request did."""

from collections.abc import Callable
from typing import Any, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import DictRow


class Request(NamedTuple):
    """A request that wants to happen once. `answer` makes the HTTP status and body of the command's result."""

    merchant_id: str
    idempotency_key: str
    body_sha256: bytes
    answer: Callable[[Any], tuple[int, bytes]]


class StoredAnswer(NamedTuple):
    """What was answered the first time, to which body, and the position that it wrote (None: nothing)."""

    body_sha256: bytes
    status: int
    body: bytes
    position: int | None


def find(conn: Connection[DictRow], merchant_id: str, idempotency_key: str) -> StoredAnswer | None:
    """Return the answer that the key was given before, None where it is new."""
    row = conn.execute(
        "SELECT body_sha256, status, body, position FROM ledger.requests"
        " WHERE merchant_id = %s AND idempotency_key = %s",
        (merchant_id, idempotency_key),
    ).fetchone()
    return StoredAnswer(**row) if row else None


def answer_request(request: Request, result: Any, curs: Cursor[DictRow], position: int | None) -> None:
    """Store the request's answer; runs in the transaction of the events, behind them."""
    status, body = request.answer(result)
    curs.execute(
        "INSERT INTO ledger.requests (merchant_id, idempotency_key, body_sha256, status, body, position)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (request.merchant_id, request.idempotency_key, request.body_sha256, status, body, position),
    )
