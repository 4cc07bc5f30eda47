"""Guessing is slow: after a few wrong passwords for a name, whether anybody has it or not, it has to wait.

In the database, so that several web processes count together. Attempts are counted before they are made: many at once
are as many. Names are kept as keyed hashes, and for a day.
"""

from datetime import datetime, timedelta
from math import ceil

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger.access import once
from ledger.application import Ledger

FREE = 5
"""So many attempts are made without a wait; from then on each waits twice as long as the one before."""

_FIRST_WAIT = timedelta(seconds=30)
_WAIT_MAX = timedelta(minutes=15)
_KEPT = timedelta(days=1)

_ATTEMPT = """
INSERT INTO access.login_failures AS told (name_mac, failures, failed_at, locked_until)
VALUES (%(name)s, 1, %(now)s, %(now)s)
ON CONFLICT (name_mac) DO UPDATE SET
    failures = CASE WHEN told.failed_at < %(forgotten)s THEN 1 ELSE told.failures + 1 END,
    failed_at = %(now)s,
    locked_until = %(now)s + CASE
        WHEN told.failed_at < %(forgotten)s OR told.failures + 1 < %(free)s THEN interval '0'
        ELSE least(%(first)s * 2 ^ least(told.failures + 1 - %(free)s, 20), %(longest)s)
    END
WHERE told.locked_until <= %(now)s
"""
_LOCKED_UNTIL = "SELECT locked_until FROM access.login_failures WHERE name_mac = %s"
_FORGET = (
    "DELETE FROM access.login_failures WHERE name_mac IN ("
    "SELECT name_mac FROM access.login_failures WHERE failed_at < %s LIMIT 100 FOR UPDATE SKIP LOCKED)"
)


def attempt(ledger: Ledger, name_mac: bytes, now: datetime) -> int:
    """Count an attempt, and return 0; or count none, and return how many seconds the name has to wait."""

    def work(curs: Cursor[DictRow]) -> int:
        curs.execute(_FORGET, (now - _KEPT,))
        curs.execute(
            _ATTEMPT,
            {
                "name": name_mac, "now": now, "forgotten": now - _KEPT, "free": FREE, "first": _FIRST_WAIT,
                "longest": _WAIT_MAX,
            },
        )  # fmt: skip
        if curs.rowcount == 1:
            return 0
        row = curs.execute(_LOCKED_UNTIL, (name_mac,)).fetchone()
        return 0 if row is None else max(ceil((row["locked_until"] - now).total_seconds()), 1)

    return once(ledger, None, work)


def forgiven(ledger: Ledger, name_mac: bytes) -> None:
    """Forget the attempts on a name: the right password was given. Raises RetryableError."""
    once(ledger, None, lambda curs: forgive(curs, name_mac))


def forgive(curs: Cursor[DictRow], name_mac: bytes) -> None:
    """Forget the attempts on a name, in the caller's transaction: the right password was given, or set."""
    curs.execute("DELETE FROM access.login_failures WHERE name_mac = %s", (name_mac,))
