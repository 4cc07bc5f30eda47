"""Partners to whom nothing is sent: somebody holds their payouts back, or an alarm did, until somebody has looked."""

from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger import partners
from ledger.application import Ledger
from ledger.requests import Request


class Frozen(NamedTuple):
    """Whether a partner is frozen after a command: `reason` and `frozen_at` are None where it is not."""

    partner_id: str
    reason: str | None
    frozen_at: datetime | None


def hold(
    ledger: Ledger,
    merchant_id: str,
    partner_id: str,
    reason: str,
    *,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Frozen:
    """Send the partner nothing from now on; what is frozen already keeps its first reason. Raises NotFoundError."""
    return _change(ledger, merchant_id, partner_id, Frozen(partner_id, reason, now), (reason, cause, now), request)


def release(
    ledger: Ledger,
    merchant_id: str,
    partner_id: str,
    reason: str,
    *,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Frozen:
    """Let the partner be paid again, for this reason. Raises NotFoundError."""
    return _change(ledger, merchant_id, partner_id, Frozen(partner_id, None, None), (reason, cause, now), request)


def _change(
    ledger: Ledger,
    merchant_id: str,
    partner_id: str,
    frozen: Frozen,
    why: tuple[str, str, datetime],
    request: Request | None,
) -> Frozen:
    partners.find(ledger, merchant_id, partner_id)
    asked: dict[str, Any] = dict(zip(("reason", "cause", "now"), why, strict=True))
    asked |= {"m": merchant_id, "p": partner_id}

    def beside(curs: Cursor[DictRow]) -> None:
        curs.execute(_RELEASE if frozen.reason is None else _HOLD, asked)

    ledger.record([], beside=beside, request=request, result=frozen)
    return frozen


# What changes nothing is not written down either.
_CHANGED: LiteralString = """
INSERT INTO ledger.payout_freeze_changes (merchant_id, partner_id, frozen, reason, cause, changed_at)
SELECT %(m)s, %(p)s, frozen, %(reason)s, %(cause)s, %(now)s FROM changed"""
_HOLD: LiteralString = f"""
WITH changed AS (
    INSERT INTO ledger.payout_freezes VALUES (%(m)s, %(p)s, %(reason)s, %(now)s)
    ON CONFLICT DO NOTHING RETURNING true AS frozen
) {_CHANGED}"""  # noqa: S608 - our own words
_RELEASE: LiteralString = f"""
WITH changed AS (
    DELETE FROM ledger.payout_freezes WHERE (merchant_id, partner_id) = (%(m)s, %(p)s) RETURNING false AS frozen
) {_CHANGED}"""  # noqa: S608 - our own words
