"""A partner's statements: what was owed, what moved in a month, and what is owed after it, in one currency."""

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from schemas.api import Answer, CommissionStatus, CurrencyCode, Read
from schemas.money import Money

LineType = Literal[
    "opening", "earned", "entered", "adjusted", "clawed_back", "rejected", "reopened", "paid", "payment_returned",
    "closing",
]  # fmt: skip


class StatementQuery(Read):
    """Of which currency."""

    currency: CurrencyCode | None = Field(default=None, description="Left out: the program's currency.")


class StatementLine(Answer):
    """One line of a statement: a movement, or the balance at its beginning or end."""

    on: date = Field(description="The day on which it took effect, in the program's time zone.")
    type: LineType
    order_id: str | None = Field(
        description="The order's id, or that of the entry made by hand (`manual-...`); null for what a payout moved."
    )
    reference: str | None = Field(
        description="The merchant's own, of a payment or an entry made by hand; of a payout its transaction id."
    )
    payout_id: str | None = Field(
        default=None, description="What a payout paid, or what came back of it, is one line, whatever it is made of."
    )
    amount: Money | None = Field(description="By how much more (or less) is owed; null for the two balances.")
    balance: Money = Field(description="What is owed after it.")


class Owed(Answer):
    """What is owed, by how far it is on its way; together it is the balance."""

    pending: Money
    held: Money
    payable: Money = Field(description="Approved, net of clawbacks.")
    in_payout: Money


class Statement(Answer):
    """One month of a partner in one currency, as it is known at this time.

    What is told later of this month (a late order, say) belongs to it as well, so that each month begins with what the
    month before it ended with.
    """

    partner_id: str
    month: str = Field(examples=["2026-11"])
    from_: date = Field(alias="from")
    to: date
    currency: str
    opening: Money = Field(description="What was owed when the month began; negative: what the partner owed.")
    earned: Money = Field(description="All that was earned, adjusted, clawed back, rejected and reopened in it.")
    paid: Money = Field(description="Less what came back.")
    closing: Money = Field(description="Opening and earned, less paid.")
    standing: Owed = Field(description="How far what is owed at the end was then.")
    lines: list[StatementLine] = Field(description="The opening balance, every movement in order, the closing balance.")


class StatementMonth(Answer):
    """A month in which something was earned or paid."""

    month: str = Field(examples=["2026-11"])
    currency: str
    opening: Money
    earned: Money
    paid: Money
    closing: Money


class WaitingCommissions(Answer):
    """Commissions of one currency that wait: for their day, for an approval, or for a decision."""

    currency: str
    status: CommissionStatus = Field(description="`pending` or `held`.")
    commissions: int
    amount: Money
    next_due_at: datetime | None = Field(description="When the next one becomes payable by itself; null: none will.")
    next_due: Money | None = Field(description="What becomes payable then.")
