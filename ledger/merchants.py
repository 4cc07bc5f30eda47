"""Merchants and the terms of their programs."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from psycopg import Cursor
from psycopg.rows import DictRow

from ledger import payout_schedules, users
from ledger.access import Actor
from ledger.application import Ledger, following
from ledger.directory import limits_customers
from ledger.events import MerchantRegistered, Recorded, Stream, TermsChanged
from ledger.requests import Request
from ledger.store import VersionConflictError
from ledger.terms import (
    LETTERS,
    NOBODY_ELSE,
    SECOND_PERSON,
    Schedule,
    Terms,
    letters_of,
    minimum_of,
    plain,
    schedule_of,
)
from schemas import api_answers
from schemas.errors import ConflictError, Fault, NotFoundError, RejectedError
from schemas.money import MINOR_MAX, exponent, to_decimal_string

HOLD_DAYS_MAX = 999
ORDERS_PER_CUSTOMER_MAX = 1_000_000
MONTHS_PER_CUSTOMER_MAX = 1_200

_CHOICES: dict[str, tuple[str, ...]] = {
    "approval": ("immediate", "after_days", "manual"),
    "base": ("total", "net_of_tax", "net_of_tax_and_shipping"),
    "fixed_on_partial_refund": ("keep", "pro_rata"),
    "self_referral": ("skip", "allow"),
}


class Merchant(NamedTuple):
    """A merchant's program as its stream tells it.

    `position` is that of the last event written, None where none was.
    """

    merchant_id: str
    name: str
    currency: str
    time_zone: str
    terms: Terms
    position: int | None = None


def register(
    ledger: Ledger,
    *,
    merchant_id: str,
    name: str,
    currency: str,
    email: str,
    time_zone: str = "UTC",
    terms: Terms | None = None,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Merchant:
    """Open a merchant's program, whose first user is its owner, and return it.

    Raises ConflictError `merchant_exists`, RejectedError `unknown_currency`, `unknown_time_zone`, `bad_terms`.
    """
    exponent(currency)
    _check_time_zone(time_zone)
    terms = _checked(plain(terms or Terms()))
    _check_ahead(terms, None, time_zone, now)
    event = MerchantRegistered(
        merchant_id=merchant_id,
        occurred_at=now,
        recorded_at=now,
        cause=cause,
        name=name,
        currency=currency,
        time_zone=time_zone,
        terms=terms,
    )
    merchant = Merchant(merchant_id, name, currency, time_zone, terms)

    def beside(curs: Any) -> None:
        curs.execute(
            "INSERT INTO people.merchants (merchant_id, email) VALUES (%s, %s) ON CONFLICT (merchant_id) DO NOTHING",
            (merchant_id, email),
        )

    def after(curs: Cursor[DictRow], _: int | None) -> None:
        # Behind the events: where there is a merchant of this id already, nothing of it is touched.
        users.add(curs, merchant_id, "owner", None, email, now, Actor(cause))
        payout_schedules.write_schedule(curs, merchant_id, terms, time_zone, now)

    try:
        events = following(Stream.merchant(merchant_id), 0, [event])
        position = ledger.record(events, beside=beside, after=after, request=request, result=merchant)
    except VersionConflictError as error:
        raise ConflictError("merchant_exists", f"there is a merchant {merchant_id!r} already") from error
    return merchant._replace(position=position)


def find(ledger: Ledger, merchant_id: str) -> Merchant:
    """Return the merchant with the terms that were decided last. Raises NotFoundError."""
    return _fold(merchant_id, ledger.stream(Stream.merchant(merchant_id)))


def day_of(ledger: Ledger, merchant_id: str, instant: datetime) -> date:
    """Return the day of the instant in the program's time zone. Raises NotFoundError."""
    return instant.astimezone(ZoneInfo(find(ledger, merchant_id).time_zone)).date()


