"""Notes about partners: what people of the merchant want to remember, in their own words. Never in an event."""

from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger import partners
from ledger.application import Ledger
from ledger.requests import Request
from schemas.errors import NotFoundError


class Note(NamedTuple):
    """A note about a partner; `author` is who wrote it and by which request. It changes nothing in the log."""

    note_id: str
    note: str
    author: str
    at: datetime
    position: None = None


def add(
    ledger: Ledger,
    *,
    merchant_id: str,
    partner_id: str,
    note: str,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Note:
    """Keep a note about the partner and return it; the same words in the same request are one note.

    Raises NotFoundError.
    """
    partners.find(ledger, merchant_id, partner_id)
    said = f"{merchant_id}\n{partner_id}\n{cause}\n{note}".encode()
    kept = Note(f"note_{blake2b(said, digest_size=10).hexdigest()}", note, cause, now)

    def beside(curs: Cursor[DictRow]) -> None:
        curs.execute(
            "INSERT INTO people.partner_notes (merchant_id, partner_id, note_id, note, author, at)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (merchant_id, partner_id, note_id) DO NOTHING",
            (merchant_id, partner_id, kept.note_id, note, cause, now),
        )

    ledger.record([], beside=beside, request=request, result=kept)
    return kept


def remove(ledger: Ledger, *, merchant_id: str, partner_id: str, note_id: str) -> None:
    """Blot a note out; nothing of it stays. Raises NotFoundError where the partner has no such note."""
    with ledger.connection() as conn:
        removed = conn.execute(
            "DELETE FROM people.partner_notes WHERE merchant_id = %s AND partner_id = %s AND note_id = %s",
            (merchant_id, partner_id, note_id),
        ).rowcount
    if not removed:
        raise NotFoundError("note", note_id)
