"""Bodies and answers about bank transfers: what waits, what is sealed into a batch, what the bank told."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.api import TEXT, Answer, Body, Day, Listing, Query
from schemas.api_stories import ActedBy
from schemas.money import Money

BankOrderState = Literal["waiting", "sealed", "settled", "rejected", "returned"]
BatchStatus = Literal["sealed", "unsealed"]
Became = Literal["settled", "returned", "rejected", "known", "differs", "unknown"]

Declaration = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500, pattern=TEXT),
    Field(examples=["The upload was refused by the bank's portal; Ann asked their support."]),
]
BankReference = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[!-~]([ -~]*[!-~])?$"),
    Field(examples=["2026112200012345"]),
]


class NewBankBatch(Body):
    """Seal everything that waits into one batch."""

    execution_on: Day = Field(description="The day on which the bank pays: today (UTC) or later, at most 90 days.")


class BankBatch(Answer):
    """A sealed batch. Its files are built once: every download is the same, byte for byte."""

    id: str
    status: BatchStatus
    message_id: str = Field(description="How the bank knows the batch (`MsgId`).")
    payments: int
    amount: Money
    execution_on: date
    sealed_at: datetime
    sealed_by: str = Field(description="The cause: by which request, and who made it.")
    by: ActedBy
    xml_sha256: str = Field(description="Of the pain.001 file, in hexadecimal digits.")
    csv_sha256: str
    unsealed_at: datetime | None = Field(description="Not null: its payments wait again, or are in a later batch.")
    unsealed_by: str | None
    declared: str | None = Field(description="What was declared when it was unsealed.")
    orders: dict[str, int] | None = Field(
        default=None, description="How many of its payments are in which state; null in lists."
    )


class BankBatchesQuery(Listing):
    """Which batches: the newest first."""

    status: BatchStatus | None = None


class Unsealing(Body):
    """A declaration that the batch was not uploaded: who knows that, and how."""

    declared: Declaration


class BankOrder(Answer):
    """One bank transfer: a payout's. To whom it goes is in the files of its batch, and nowhere else."""

    id: str = Field(description="The end-to-end id: how the bank's files name the payment.")
    payout_id: str
    partner_id: str
    batch_id: str | None
    state: BankOrderState
    amount: Money
    returned: Money = Field(description="What came back so far.")
    code: str | None = Field(description="Why it was refused or came back: the bank's code, or `withdrawn`.")
    reference: str | None = Field(description="The bank's, once it was booked.")
    ordered_at: datetime
    moved_at: datetime


class BankOrdersQuery(Listing):
    """Which bank transfers: the newest first."""

    state: BankOrderState | None = None
    batch_id: str | None = Field(default=None, max_length=128)
    payout_id: str | None = Field(default=None, max_length=128)


class SettledByHand(Body):
    """That somebody saw the payment on the bank's statement."""

    reference: BankReference = Field(description="The bank's; no other payment has it.")


class BankStatementResult(Answer):
    """What a file told of a payment, and what came of it."""

    end_to_end_id: str
    payout_id: str | None = Field(description="Null where it is none of yours.")
    kind: Literal["settled", "returned", "rejected", "by_hand"]
    reference: str
    amount: Money | None = Field(description="Null where the file says nothing of money, or of a currency unknown.")
    code: str | None
    became: Became = Field(
        description="`settled`, `returned`, `rejected`: the payment is that now; `known`: told before; `differs`: not"
        " as it was ordered, nothing was changed, and a person has to look; `unknown`: not a payment of yours."
    )


class BankStatementReport(Answer):
    """What came of a file of the bank. The same file again changes nothing."""

    sha256: str = Field(description="Of the file, in hexadecimal digits.")
    counts: dict[str, int] = Field(description="How many results became what.", examples=[{"settled": 12}])
    skipped: int = Field(description="Entries that are no payments of payouts and no returns of them, or not booked.")
    results: list[BankStatementResult] = Field(description="What a person should look at comes first.")
    results_left_out: int = Field(description="How many more results there are, of the kinds that come last.")


class BankStatementQuery(Query):
    """A file of the bank takes no parameters."""
