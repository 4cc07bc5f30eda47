"""What does not agree between the books and the providers of payouts: kept until it agrees again, or somebody declares.

A payment that a provider has and the books do not is money that would be paid once more: it freezes its partner.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from hashlib import blake2b
from typing import Any, LiteralString, NamedTuple, TypeAlias

import orjson
from psycopg import Connection, Cursor
from psycopg.rows import DictRow

from ledger.access import once
from ledger.application import Ledger
from ledger.requests import Request
from schemas.api_reconciliation import FindingKind, FindingReason
from schemas.errors import ConflictError, NotFoundError

CAUSE = "payouts/reconciliation"
FROZEN_BECAUSE = "theirs_only"
"""Why a partner is frozen of whom a provider has a payment that the books do not have."""

Sum: TypeAlias = tuple[int, str]
"""Minor units and currency."""


class Ours(NamedTuple):
    """A payout by the books. `method`: by which means a person confirmed it, None where nobody did."""

    payout_id: str
    merchant_id: str
    partner_id: str
    currency: str
    amount_minor: int
    state: str
    attempt: int
    reference: str | None
    returned_minor: int
    method: str | None


class Finding(NamedTuple):
    """Something that does not agree. `merchant_id` and `partner_id` are None where nobody knows whose it is."""

    rail: str
    kind: FindingKind
    reason: FindingReason
    merchant_id: str | None = None
    partner_id: str | None = None
    payout_id: str | None = None
    references: tuple[str, ...] = ()
    ours: Sum | None = None
    theirs: Sum | None = None

    @property
    def finding_id(self) -> str:
        """The same for ever: of what is only theirs that of the payment, of all else that of the payout."""
        about = ",".join(self.references) if self.kind == "theirs_only" else self.payout_id
        told = f"{self.rail}\n{self.kind}\n{about}".encode()
        return f"pf_{blake2b(told, digest_size=8).hexdigest()}"


class Kept(NamedTuple):
    """A finding as it is kept; open where `resolved_at` is None. `resolved_by` None: it agreed again by itself."""

    finding_id: str
    finding: Finding
    first_seen_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None
    declared: str | None


class Counts(NamedTuple):
    """How many payouts, or payments, were found to agree and not to."""

    matched: int = 0
    ours_only: int = 0
    theirs_only: int = 0
    differing: int = 0
    several: int = 0

    def plus(self, kind: str) -> "Counts":
        """Return the counts with one more of the kind, or `matched`."""
        return self._replace(**{kind: getattr(self, kind) + 1})


class Compared(NamedTuple):
    """One comparison of a rail, to be kept. `counts` are per merchant, None for what is nobody's.

    `reason` says why it is not complete: then nothing is taken for resolved.
    """

    rail: str
    began_at: datetime
    since: datetime
    until: datetime
    finished_at: datetime
    reason: str | None
    by: str
    counts: Mapping[str | None, Counts]
    findings: Sequence[Finding]
    hints: int


class PayoutFindings:
    """Findings in PostgreSQL, and what there is to compare; thread-safe. Every call raises RetryableError."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    # --- what there is to compare ---

    def claim(self, rail: str, now: datetime, lease: timedelta) -> bool:
        """Take the rail, if its time has come, for as long as the lease; returns whether it is ours."""
        with self._ledger.connection() as conn:
            claimed = conn.execute(
                "INSERT INTO ledger.payout_reconciling AS kept VALUES (%s, %s)"
                " ON CONFLICT (rail) DO UPDATE SET due_at = excluded.due_at WHERE kept.due_at <= %s",
                (rail, now + lease, now),
            )
            return bool(claimed.rowcount)

    def next_at(self, rail: str, due_at: datetime) -> None:
        """Let the rail be compared at that time."""
        with self._ledger.connection() as conn:
            conn.execute("UPDATE ledger.payout_reconciling SET due_at = %s WHERE rail = %s", (due_at, rail))

    def moved_since(self, rail: str, since: datetime) -> list[Ours]:
        """Return the rail's payouts that somebody may have sent, and to which something happened since."""
        return self._ours(_MOVED_SINCE, {"rail": rail, "since": since})

    def of_ids(self, payout_ids: Iterable[str]) -> dict[str, Ours]:
        """Return those of the payouts that are on the books, by id."""
        found = self._ours(_OF_IDS, {"ids": orjson.dumps(sorted(set(payout_ids))).decode()})
        return {each.payout_id: each for each in found}

    def _ours(self, where: str, asked: Mapping[str, Any]) -> list[Ours]:
        with self._ledger.connection() as conn:
            rows = conn.execute(f"{_OURS}{where} ORDER BY payout.payout_id", asked).fetchall()
        return [Ours(**row) for row in rows]

    def payees(self, payout_ids: Sequence[str]) -> dict[str, bytes]:
        """Return who is paid by each of these, sealed, where that is kept."""
        with self._ledger.connection() as conn:
            rows = conn.execute(
                "SELECT payout_id, payee FROM people.payout_payees WHERE payout_id ="
                " ANY(ARRAY(SELECT json_array_elements_text(%s))) AND payee IS NOT NULL",
                (orjson.dumps(list(payout_ids)).decode(),),
            ).fetchall()
        return {row["payout_id"]: bytes(row["payee"]) for row in rows}

    def strangers(self, rail: str, since: datetime) -> list[tuple[str, str | None]]:
        """Return payouts of which the provider sent word, and that are not on the books: id, and its reference."""
        with self._ledger.connection() as conn:
            rows = conn.execute(
                "SELECT DISTINCT ON (payout_id) payout_id, reference FROM ledger.payout_hints AS hint"
                " WHERE provider = %s AND received_at >= %s AND payout_id IS NOT NULL"
                " AND NOT EXISTS (SELECT FROM ledger.payouts AS known WHERE known.payout_id = hint.payout_id)"
                " ORDER BY payout_id, received_at DESC",
                (rail, since),
            ).fetchall()
        return [(row["payout_id"], row["reference"]) for row in rows]

    def unsettled(self, before: date) -> frozenset[str]:
        """Return the open payouts by bank transfer that were to be executed before that day, and wait for the bank."""
        with self._ledger.connection() as conn:
            rows = conn.execute(
                "SELECT payout.payout_id FROM people.bank_orders AS ordered"
                " JOIN people.bank_batches AS batch USING (batch_id) JOIN ledger.payouts AS payout USING (payout_id)"
                " WHERE ordered.state = 'sealed' AND batch.execution_on < %s AND payout.is_open",
                (before,),
            ).fetchall()
        return frozenset(row["payout_id"] for row in rows)

    # --- findings ---

    def open(self, rail: str | None = None, merchant_id: str | None = None) -> list[Kept]:
        """Return the open findings, of this rail and this merchant where they are named; the oldest first."""
        with self._ledger.connection() as conn:
            rows = conn.execute(
                f"{_KEPT} WHERE resolved_at IS NULL AND coalesce(rail = %s, true) AND coalesce(merchant_id = %s, true)"
                " ORDER BY first_seen_at, finding_id",
                (rail, merchant_id),
            ).fetchall()
        return [kept_of(row) for row in rows]

    def last_complete(self, rail: str) -> tuple[datetime, datetime] | None:
        """Return from when to when the rail was compared last, completely; None where it never was."""
        with self._ledger.connection() as conn:
            row = conn.execute(
                "SELECT since_at, until_at FROM ledger.payout_reconciliations WHERE rail = %s AND complete"
                " ORDER BY began_at DESC LIMIT 1",
                (rail,),
            ).fetchone()
        return None if row is None else (row["since_at"], row["until_at"])

    def keep(self, compared: Compared) -> int:
        """Keep a comparison and what it found; returns how many findings agree again.

        Whoever turns up as theirs only, with a partner, is frozen in the same transaction.
        """
        with self._ledger.connection() as conn, conn.transaction():
            # Of two that compare at once, the second one sees what the first one kept.
            conn.execute(_LOCK, (compared.rail,))
            for finding in compared.findings:
                keep_finding(conn, finding, compared.finished_at)
            resolved = 0 if compared.reason else _resolve_all_but(conn, compared)
            _keep_run(conn, compared)
        return resolved

    def resolve(
        self,
        finding_id: str,
        *,
        declared: str,
        by: str,
        now: datetime,
        merchant_id: str | None = None,
        request: Request | None = None,
    ) -> Kept:
        """Note what somebody found out about a finding, and return it; the same again changes nothing.

        With `merchant_id` only where it is that merchant's. A frozen partner stays frozen: releasing is an act of its
        own. Raises NotFoundError, ConflictError `resolved_otherwise`, RequestRepeatedError.
        """

        def work(curs: Cursor[DictRow]) -> Kept:
            curs.execute(
                f"{_KEPT} WHERE finding_id = %s AND coalesce(merchant_id = %s, %s) FOR UPDATE",
                (finding_id, merchant_id, merchant_id is None),
            )
            row = curs.fetchone()
            if row is None:
                raise NotFoundError("finding", finding_id)
            if row["declared"] not in (None, declared):
                raise ConflictError("resolved_otherwise", "somebody declared something else about it")
            if row["declared"] is None:
                row = curs.execute(_RESOLVE, (now, by, declared, finding_id)).fetchone()
            assert row is not None  # noqa: S101 - it is locked
            return kept_of(row)

        return once(self._ledger, request, work)


