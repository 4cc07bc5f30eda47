"""What is told of payouts by letter: a row each, written in the transaction of its event, taken by whoever sends it.

So no letter is forgotten, whoever dies when; and none is written twice, for a row is one event's and one person's.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger.application import Ledger
from ledger.events import Event, Recorded
from ledger.payout_events import PayoutEvent, PayoutFailed, PayoutProcessed, PayoutReturned, PayoutRunPrepared

SCHEDULE = "schedule"
"""Who makes the runs that nobody makes."""

APPROVAL = "approval"

Outcome = Literal["sent", "unwanted", "nobody", "too_late", "refused", "no_mail"]
"""What became of a letter: the program sends none of the kind, nobody is there any more, it could not be sent in time,
the address was refused for good, the installation sends no mail."""

_KINDS: dict[type[Event], str] = {PayoutProcessed: "sent", PayoutFailed: "failed", PayoutReturned: "returned"}


class DueLetter(NamedTuple):
    """A letter to be sent: `kind` of `ledger.terms.LETTERS` to a partner, or `approval` to a user.

    `subject_id` is the payout (or the run), `number` the version of its stream that the letter tells of; `told_at` when
    that was.
    """

    merchant_id: str
    subject_id: str
    number: int
    to_id: str
    kind: str
    told_at: datetime
    tries: int


def write_letters(curs: Cursor[DictRow], recorded: Iterable[Recorded], now: datetime) -> None:
    """Note who is to be told of these events, in their transaction."""
    partners = []
    for each in recorded:
        event = each.event
        if type(event) in _KINDS and isinstance(event, PayoutEvent):
            kind = _KINDS[type(event)]
            partners.append((event.merchant_id, event.payout_id, each.originator_version, event.partner_id, kind))
        elif isinstance(event, PayoutRunPrepared) and _waits_for_somebody(event):
            curs.execute(_TELL_USERS, (event.run_id, each.originator_version, APPROVAL, now, now, event.merchant_id))
    if partners:
        columns = [list(column) for column in zip(*partners, strict=True)]
        curs.execute(_TELL_PARTNERS, (now, now, *columns))


def _waits_for_somebody(event: PayoutRunPrepared) -> bool:
    return event.needs_approval and event.partners_in > 0 and event.maker == SCHEDULE


def take_letters(ledger: Ledger, now: datetime, lease: timedelta, limit: int) -> list[DueLetter]:
    """Take the letters whose time has come, for as long as the lease; the oldest first. Raises RetryableError."""
    with ledger.connection() as conn:
        rows = conn.execute(_TAKE, (now + lease, now, limit), prepare=True).fetchall()
    return sorted((DueLetter(**row) for row in rows), key=lambda letter: letter.told_at)


def finish_letter(ledger: Ledger, letter: DueLetter, outcome: Outcome) -> None:
    """Note what became of the letter: nobody takes it any more. Raises RetryableError."""
    _move(ledger, letter, None, outcome)


def try_letter_again(ledger: Ledger, letter: DueLetter, at: datetime) -> None:
    """Note that the letter could not be sent, and when to try again. Raises RetryableError."""
    _move(ledger, letter, at, None)


def _move(ledger: Ledger, letter: DueLetter, due_at: datetime | None, outcome: Outcome | None) -> None:
    with ledger.connection() as conn:
        conn.execute(_MOVE, (due_at, outcome, *letter[:4]))


_TELL_PARTNERS = """
INSERT INTO people.payout_letters (told_at, due_at, merchant_id, subject_id, number, to_id, kind)
SELECT %s, %s, * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[])
ON CONFLICT DO NOTHING"""
# Whoever may pay, as `ledger.access.ROLES` has it.
_TELL_USERS = """
INSERT INTO people.payout_letters (merchant_id, to_id, subject_id, number, kind, told_at, due_at)
SELECT merchant_id, user_id, %s, %s, %s, %s, %s FROM access.users
WHERE merchant_id = %s AND role IN ('owner', 'finance') AND disabled_at IS NULL
ON CONFLICT DO NOTHING"""
_TAKE = """
UPDATE people.payout_letters SET due_at = %s, tries = tries + 1
WHERE (merchant_id, subject_id, number, to_id) IN (
    SELECT merchant_id, subject_id, number, to_id FROM people.payout_letters WHERE due_at <= %s
    ORDER BY due_at, subject_id LIMIT %s FOR UPDATE SKIP LOCKED
)
RETURNING merchant_id, subject_id, number, to_id, kind, told_at, tries"""
_MOVE = (
    "UPDATE people.payout_letters SET due_at = %s, outcome = %s"
    " WHERE (merchant_id, subject_id, number, to_id) = (%s, %s, %s, %s)"
)