def shown_terms(terms: Terms) -> api_answers.Terms:
    """Return the terms as the API and the feed show them: amounts as decimals, null for what was never decided."""
    least = minimum_of(terms)
    return api_answers.Terms(
        version=terms.version,
        approval=terms.approval,
        hold_days=terms.hold_days,
        base=terms.base,
        fixed_on_partial_refund=terms.fixed_on_partial_refund,
        self_referral=terms.self_referral,
        minimum_payout={currency: to_decimal_string(minor, currency) for currency, minor in sorted(least.items())},
        max_orders_per_customer=_limit(terms.max_orders_per_customer),
        max_months_per_customer=_limit(terms.max_months_per_customer),
        payout_approval=NOBODY_ELSE if isinstance(terms.payout_approval, msgspec.UnsetType) else terms.payout_approval,
        payout_schedule=_shown_schedule(schedule_of(terms)),
        payout_letters=list(letters_of(terms)),
    )


def _shown_schedule(schedule: Schedule | None) -> dict[str, Any] | None:
    return None if schedule is None else msgspec.to_builtins(schedule)


def _limit(limit: int | msgspec.UnsetType) -> int | None:
    return None if isinstance(limit, msgspec.UnsetType) else limit


def change_terms(
    ledger: Ledger,
    *,
    merchant_id: str,
    changes: Mapping[str, Any],
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Merchant:
    """Put new terms in force from `now` on and return the merchant with them.

    `changes` are members of `Terms`; msgspec.UNSET takes a limit away. Commissions decided before keep their
    version. Changes that change nothing write nothing. Raises NotFoundError, RejectedError `bad_terms`, ConflictError
    `changed_meanwhile`.
    """
    stream = Stream.merchant(merchant_id)
    recorded = ledger.stream(stream)
    merchant = _fold(merchant_id, recorded)
    unknown = sorted(set(changes) - set(Terms.__struct_fields__) | set(changes) & {"version"})
    if unknown:
        raise RejectedError.at(f"$.{unknown[0]}", "unknown_term", f"there is no term {unknown[0]!r}")
    changed = plain(msgspec.structs.replace(merchant.terms, **changes))
    if changed == merchant.terms:
        ledger.record([], request=request, result=merchant)
        return merchant
    former = merchant.terms
    terms = _checked(msgspec.structs.replace(changed, version=former.version + 1))
    _check_ahead(terms, former, merchant.time_zone, now)
    event = TermsChanged(merchant_id=merchant_id, occurred_at=now, recorded_at=now, cause=cause, terms=terms)
    merchant = merchant._replace(terms=terms)
    counted = any(limits_customers(earlier) for earlier in _all_terms(recorded))

    def after(curs: Cursor[DictRow], _: int | None) -> None:
        if limits_customers(terms) and not counted:
            _count_customers(curs, merchant_id)
        payout_schedules.write_schedule(curs, merchant_id, terms, merchant.time_zone, now, former)

    try:
        events = following(stream, len(recorded), [event])
        position = ledger.record(events, after=after, request=request, result=merchant)
    except VersionConflictError as error:
        raise ConflictError("changed_meanwhile", "somebody else changed the terms at the same time") from error
    return merchant._replace(position=position)


def _fold(merchant_id: str, recorded: list[Recorded]) -> Merchant:
    if not recorded:
        raise NotFoundError("merchant", merchant_id)
    first = recorded[0].event
    assert isinstance(first, MerchantRegistered)  # noqa: S101 - what version 1 of this stream is
    latest = recorded[-1].event
    terms = latest.terms if isinstance(latest, TermsChanged) else first.terms
    return Merchant(merchant_id, first.name, first.currency, first.time_zone, terms)


def _all_terms(recorded: list[Recorded]) -> list[Terms]:
    return [each.event.terms for each in recorded if isinstance(each.event, (MerchantRegistered, TermsChanged))]


def _count_customers(curs: Cursor[DictRow], merchant_id: str) -> None:
    # Once per program, under the lock of the log, so that no order is counted twice or left out; intake counts on from
    # here. "0" is the character behind "/": the end of the merchant's orders.
    first = Stream.order(merchant_id, "")
    curs.execute(
        "INSERT INTO ledger.customer_orders (merchant_id, customer_id, orders, first_occurred_at)"
        " SELECT %s, state ->> 'customer_id', count(*), min((state ->> 'occurred_at')::timestamptz)"
        " FROM ledger.events"
        ' WHERE originator_id >= %s COLLATE "C" AND originator_id < %s COLLATE "C"'
        " AND topic = 'CommissionEarned' AND state ->> 'customer_id' IS NOT NULL"
        " GROUP BY state ->> 'customer_id'",
        (merchant_id, first, f"{first[:-1]}0"),
    )


def _checked(terms: Terms) -> Terms:
    faults = [
        Fault(f"$.{name}", "bad_terms", f"must be one of {', '.join(choices)}")
        for name, choices in _CHOICES.items()
        if getattr(terms, name) not in choices
    ]
    days = terms.hold_days
    if type(days) is not int or not 0 <= days <= HOLD_DAYS_MAX:
        faults.append(Fault("$.hold_days", "bad_terms", f"must be a whole number of days from 0 to {HOLD_DAYS_MAX}"))
    faults += [*_bad_limits(terms), *_bad_payouts(terms)]
    if faults:
        raise RejectedError("bad_terms", "the terms cannot be applied", faults)
    return terms


def _bad_limits(terms: Terms) -> list[Fault]:
    faults = []
    for name, highest in (
        ("max_orders_per_customer", ORDERS_PER_CUSTOMER_MAX),
        ("max_months_per_customer", MONTHS_PER_CUSTOMER_MAX),
    ):
        limit = getattr(terms, name)
        if limit is not msgspec.UNSET and (type(limit) is not int or not 1 <= limit <= highest):
            faults.append(Fault(f"$.{name}", "bad_terms", f"must be a whole number from 1 to {highest}"))
    minimum = minimum_of(terms)
    for currency, minor in minimum.items():
        exponent(currency)
        if not 0 <= minor <= MINOR_MAX:
            faults.append(Fault(f"$.minimum_payout.{currency}", "bad_terms", "must not be negative or too large"))
    return faults


def _bad_payouts(terms: Terms) -> list[Fault]:
    faults = []
    if terms.payout_approval not in (msgspec.UNSET, SECOND_PERSON):
        faults.append(Fault("$.payout_approval", "bad_terms", f"must be one of {NOBODY_ELSE}, {SECOND_PERSON}"))
    if any(each not in LETTERS for each in letters_of(terms)):
        faults.append(Fault("$.payout_letters", "bad_terms", f"must be some of {', '.join(LETTERS)}"))
    schedule = schedule_of(terms)
    return faults if schedule is None else [*faults, *_bad_schedule(schedule)]


def _bad_schedule(schedule: Schedule) -> list[Fault]:
    last = payout_schedules.LAST_DAY
    fine: dict[str, tuple[str, bool, str]] = {
        "month": (
            "day", type(schedule.day) is int and 1 <= schedule.day <= last, f"must be a day from 1 to {last}"
        ),
        "week": ("weekday", schedule.weekday in payout_schedules.WEEKDAYS, "must be a day of the week: monday"),
        "once": ("on", schedule.on is not None, "must be a day: YYYY-MM-DD"),
    }  # fmt: skip
    if schedule.every not in fine:
        return [Fault("$.payout_schedule.every", "bad_terms", f"must be one of {', '.join(fine)}")]
    member, is_fine, message = fine[schedule.every]
    return [] if is_fine else [Fault(f"$.payout_schedule.{member}", "bad_terms", message)]


def _check_ahead(terms: Terms, former: Terms | None, time_zone: str, now: datetime) -> None:
    """Refuse a new schedule of which no day is to come; one that was kept may be over."""
    schedule = schedule_of(terms)
    if schedule is None or (former is not None and schedule_of(former) == schedule):
        return
    if payout_schedules.next_day(schedule, now.astimezone(ZoneInfo(time_zone)).date()) is None:
        message = "must be today or a day to come, in the program's time zone"
        raise RejectedError.at("$.payout_schedule.on", "schedule_is_past", message)


def _check_time_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = f'{name!r} is not an IANA time zone such as "Europe/Berlin"'
        raise RejectedError.at("$.time_zone", "unknown_time_zone", message) from error
