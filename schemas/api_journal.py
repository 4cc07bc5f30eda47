"""The journal as the HTTP API tells it."""

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from schemas.api import Answer, Day, Listing
from schemas.money import Money

Account = Literal["pending", "approved", "held", "in_payout", "paid", "clawed_back", "expense"]


class JournalQuery(Listing):
    """Which movements."""

    from_: Day | None = Field(default=None, alias="from", description="Those that took effect on this day or later.")
    to: Day | None = Field(default=None, description="Those that took effect on this day or earlier.")


class JournalEntry(Answer):
    """A movement of money. All accounts are the partner's, but `expense`: what commissions cost the merchant."""

    position: int = Field(description="Of the event in the log: it never changes.")
    type: str = Field(description="Of the event, as in `GET /events`.", examples=["commission.earned"])
    occurred_at: datetime = Field(description="When it took effect.")
    occurred_on: date = Field(description="The day of that, in the program's time zone.")
    recorded_at: datetime = Field(description="When we learned of it.")
    order_id: str = Field(description="The order's id, or that of the entry made by hand (`manual-...`).")
    partner_id: str
    debit: Account
    credit: Account
    amount: Money = Field(description="More than zero: debited to one account, credited to the other.")
    cause: str
