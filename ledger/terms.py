"""The terms of a program: what is owed for an order, when it becomes payable, and how payouts are made."""

from collections.abc import Mapping
from datetime import date

import msgspec

LETTERS = ("sent", "failed", "returned")
"""What partners are told of a payout."""

SECOND_PERSON = "second_person"
NOBODY_ELSE = "none"


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The days on which a payout run is prepared, in the program's time zone.

    `every`: `month` (on its `day`, 1-28), `week` (on its `weekday`, `monday` to `sunday`) or `once` (on the day `on`).
    """

    every: str
    day: int | None = None
    weekday: str | None = None
    on: date | None = None


class Terms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The terms of a program.

    `approval`: `immediate`, `after_days` (then `hold_days`, 0-999) or `manual`. `base`: `total`, `net_of_tax` or
    `net_of_tax_and_shipping`. `fixed_on_partial_refund`: `keep` or `pro_rata`. `self_referral`: `skip` or `allow`.
    `minimum_payout_minor`: per currency. `max_orders_per_customer` and `max_months_per_customer` (after the first
    order): how long a customer earns. `payout_approval`: `second_person`, or everybody's own. `payout_letters`: those
    of `LETTERS` that are sent. What is UNSET is not in the JSON: no minimum, no limit, no second person, no schedule,
    every letter.
    """

    version: int = 1
    approval: str = "after_days"
    hold_days: int = 30
    base: str = "total"
    fixed_on_partial_refund: str = "keep"
    self_referral: str = "skip"
    minimum_payout_minor: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    max_orders_per_customer: int | msgspec.UnsetType = msgspec.UNSET
    max_months_per_customer: int | msgspec.UnsetType = msgspec.UNSET
    payout_approval: str | msgspec.UnsetType = msgspec.UNSET
    payout_schedule: Schedule | msgspec.UnsetType = msgspec.UNSET
    payout_letters: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


def plain(terms: Terms) -> Terms:
    """Return the terms with what says no more than its absence left away, so that the same terms are equal."""
    letters = terms.payout_letters
    if not isinstance(letters, msgspec.UnsetType):
        letters = tuple(each for each in LETTERS if each in letters) + tuple(sorted(set(letters) - set(LETTERS)))
    return msgspec.structs.replace(
        terms,
        payout_approval=msgspec.UNSET if terms.payout_approval == NOBODY_ELSE else terms.payout_approval,
        payout_letters=msgspec.UNSET if letters == LETTERS else letters,
    )


def minimum_of(terms: Terms) -> Mapping[str, int]:
    """Return what a partner must be owed to be paid, in minor units by currency; one that is not named has none."""
    return {} if isinstance(terms.minimum_payout_minor, msgspec.UnsetType) else terms.minimum_payout_minor


def letters_of(terms: Terms) -> tuple[str, ...]:
    """Return what partners of the program are told of their payouts."""
    return LETTERS if isinstance(terms.payout_letters, msgspec.UnsetType) else terms.payout_letters


def schedule_of(terms: Terms) -> Schedule | None:
    """Return the days on which the program pays by itself, None where it does not."""
    return None if isinstance(terms.payout_schedule, msgspec.UnsetType) else terms.payout_schedule
