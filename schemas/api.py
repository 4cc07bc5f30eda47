"""The bodies and answers of the HTTP API: what its callers send and get, and what OpenAPI publishes.

Bodies refuse what they do not know: a misspelt field would otherwise be dropped in silence. Answers may grow.
Money is `{"amount": "10.00", "currency": "USD"}`, instants are RFC 3339 in UTC, days `YYYY-MM-DD` in the program's time
zone.
"""

import re
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

import jiter
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from schemas.errors import RejectedError
from schemas.instants import OCCURRED_MAX, OCCURRED_MIN, RFC_3339, instant_of, malformed_instant

LIMIT_MAX = 200
LIMIT_DEFAULT = 50
ORDERS_MAX = 1_000
POSITION_MAX = 2**63 - 1

# What PostgreSQL's text can hold and a terminal can show: no control characters. \u escapes mean the same in JSON
# Schema (ECMA 262) and in pydantic's engine.
NO_CONTROL = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_SOMETHING = r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0][^\u0000-\u001f\u007f-\u009f]*$"
# The same with line breaks and tabs, for what is longer than a line.
TEXT = (
    r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0]"
    r"[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
)
_EMAIL = r"^[^\u0000-\u0020\u007f-\u00a0@]{1,64}@[^\u0000-\u0020\u007f-\u00a0@]{1,189}$"
_INSTANT = re.compile(RFC_3339, re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)


def _whole_number(value: Any) -> Any:
    """JSON numbers without a fraction are integers (`10.0` is one); booleans and strings are not."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = float(value) if isinstance(value, jiter.LosslessFloat) else value
    if not isinstance(number, float) or not number.is_integer():
        raise PydanticCustomError("not_an_integer", "must be a whole number")
    return int(number)


def _number_in_text(value: Any) -> Any:
    """Query parameters are text: digits, and nothing that only Python would read as a number."""
    if isinstance(value, int):
        return value
    if not isinstance(value, str) or not _INTEGER.fullmatch(value):
        raise PydanticCustomError("not_an_integer", "must be a whole number")
    return int(value)


def _instant(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    try:
        if not isinstance(value, str) or not _INSTANT.fullmatch(value):
            raise malformed_instant(value, "$")
        return instant_of(value)
    except RejectedError as error:
        raise PydanticCustomError(error.code, "{message}", {"message": error.message}) from None


def _day(value: Any) -> Any:
    try:
        if not isinstance(value, str) or not _DAY.fullmatch(value):
            raise PydanticCustomError("not_a_date", "must be a day: YYYY-MM-DD")
        day = date.fromisoformat(value)
    except ValueError as error:
        raise PydanticCustomError("not_a_date", "there is no such day") from error
    if not OCCURRED_MIN.date() <= day <= OCCURRED_MAX.date():
        raise PydanticCustomError("out_of_range", "must be from 1970-01-01 to 2199-12-31")
    return day


JsonInt = Annotated[int, BeforeValidator(_whole_number)]
QueryInt = Annotated[int, BeforeValidator(_number_in_text)]
Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-22T10:00:00Z"]}),
]
Day = Annotated[
    date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-11-22"]})
]
Id = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=NO_CONTROL)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_SOMETHING), Field(examples=["Jane Doe"])]
Email = Annotated[str, StringConstraints(max_length=254, pattern=_EMAIL), Field(examples=["jane@example.com"])]
Reason = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=_SOMETHING), Field(examples=["agreed on the phone"])
]
CouponCode = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, pattern=_SOMETHING),
    Field(examples=["JANE10"], description="Compared without case and surrounding space."),
]
CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), Field(examples=["USD"])]
AmountText = Annotated[str, StringConstraints(max_length=23, pattern=r"^[0-9]{1,16}(\.[0-9]{1,6})?$")]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=_SOMETHING)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=20)]
SearchText = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_SOMETHING)]
# As much as an address has room for (8,190 bytes), beside the other parameters; some 200 ids of our own.
IdsText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4_000, pattern=NO_CONTROL),
    Field(description=f"Those with these ids: at most {LIMIT_MAX}, with commas between them."),
]

Standing = Literal["invited", "applied", "approved", "rejected", "paused", "banned"]
PartnerMove = Literal["approve", "reject", "pause", "reinstate", "ban"]
PartnerSort = Literal["registered", "newest", "name"]
CommissionStatus = Literal["pending", "approved", "held", "in_payout", "paid", "rejected", "reversed", "skipped"]
Outcome = Literal["earned", "adjusted", "skipped", "ignored", "duplicate", "dead_lettered"]
Approval = Literal["immediate", "after_days", "manual"]
Base = Literal["total", "net_of_tax", "net_of_tax_and_shipping"]
FixedOnPartialRefund = Literal["keep", "pro_rata"]
SelfReferral = Literal["skip", "allow"]
PayoutApproval = Literal["none", "second_person"]
PayoutLetter = Literal["sent", "failed", "returned"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DeadLetterStatus = Literal["open", "retried", "discarded"]
DashboardAccess = Literal["link_open", "link_expired", "password_set"]
Interval = Literal["day", "week", "month"]
Scope = Literal["read", "orders:write", "partners", "payouts", "admin"]


class Body(BaseModel):
    """What a caller sends."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Answer(BaseModel):
    """What a caller gets; clients must ignore members that they do not know."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    @classmethod
    def trusted(cls, **members: Any) -> Self:
        """Return the answer with all of these members, unchecked.

        For the rows of lists, which come out of our own tables: to check hundreds of them took longer than to find them
        (four times as fast; `model_construct` is slower than checking).
        """
        made = cls.__new__(cls)
        _put(made, "__dict__", members)
        _put(made, "__pydantic_fields_set__", _names_of(cls))
        _put(made, "__pydantic_extra__", None)
        _put(made, "__pydantic_private__", None)
        return made


# What pydantic itself makes a frozen model with.
_put = object.__setattr__


@cache
def _names_of(model: type[BaseModel]) -> set[str]:
    """Return the one set that all trusted answers of a class share; nothing changes the fields of a frozen one."""
    return set(model.model_fields)


Row = TypeVar("Row", bound=Answer)


class Page(Answer, Generic[Row]):
    """A page of a list. `next_cursor` asks for the next one, null: this was the last."""

    data: list[Row]
    next_cursor: str | None


class Problem(Answer):
    """An error (RFC 9457). `code` is stable and meant for programs, `detail` for people."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"additionalProperties": True})

    type: str = Field(examples=["about:blank"])
    title: str
    status: int
    detail: str
    code: str
    request_id: str = Field(description="The same as the header `X-Request-Id`.")
    errors: list["FieldError"] | None = Field(default=None, description="The fields at fault, where fields are.")
    state: str | None = Field(default=None, description="With `illegal_move`: the state that it is in.")
    legal: list[str] | None = Field(default=None, description="With `illegal_move`: the moves that it can make.")