def keep_finding(conn: Connection[DictRow], finding: Finding, now: datetime) -> None:
    """Keep the finding, in the caller's transaction; whoever is paid by what only the provider has is frozen.

    What somebody declared something about stays as it is, and freezes nobody once more.
    """
    finding = _with_owner(conn, finding)
    (ours, currency), (theirs, their_currency) = finding.ours or (None, None), finding.theirs or (None, None)
    sums = (currency, ours, their_currency, theirs)
    told = (finding.finding_id, finding.finding_id, *finding[:6], list(finding.references), *sums, now, now)
    kept = conn.execute(_KEEP, told).fetchone()
    if kept is not None and finding.kind == "theirs_only" and None not in (finding.merchant_id, finding.partner_id):
        asked = {"m": finding.merchant_id, "p": finding.partner_id, "now": now}
        conn.execute(_FREEZE, asked | {"reason": FROZEN_BECAUSE, "cause": CAUSE})


def _with_owner(conn: Connection[DictRow], finding: Finding) -> Finding:
    """Return the finding with its owner, where the payout's id is in the list of a run."""
    if finding.partner_id is not None or finding.payout_id is None:
        return finding
    row = conn.execute(
        "SELECT merchant_id, partner_id FROM ledger.payout_lines WHERE payout_id = %s"
        " AND coalesce(merchant_id = %s, true) LIMIT 1",
        (finding.payout_id, finding.merchant_id),
    ).fetchone()
    return finding if row is None else finding._replace(**row)


