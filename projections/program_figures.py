"""The queries about a program as a whole: its partners by what they made, its balances, what waits for somebody."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString

# More than so many are not counted: who reads it has enough to do.
COUNTED_MAX = 1_000

_SORTED: dict[str, LiteralString] = {
    "earned": "earned_minor", "revenue": "gross_minor - refunded_minor", "conversions": "conversions"
}  # fmt: skip

_IN_RANGE: LiteralString = """
        WHERE merchant_id = %(merchant_id)s AND currency = %(currency)s AND day >= %(from_on)s AND day <= %(to_on)s
        GROUP BY partner_id"""
_MADE: LiteralString = f"""
        SELECT
            partner_id, sum(gross_minor)::bigint AS gross_minor, sum(refunded_minor)::bigint AS refunded_minor,
            sum(earned_minor + adjusted_minor + clawed_back_minor - rejected_minor)::bigint AS earned_minor,
            sum(paid_minor)::bigint AS paid_minor
        FROM read.revenue{_IN_RANGE}"""  # noqa: S608 - parts of our own
_COUNTED: LiteralString = f"""
        SELECT partner_id, sum(conversions)::bigint AS conversions FROM read.conversions{_IN_RANGE}"""  # noqa: S608 - as above
# Of the few that are shown only.
_COUNT: LiteralString = """
        SELECT sum(conversions)::bigint AS conversions FROM read.conversions
        WHERE
            merchant_id = %(merchant_id)s AND partner_id = ranked.partner_id AND currency = %(currency)s
            AND day >= %(from_on)s AND day <= %(to_on)s"""


def partners(sort: str) -> LiteralString:
    """Return the query for the partners of a range of days, those with the most first; `sort` is a key of _SORTED.

    Its parameters: merchant_id, currency, from_on, to_on, rows.
    """
    if sort == "conversions":
        made: LiteralString = f"({_MADE}) AS made LEFT JOIN ({_COUNTED}) AS counted USING (partner_id)"
        ranked: LiteralString = f"SELECT *, coalesce(conversions, 0) AS rank FROM {made}"  # noqa: S608 - parts of our own
        conversions: LiteralString = "ranked.conversions"
        beside: LiteralString = ""
    else:
        ranked = f"SELECT *, {_SORTED[sort]} AS rank FROM ({_MADE}) AS made"  # noqa: S608 - parts of our own
        conversions, beside = "counted.conversions", f"LEFT JOIN LATERAL ({_COUNT}) AS counted ON true"
    return f"""
    WITH ranked AS MATERIALIZED ({ranked} ORDER BY rank DESC, partner_id LIMIT %(rows)s)
    SELECT
        ranked.partner_id, person.name, gross_minor, refunded_minor, earned_minor, ranked.paid_minor,
        coalesce(pending_minor + approved_minor + held_minor + in_payout_minor + clawed_back_minor, 0)
            AS outstanding_minor,
        coalesce({conversions}, 0) AS conversions
    FROM ranked
    LEFT JOIN read.balances AS owed
        ON
            owed.merchant_id = %(merchant_id)s AND owed.partner_id = ranked.partner_id
            AND owed.currency = %(currency)s
    LEFT JOIN people.partners AS person
        ON person.merchant_id = %(merchant_id)s AND person.partner_id = ranked.partner_id
    {beside}
    ORDER BY rank DESC, ranked.partner_id"""  # noqa: S608 - parts of our own


# Money that moved belongs to a day, so that there is a first one.
BALANCES: LiteralString = """
SELECT
    currency, pending_minor, approved_minor, held_minor, in_payout_minor, paid_minor, clawed_back_minor,
    (
        SELECT min(day) FROM read.program_days
        WHERE merchant_id = %(merchant_id)s AND program_days.currency = balance.currency
    ) AS first_on
