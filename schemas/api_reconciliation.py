"""Reconciliation of payouts with their providers, as the API tells it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.api import TEXT, Answer, Body, Listing
from schemas.api_stories import ActedBy
from schemas.money import Money

FindingKind = Literal["ours_only", "theirs_only", "differing", "several"]
"""What does not agree: we know of it and the provider does not; the other way round; both, and they differ; there are
several payments for one payout."""

FindingReason = Literal[
    "not_shown", "not_settled", "not_in_books", "not_ours", "amount", "currency", "payee", "returned",
    "paid_after_all", "not_paid", "several",
]  # fmt: skip
"""`not_shown`: the provider has no such payment. `not_settled`: the bank told nothing of it for days. `not_in_books`:
it names a payout that we do not have. `not_ours`: it names none. `paid_after_all`: paid, although it failed or was
cancelled with us. `not_paid`: failed there, although it is paid with us. `returned`: more came back by our books."""

ReconciliationStatus = Literal["complete", "incomplete"]
Compared = Literal["list", "one_by_one", "statements", "nothing"]
FindingStatus = Literal["open", "resolved"]


class PayoutFindingsQuery(Listing):
    """Which findings."""

    status: FindingStatus | None = None


class FindingResolution(Body):
    """What somebody found out about a finding, and did about it."""

    declared: Annotated[
        str,
        StringConstraints(min_length=1, max_length=1_000, pattern=TEXT),
        Field(examples=["Looked it up at Stripe: paid before the restore. Marked as paid by hand, mark 12."]),
    ]


class PayoutFinding(Answer):
    """Something about which a provider and the books do not agree. Open until it agrees, or somebody declares."""

    id: str
    rail: str
    kind: FindingKind
    reason: FindingReason
    payout_id: str | None
    partner_id: str | None
    references: list[str] = Field(description="The provider's numbers.")
    ours: Money | None = Field(description="The amount by the books.")
    theirs: Money | None = Field(description="The amount at the provider.")
    first_seen_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None
    resolved_by: ActedBy | None = Field(description="Null where it agreed again by itself.")
    declared: str | None


class ReconciliationRun(Answer):
    """The last time that a rail was compared, from `since` to `until`; the counts are of this merchant's payouts."""

    status: ReconciliationStatus = Field(
        description="`incomplete`: the provider did not answer everything; it is asked again soon."
    )
    since: datetime
    until: datetime
    finished_at: datetime
    matched: int
    ours_only: int
    theirs_only: int
    differing: int
    several: int


class RailReconciliation(Answer):
    """How a rail is compared, and when it was last; `last` is null where it never was."""

    rail: str
    compares: Compared = Field(
        description="`list`: with all that the provider has. `one_by_one`: each payout is looked up, as there is no "
        "list. `statements`: with what the bank told by file. `nothing`: there is nobody to ask."
    )
    last: ReconciliationRun | None


class PayoutReconciliation(Answer):
    """How payouts and providers agree: the last comparison of each rail, and what is open."""

    rails: list[RailReconciliation]
    findings: list[PayoutFinding] = Field(description="The open ones, newest first; at most 200.")
    findings_left_out: int