def kept_of(row: Mapping[str, Any]) -> Kept:
    """Return the finding of a row with the columns of `KEPT_COLUMNS`."""
    ours = None if row["ours_minor"] is None else (row["ours_minor"], row["currency"])
    theirs = None if row["theirs_minor"] is None else (row["theirs_minor"], row["their_currency"])
    finding = Finding(
        row["rail"], row["kind"], row["reason"], row["merchant_id"], row["partner_id"], row["payout_id"],
        tuple(row["their_references"]), ours, theirs,
    )  # fmt: skip
    return Kept(row["finding_id"], finding, *(row[name] for name in Kept._fields[2:]))


def _resolve_all_but(conn: Connection[DictRow], compared: Compared) -> int:
    seen = [finding.finding_id for finding in compared.findings]
    return conn.execute(
        "UPDATE ledger.payout_findings SET resolved_at = %s WHERE rail = %s AND resolved_at IS NULL"
        " AND first_seen_at < %s AND NOT finding_id = ANY(%s)",
        (compared.finished_at, compared.rail, compared.began_at, seen),
    ).rowcount


def _keep_run(conn: Connection[DictRow], compared: Compared) -> None:
    sums = Counts(*(sum(each) for each in zip(*compared.counts.values(), strict=True))) if compared.counts else Counts()
    conn.execute(
        "INSERT INTO ledger.payout_reconciliations (rail, began_at, since_at, until_at, finished_at, complete, reason,"
        " asked_by, matched, ours_only, theirs_only, differing, several, hints)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (*compared[:5], compared.reason is None, compared.reason, compared.by, *sums, compared.hints),
    )
    conn.execute("DELETE FROM ledger.payout_reconciliation_counts WHERE rail = %s", (compared.rail,))
    for merchant_id, counts in compared.counts.items():
        if merchant_id is not None:
            conn.execute(
                "INSERT INTO ledger.payout_reconciliation_counts VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (compared.rail, merchant_id, *counts),
            )