class FieldError(Answer):
    """One field at fault. `path` is a JSON path into the body, or `query.NAME`, `header.NAME`."""

    path: str = Field(examples=["$.total"])
    code: str
    message: str


class Nothing(Body):
    """No member is taken; the body may be left out."""


class Because(Body):
    """Why, for the record."""

    reason: Reason


# --- queries ---------------------------------------------------------------------------------------------------------


class Query(BaseModel):
    """The query string of a call; unknown parameters are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Read(Query):
    """A call that reads a read model."""

    min_position: Annotated[QueryInt, Field(ge=0, le=POSITION_MAX)] | None = Field(
        default=None,
        description="Wait (at most 5 s) until the read models have reached this position; 503 `not_yet` after that."
        " It is the `X-Ledger-Position` of an earlier answer: so a client reads its own writes.",
    )


class Listing(Read):
    """A call that reads a list."""

    limit: Annotated[QueryInt, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    cursor: Annotated[str, StringConstraints(max_length=512)] | None = Field(
        default=None, description="The `next_cursor` of the page before."
    )


# --- partners --------------------------------------------------------------------------------------------------------


class Rate(Body):
    """What a partner earns of an order: a percentage of its base, or a fixed amount in the program's currency."""

    type: Literal["percentage", "fixed"]
    value: Annotated[str, StringConstraints(max_length=23, pattern=r"^[0-9]{1,16}(\.[0-9]{1,6})?$")] = Field(
        examples=["10", "12.5"],
        description="`percentage`: 0 to 100 with at most two decimals; `fixed`: an amount such as `5.00`.",
    )


class PartnersQuery(Listing):
    """Which partners."""

    status: Standing | None = None
    tag: Tag | None = Field(default=None, description="Those with this tag; case does not count.")
    search: SearchText | None = Field(
        default=None, description="Stands in the name, the e-mail address or a coupon code, or begins the id."
    )
    ids: IdsText | None = None
    sort: PartnerSort = Field(
        default="registered",
        description="`registered`: who came first, first; `newest`: who came last; `name`: without case, those without"
        " a name last. A partner who is renamed while the pages are turned may be missed.",
    )


class PartnerOffer(Body):
    """Somebody who applied, or who is invited."""

    name: Name
    email: Email
    rate: Rate
    coupon_code: CouponCode | None = None
    tags: Tags = Field(default=(), description="Labels of your own; unique without case.")


class NewPartner(PartnerOffer):
    """A partner to be registered."""

    status: Literal["approved", "applied", "invited"] = Field(
        default="approved", description="`applied`, `invited`: earns nothing until it is approved."
    )


class PartnerChange(Body):
    """What is to change of a partner; members that are left out (or null) stay."""

    name: Name | None = None
    email: Email | None = None
    rate: Rate | None = None
    rate_from: Instant | None = Field(
        default=None, description="Orders placed from then on earn the new rate; left out: from now on."
    )
    tags: Tags | None = Field(default=None, description="All tags from now on; `[]` takes them away.")


