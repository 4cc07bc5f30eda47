"""The queries about partners, their codes and notes, and the rows of those that are no read model's own."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from projections.rows import Partner

# Of dated rates the last one that has begun; before the first has begun, the first: it reaches back for ever.
_IN_FORCE: LiteralString = """ORDER BY
        effective_at <= %(now)s DESC,
        CASE WHEN effective_at <= %(now)s THEN effective_at END DESC,
        CASE WHEN effective_at <= %(now)s THEN position END DESC,
        effective_at, position
    LIMIT 1"""

PARTNERS: LiteralString = f"""
SELECT
    partner.first_position, partner.partner_id, partner.standing, partner.registered_at, partner.changed_at,
    rate.type AS rate_type, rate.bps AS rate_bps, rate.amount_minor AS rate_minor,
    ARRAY(
        SELECT coupon.code FROM read.coupons AS coupon
        WHERE
            coupon.merchant_id = partner.merchant_id AND coupon.partner_id = partner.partner_id
            AND coupon.revoked_at IS NULL
        ORDER BY coupon.position
    ) AS coupon_codes,
    ARRAY(
        SELECT tag.tag FROM people.partner_tags AS tag
        WHERE tag.merchant_id = partner.merchant_id AND tag.partner_id = partner.partner_id
        ORDER BY tag.number
    ) AS tags,
    person.name, person.email,
    login.generation, login.link_expires_at, login.set_at AS password_set_at
FROM read.partners AS partner
CROSS JOIN LATERAL (
    SELECT * FROM read.partner_rates
    WHERE partner_rates.merchant_id = partner.merchant_id AND partner_rates.partner_id = partner.partner_id
    {_IN_FORCE}
) AS rate
LEFT JOIN people.partners AS person
    ON person.merchant_id = partner.merchant_id AND person.partner_id = partner.partner_id
LEFT JOIN access.partner_logins AS login
    ON login.merchant_id = partner.merchant_id AND login.partner_id = partner.partner_id
WHERE partner.merchant_id = %(merchant_id)s"""  # noqa: S608 - parts of our own

# One partner; or what a list is narrowed by.
BY_ID: LiteralString = " AND partner.partner_id = %(partner_id)s"
BY_IDS: LiteralString = " AND partner.partner_id = ANY(%(ids)s)"
BY_STANDING: LiteralString = " AND partner.standing = %(standing)s"
BY_TAG: LiteralString = """ AND EXISTS (
    SELECT FROM people.partner_tags AS tag
    WHERE tag.merchant_id = partner.merchant_id AND tag.partner_id = partner.partner_id AND tag.folded = %(tag)s
)"""
# Plain text, wherever it stands: no character of it means anything else. Ids from their beginning only.
BY_TEXT: LiteralString = """ AND (
    strpos(lower(person.name), lower(%(search)s)) > 0
    OR strpos(lower(person.email), lower(%(search)s)) > 0
    OR starts_with(partner.partner_id, %(search)s)
    OR EXISTS (
        SELECT FROM read.coupons AS coupon
        WHERE
            coupon.merchant_id = partner.merchant_id AND coupon.partner_id = partner.partner_id
            AND coupon.revoked_at IS NULL AND strpos(coupon.code, %(code)s) > 0
    )
)"""

# The orders of the list, each with where the next page begins.
SORTED: dict[str, LiteralString] = {
    "registered": " AND partner.first_position > %(after)s ORDER BY partner.first_position",
    "newest": " AND partner.first_position < %(after)s ORDER BY partner.first_position DESC",
    # A page begins behind a partner, not behind a name: names stand in no address.
    "name": """ AND person.name_folded >= '' AND (%(after)s::text = '' OR (person.name_folded, person.partner_id) > (
        SELECT before.name_folded, before.partner_id FROM people.partners AS before
        WHERE before.merchant_id = %(merchant_id)s AND before.partner_id = %(after)s
    )) ORDER BY person.name_folded, person.partner_id""",
}

START: dict[str, int | str] = {"registered": 0, "newest": 2**62, "name": ""}
"""Where each order of the list begins."""

COUPONS: LiteralString = f"""
SELECT
    coupon.position, coupon.code, coupon.assigned_at, coupon.revoked_at,
    rate.type AS rate_type, rate.bps AS rate_bps, rate.amount_minor AS rate_minor
FROM read.coupons AS coupon
CROSS JOIN LATERAL (
    -- Of the rates that the code had in these hands: until it was given to somebody again.
    SELECT * FROM read.coupon_rates
    WHERE
        coupon_rates.merchant_id = coupon.merchant_id AND coupon_rates.code = coupon.code
        AND coupon_rates.position >= coupon.position
        AND NOT EXISTS (
            SELECT FROM read.coupons AS later
            WHERE
                later.merchant_id = coupon.merchant_id AND later.code = coupon.code
                AND later.position > coupon.position AND later.position <= coupon_rates.position
        )
    {_IN_FORCE}
) AS rate
WHERE coupon.merchant_id = %(merchant_id)s AND coupon.partner_id = %(partner_id)s AND coupon.position > %(after)s
ORDER BY coupon.position LIMIT %(rows)s"""  # noqa: S608 - parts of our own

NOTES: LiteralString = """
SELECT sequence, note_id, note, author, at FROM people.partner_notes
WHERE merchant_id = %(merchant_id)s AND partner_id = %(partner_id)s AND sequence < %(before)s
ORDER BY sequence DESC LIMIT %(rows)s"""

# A partner's commissions in some states, newest first, for the sweep of a ban: found as the list of a partner is.
SWEPT: LiteralString = """
SELECT place, order_id FROM read.commissions
WHERE
    by_partner = hashtextextended(%(merchant_id)s::text || '/' || %(partner_id)s::text, 0)
    AND CASE WHEN merchant_id = %(merchant_id)s AND partner_id = %(partner_id)s THEN true ELSE false END
    AND CASE WHEN state = ANY(%(states)s) THEN true ELSE false END
    AND place < %(before)s
ORDER BY place DESC LIMIT %(rows)s"""


@dataclass(frozen=True, slots=True)
class Coupon:
    """A code that a partner has or had, with its rate at the time that was asked for; no type: the partner's own."""

    position: int
    code: str
    assigned_at: datetime
    revoked_at: datetime | None
    rate_type: str | None
    rate_bps: int
    rate_minor: int


@dataclass(frozen=True, slots=True)
class Note:
    """A note about a partner; `sequence` orders the list."""

    sequence: int
    note_id: str
    note: str
    author: str
    at: datetime


KEYS: dict[str, Callable[[Partner], int | str]] = {
    "registered": lambda partner: partner.first_position,
    "newest": lambda partner: partner.first_position,
    "name": lambda partner: partner.partner_id,
}
"""Behind which place the next page begins, in each order of the list."""
