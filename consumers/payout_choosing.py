"""Whom a payout run is for, put together in one place: for the API, the commands and the worker's schedule."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from consumers.paying import Paying
from consumers.rails.amounts import is_sent
from ledger.payout_commissions import Standing
from ledger.payout_runs import Criteria, Owed, Owner, Run, choose, prepare
from ledger.payout_store import Line
from ledger.payouts import Act
from ledger.requests import Request
from ledger.terms import SECOND_PERSON, Terms, minimum_of


class Payables(Protocol):
    """What payouts ask of the read models (`projections.payables.SqlPayables`); blocking, and maybe behind the log."""

    def position(self) -> int:
        """Return the position that the read models have reached."""

    def owed(
        self,
        merchant_id: str,
        cut_off_at: datetime,
        *,
        currency: str | None = None,
        partner_ids: Sequence[str] | None = None,
    ) -> list[Owed]:
        """Return what each partner is owed in each currency, of what was approved by the cut-off."""

    def on_hold(self, merchant_id: str) -> frozenset[str]:
        """Return the partners who are not paid now: paused, banned, rejected."""

    def commissions_of(
        self, merchant_id: str, owners: Sequence[Owner], cut_off_at: datetime
    ) -> Mapping[Owner, Sequence[Standing]]:
        """Return the commissions that a payout of each of these would take."""


class Wanted(NamedTuple):
    """Whom a run is asked for; what is None does not narrow it down. `minimum_minor` None: what the terms say."""

    cut_off_at: datetime
    currency: str | None = None
    partner_ids: Sequence[str] | None = None
    excluded: frozenset[str] = frozenset()
    minimum_minor: Mapping[str, int] | None = None


class Choice(NamedTuple):
    """The list that a run would freeze, and by which rules it was made."""

    lines: Sequence[Line]
    criteria: Criteria
    needs_approval: bool


def choose_run(
    paying: Paying, payables: Payables, merchant_id: str, run_id: str, terms: Terms, wanted: Wanted, now: datetime
) -> Choice:
    """Return who would be paid now under these terms, who not and why; writes nothing. Blocks.

    Raises RetryableError where the database does not answer.
    """
    criteria = Criteria(
        wanted.cut_off_at,
        minimum_of(terms) if wanted.minimum_minor is None else wanted.minimum_minor,
        # By the environment, and by whoever switched one off for all processes since.
        frozenset(name for name in paying.rails.usable() if paying.spending.off(name) is None),
        {name: paying.settings.limits_of(name)["payout"] for name in paying.rails.rails},
        wanted.excluded,
        is_sent,
    )
    owed = payables.owed(
        merchant_id, wanted.cut_off_at, currency=wanted.currency, partner_ids=wanted.partner_ids
    )  # fmt: skip
    partners = sorted({each.partner_id for each in owed})
    lines = choose(
        merchant_id,
        run_id,
        owed,
        paying.details.payable(merchant_id, partners, now, payables.on_hold(merchant_id)),
        criteria,
        frozen=paying.books.store.frozen(merchant_id, partners),
        opened=paying.books.store.opened(merchant_id),
    )
    return Choice(lines, criteria, terms.payout_approval == SECOND_PERSON)


def prepare_run(
    paying: Paying,
    payables: Payables,
    merchant_id: str,
    run_id: str,
    terms: Terms,
    wanted: Wanted,
    act: Act,
    request: Request | None = None,
) -> Run:
    """Freeze the list of a run and return it; where there is one of this id, that one. The worker carries it on.

    Blocks. Raises RetryableError.
    """
    choice = choose_run(paying, payables, merchant_id, run_id, terms, wanted, act.at)
    return prepare(
        paying.books, merchant_id, run_id, choice.lines, choice.criteria, act, needs_approval=choice.needs_approval,
        request=request,
    )  # fmt: skip