FROM read.program_balances AS balance WHERE merchant_id = %(merchant_id)s ORDER BY currency"""

# Found by its index in each currency (`commissions.sql`); hashes are computed apart, as in `lists`: behind the wall,
# rows are looked up by nothing that has yet to be computed of another row. In order, or the planner reads them all.
_HELD: LiteralString = """
    WITH wanted AS MATERIALIZED (
        SELECT currency, hashtextextended(%(merchant_id)s::text || '/held/' || currency, 0) AS hash
        FROM read.program_balances WHERE merchant_id = %(merchant_id)s
    )
    SELECT FROM wanted,
    LATERAL (
        SELECT FROM read.commissions
        WHERE
            by_state = wanted.hash AND CASE
                WHEN merchant_id = %(merchant_id)s AND state = 'held' AND currency = wanted.currency THEN true
                ELSE false
            END
        ORDER BY place DESC LIMIT %(most)s
    ) AS held"""
_OF_MERCHANT: LiteralString = "merchant_id = %(merchant_id)s"
_WAITING: dict[str, LiteralString] = {
    "partners_applied": f"SELECT FROM read.partners WHERE {_OF_MERCHANT} AND standing = 'applied'",
    "dead_letters_open": f"SELECT FROM ledger.dead_letters WHERE {_OF_MERCHANT} AND status = 'open'",
    "commissions_held": _HELD,
    "balances_negative": f"SELECT FROM read.balances WHERE {_OF_MERCHANT} AND approved_minor + clawed_back_minor < 0",
    "payout_runs_to_approve": (
        f"SELECT FROM ledger.payout_runs WHERE {_OF_MERCHANT} AND state = 'prepared' AND needs_approval"
    ),
    "payouts_in_review": f"SELECT FROM ledger.payouts WHERE {_OF_MERCHANT} AND is_open AND state = 'review'",
    "payout_findings_open": f"SELECT FROM ledger.payout_findings WHERE {_OF_MERCHANT} AND resolved_at IS NULL",
}
_OWING: LiteralString = """
    SELECT owed.partner_id, person.name, owed.currency, approved_minor + clawed_back_minor AS payable_minor
    FROM read.balances AS owed
    LEFT JOIN people.partners AS person
        ON person.merchant_id = %(merchant_id)s AND person.partner_id = owed.partner_id
    WHERE owed.merchant_id = %(merchant_id)s AND approved_minor + clawed_back_minor < 0
    ORDER BY owed.currency, payable_minor, owed.partner_id LIMIT %(owing)s"""
# The first event that the read models have not got to (`tracked` is what `Reads` puts around every query).
_BEHIND: LiteralString = """
    SELECT (state ->> 'recorded_at')::timestamptz FROM ledger.events_of_merchant AS event
    WHERE event.position > tracked.position ORDER BY event.position LIMIT 1"""
# A run of everything up to then, whoever made it, is what was missed.
_MISSED: LiteralString = f"""
    SELECT missed_on FROM ledger.payout_schedules AS schedule
    WHERE {_OF_MERCHANT} AND NOT EXISTS (
        SELECT FROM ledger.payout_runs AS run
        WHERE
            run.merchant_id = %(merchant_id)s AND run.state <> 'cancelled'
            AND run.cut_off_at >= schedule.missed_on::timestamp
            AT TIME ZONE (SELECT time_zone FROM read.programs WHERE {_OF_MERCHANT})
    )"""  # noqa: S608 - parts of our own
# Parameters: merchant_id, most (to count), owing (to name).
WAITING: LiteralString = ", ".join(
    [
        f"SELECT coalesce((SELECT json_agg(owing) FROM ({_OWING}) AS owing), '[]') AS owing",  # noqa: S608 - as below
        "(" + _BEHIND + ") AS behind_since",
        "(" + _MISSED + ") AS payout_run_missed_on",
        *(
            f"(SELECT count(*) FROM ({query} LIMIT %(most)s) AS found) AS {name}"  # noqa: S608 - parts of our own
            for name, query in _WAITING.items()
        ),
    ]
)


@dataclass(slots=True)
class PartnerFigures:
    """What one partner made in a range of days, in minor units of one currency; `outstanding_minor` is owed now.

    `name` is None where the person was erased.
    """

    partner_id: str
    name: str | None
    gross_minor: int
    refunded_minor: int
    earned_minor: int
    paid_minor: int
    outstanding_minor: int
    conversions: int


@dataclass(frozen=True, slots=True)
class ProgramBalance:
    """What all partners of a program are owed and were paid in one currency, which has figures since `first_on`."""

    currency: str
    pending_minor: int
    approved_minor: int
    held_minor: int
    in_payout_minor: int
    paid_minor: int
    clawed_back_minor: int
    first_on: date


@dataclass(frozen=True, slots=True)
class Owing:
    """A partner of whom more was clawed back than is approved."""

    partner_id: str
    name: str | None
    currency: str
    payable_minor: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much waits for somebody, each counted up to COUNTED_MAX; of the negative balances the first few as `owing`.

    `behind_since`: when the oldest event was recorded that the read models have not got to, None: there is none.
    `payout_run_missed_on`: the day whose scheduled run nobody made in time or since.
    """

    owing: list[Owing]
    behind_since: datetime | None
    payout_run_missed_on: date | None
    partners_applied: int
    dead_letters_open: int
    commissions_held: int
    balances_negative: int
    payout_runs_to_approve: int
    payouts_in_review: int
    payout_findings_open: int


def asked(merchant_id: str, currency: str, days: tuple[date, date], rows: int) -> dict[str, Any]:
    """Return the parameters of `partners`."""
    from_on, to_on = days
    return {"merchant_id": merchant_id, "currency": currency, "from_on": from_on, "to_on": to_on, "rows": rows}


def waiting(row: dict[str, Any]) -> Waiting:
    """Return what the row of WAITING says."""
    owing = [Owing(**each) for each in row.pop("owing")]
    return Waiting(owing=owing, **row)