KEPT_COLUMNS: LiteralString = (
    "finding_id, rail, kind, reason, merchant_id, partner_id, payout_id, their_references, currency, ours_minor,"
    " their_currency, theirs_minor, first_seen_at, last_seen_at, resolved_at, resolved_by, declared"
)
_KEPT = f"SELECT {KEPT_COLUMNS} FROM ledger.payout_findings"  # noqa: S608 - our own words
_RESOLVE = (
    "UPDATE ledger.payout_findings SET resolved_at = coalesce(resolved_at, %s), resolved_by = %s, declared = %s"  # noqa: S608 - as above
    f" WHERE finding_id = %s RETURNING {KEPT_COLUMNS}"
)
# Returns a row where it is new, or open again: not where it was open, nor where somebody declared what it is.
_KEEP = """
WITH before AS (
    SELECT resolved_at, declared FROM ledger.payout_findings WHERE finding_id = %s
), kept AS (
    INSERT INTO ledger.payout_findings AS kept (
        finding_id, rail, kind, reason, merchant_id, partner_id, payout_id, their_references, currency, ours_minor,
        their_currency, theirs_minor, first_seen_at, last_seen_at
    ) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (finding_id) DO UPDATE SET
        reason = excluded.reason, their_references = excluded.their_references, currency = excluded.currency,
        ours_minor = excluded.ours_minor, their_currency = excluded.their_currency,
        theirs_minor = excluded.theirs_minor, last_seen_at = excluded.last_seen_at,
        partner_id = coalesce(kept.partner_id, excluded.partner_id),
        merchant_id = coalesce(kept.merchant_id, excluded.merchant_id),
        resolved_at = CASE WHEN kept.declared IS NULL THEN NULL ELSE kept.resolved_at END
    RETURNING finding_id
)
SELECT kept.finding_id FROM kept
WHERE NOT EXISTS (SELECT FROM before WHERE before.resolved_at IS NULL OR before.declared IS NOT NULL)"""
_FREEZE = """
WITH changed AS (
    INSERT INTO ledger.payout_freezes VALUES (%(m)s, %(p)s, %(reason)s, %(now)s)
    ON CONFLICT DO NOTHING RETURNING true AS frozen
)
INSERT INTO ledger.payout_freeze_changes (merchant_id, partner_id, frozen, reason, cause, changed_at)
SELECT %(m)s, %(p)s, frozen, %(reason)s, %(cause)s, %(now)s FROM changed"""
_OURS = """
SELECT
    payout.payout_id, payout.merchant_id, payout.partner_id, payout.currency, payout.amount_minor, payout.state,
    payout.attempt, payout.reference, payout.returned_minor, confirmed.method
FROM ledger.payouts AS payout
LEFT JOIN ledger.payout_confirmations AS confirmed
    ON confirmed.payout_id = payout.payout_id AND confirmed.merchant_id = payout.merchant_id"""
_MOVED_SINCE = (
    " WHERE payout.rail = %(rail)s AND payout.updated_at >= %(since)s"
    " AND (payout.attempt > 0 OR payout.state = 'processed')"
)
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('payout_findings/' || %s, 0))"
_OF_IDS = " WHERE payout.payout_id = ANY(ARRAY(SELECT json_array_elements_text(%(ids)s)))"
