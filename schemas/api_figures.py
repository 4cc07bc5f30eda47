"""The figures of a whole program as the HTTP API tells them: partners by what they made, balances, what waits."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from schemas.api import Answer, CurrencyCode, Day, QueryInt, Read
from schemas.api_answers import Revenue
from schemas.money import Money

PARTNERS_MAX = 50

PartnersSort = Literal["earned", "revenue", "conversions"]


class PartnerMetricsQuery(Read):
    """Which days, by what the partners are sorted, and how many are wanted."""

    from_: Day | None = Field(default=None, alias="from", description="Left out: 29 days before `to`.")
    to: Day | None = Field(
        default=None, description="The last day, included; left out: today in the program's time zone."
    )
    currency: CurrencyCode | None = Field(default=None, description="Left out: the program's currency.")
    sort: PartnersSort = Field(default="earned", description="The most first; `revenue` is the net revenue.")
    limit: Annotated[QueryInt, Field(ge=1, le=PARTNERS_MAX)] = 10


class PartnerEarnings(Answer):
    """What a partner's commissions came to."""

    earned: Money = Field(description="With those entered by hand; after adjustments, clawbacks and rejections.")
    paid: Money
    outstanding: Money = Field(description="Owed now, whenever it was earned.")


class PartnerFigures(Answer):
    """The figures of one partner, in one currency."""

    partner_id: str
    name: str | None = Field(description="Null once the person was erased.")
    revenue: Revenue
    commissions: PartnerEarnings
    conversions: int = Field(description="Orders that earned a commission.")


class PartnerMetrics(Answer):
    """The partners who made something in these days."""

    from_: date = Field(alias="from")
    to: date
    currency: str
    sort: PartnersSort
    data: list[PartnerFigures]


class ProgramBalance(Answer):
    """What all partners are owed and were paid together, in one currency."""

    currency: str
    first_on: date = Field(description="The first day that has figures.")
    pending: Money
    approved: Money
    held: Money
    in_payout: Money
    paid: Money
    clawed_back: Money = Field(description="Taken back after it was paid; zero or negative.")
    payable: Money = Field(description="What is approved, less what was clawed back.")


class ProgramBalances(Answer):
    """A balance per currency; currencies are never added together."""

    data: list[ProgramBalance]


class Owing(Answer):
    """A partner of whom more was clawed back than is approved."""

    partner_id: str
    name: str | None = Field(description="Null once the person was erased.")
    payable: Money


class Waiting(Answer):
    """What waits for somebody; each kind is counted up to 1,000."""

    partners_applied: int = Field(description="Partners who applied and are neither approved nor rejected.")
    dead_letters_open: int
    commissions_held: int
    balances_negative: int = Field(description="Balances (partner and currency) of less than zero.")
    payout_runs_to_approve: int = Field(description="Payout runs that somebody other than their maker has to approve.")
    payout_run_missed_on: date | None = Field(
        description="The day whose scheduled payout run was made neither in time nor since: make it by hand, with that"
        " day's beginning as its cut-off. A later run, which pays that too, ends it."
    )
    payouts_in_review: int = Field(description="Payouts of which nobody knows what became, so that a person decides.")
    payout_findings_open: int = Field(description="Differences between the books and the providers of payouts.")
    owing: list[Owing] = Field(description="The first of those with a balance of less than zero, at most 5.")
    behind_since: datetime | None = Field(
        description="When the oldest event was recorded that the figures do not show yet; null: they show them all."
    )