class NewCoupon(Body):
    """A coupon code for the partner, with a rate of its own if one is given."""

    code: CouponCode
    rate: Rate | None = Field(default=None, description="Of orders with this code; left out: the partner's own rate.")
    from_: Instant | None = Field(
        default=None,
        alias="from",
        description="Orders placed from then on are the partner's. Left out: from now on, or, where nobody had the code"
        " before, all orders with it.",
    )


class CouponChange(Body):
    """Another rate for orders with the code; null: the partner's own again."""

    rate: Rate | None
    rate_from: Instant | None = Field(
        default=None, description="Orders placed from then on earn it; left out: from now on."
    )


class NewNote(Body):
    """What is to be remembered of a partner; the partner never sees it."""

    note: Annotated[str, StringConstraints(min_length=1, max_length=4_000, pattern=TEXT)]


# --- commissions -----------------------------------------------------------------------------------------------------


class CommissionsQuery(Listing):
    """Which commissions."""

    partner_id: Id | None = None
    status: CommissionStatus | None = None
    customer_id: Id | None = None
    from_: Day | None = Field(default=None, alias="from", description="Orders of this day and later.")
    to: Day | None = Field(default=None, description="Orders of this day and earlier.")
    currency: CurrencyCode | None = None
    payout_id: Id | None = None


# --- balances, customers, metrics ------------------------------------------------------------------------------------


class BalancesQuery(Listing):
    """Whose balances."""

    partner_id: Id | None = None
    partner_ids: IdsText | None = None
    currency: CurrencyCode | None = None
    payable: Literal["positive", "negative"] | None = Field(
        default=None, description="Those that are owed something, or that owe something themselves."
    )


class CustomersQuery(Listing):
    """Whose customers."""

    partner_id: Id | None = Field(
        default=None, description="Those whom the partner brought or was given, and nobody else was given since."
    )
    search: SearchText | None = Field(
        default=None, description="Begins the id, or is the whole e-mail address (case does not count)."
    )


class Reassignment(Body):
    """To which partner the customer's orders belong from now on, and why."""

    partner_id: Id
    reason: Reason


class MetricsQuery(Read):
    """Which days, how wide the buckets are, and of whom."""

    from_: Day | None = Field(default=None, alias="from", description="Left out: 29 days before `to`.")
    to: Day | None = Field(
        default=None, description="The last day, included; left out: today in the program's time zone."
    )
    interval: Interval = "day"
    partner_id: Id | None = None
    currency: CurrencyCode | None = Field(default=None, description="Left out: the program's currency.")


# --- program, dead letters, intake -----------------------------------------------------------------------------------


class MonthlyPayouts(Body):
    """A payout run on the same day of every month."""

    every: Literal["month"]
    day: Annotated[JsonInt, Field(ge=1, le=28)]


class WeeklyPayouts(Body):
    """A payout run on the same day of every week."""

    every: Literal["week"]
    weekday: Weekday


class PayoutsOnce(Body):
    """A payout run on one day, and no more."""

    every: Literal["once"]
    on: Day


PayoutSchedule = Annotated[MonthlyPayouts | WeeklyPayouts | PayoutsOnce, Field(discriminator="every")]


class ProgramChange(Body):
    """New terms; what is left out or null stays as it is; but null takes limits and the schedule away."""

    approval: Approval | None = None
    hold_days: Annotated[JsonInt, Field(ge=0, le=999)] | None = None
    base: Base | None = None
    fixed_on_partial_refund: FixedOnPartialRefund | None = None
    self_referral: SelfReferral | None = None
    minimum_payout: dict[CurrencyCode, AmountText] | None = Field(
        default=None,
        description="What a partner must be owed, per currency, before a payout is made; it replaces what was set, null"
        " and `{}` take it away.",
        examples=[{"USD": "50.00"}],
    )
    max_orders_per_customer: Annotated[JsonInt, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Only the first so many orders of a customer earn; null: all do."
    )
    max_months_per_customer: Annotated[JsonInt, Field(ge=1, le=1_200)] | None = Field(
        default=None, description="A customer earns for so many months after the first order; null: for ever."
    )
    payout_approval: PayoutApproval | None = Field(
        default=None, description="`second_person`: somebody other than who made a payout run has to approve it."
    )
    payout_schedule: PayoutSchedule | None = Field(
        default=None,
        description="When payout runs are prepared by themselves, in the program's time zone; null: never. Paid is what"
        " was payable when the day began.",
        examples=[{"every": "month", "day": 5}],
    )
    payout_letters: tuple[PayoutLetter, ...] | None = Field(
        default=None, max_length=3, description="What partners are told by e-mail of their payouts."
    )


class DeadLettersQuery(Listing):
    """Which dead letters."""

    status: DeadLetterStatus | None = None
    code: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_CONTROL)] | None = Field(
        default=None, description="Those that were refused for this reason."
    )
