"""Payout runs: who is paid, who is not and why; the frozen list, its approval, and the payouts that are requested.

What a run needs to know of the read side is handed in: what is owed to each partner, and of which commissions. A run
that was cut short anywhere goes on (`carry_on`), and makes the same payouts under the same ids.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from ledger import payout_commissions, payouts
from ledger.application import ATTEMPTS, Ledger, following
from ledger.approvals import Moved
from ledger.commissions import fold
from ledger.entries import Entry, enter
from ledger.events import Event, Recorded, Stream
from ledger.hashes import entry_id
from ledger.payout_books import PayoutBooks, due_at
from ledger.payout_commissions import Standing, Whose, standing_of
from ledger.payout_events import (
    ClawbackNetted,
    PayoutRequested,
    PayoutRunApproved,
    PayoutRunCancelled,
    PayoutRunPrepared,
    payout_stream,
    run_stream,
)
from ledger.payout_run_rows import RunCancelledError
from ledger.payout_store import Change, Line, PayoutOpenError
from ledger.payouts import Act
from ledger.requests import Request
from ledger.store import VersionConflictError
from schemas.errors import ForbiddenError, IllegalMoveError, NotFoundError, RejectedError, RetryableError

# So many commissions a transaction: the log is locked while they are written, and intake waits.
EVENTS_A_BATCH = 10_000
_PAYOUTS_A_BATCH = 500

Owner = tuple[str, str]
"""Partner id and currency."""

Reason = Literal[
    "payable", "excluded", "on_hold", "frozen", "open_payout", "negative_balance", "nothing_payable", "below_minimum",
    "no_payout_details", "details_changed", "rail_off", "unsupported_amount", "over_limit", "changed",
]  # fmt: skip
"""Why a partner is in (`payable`) or out. `details_changed`: the new details have to cool down. `changed`: what was
payable when the list was frozen no longer was when the payout was requested."""


class Owed(NamedTuple):
    """What a partner is owed in a currency, of how many commissions: what is approved and what was clawed back."""

    partner_id: str
    currency: str
    approved_minor: int
    clawed_back_minor: int
    commissions: int

    @property
    def net_minor(self) -> int:
        """What would be paid."""
        return self.approved_minor + self.clawed_back_minor


class Payable(NamedTuple):
    """Whether and how a partner can be paid.

    `details` says what is wrong with the payout details (`no_payout_details`, `details_changed`), None where nothing.
    """

    rail: str | None
    on_hold: bool = False
    details: Literal["no_payout_details", "details_changed"] | None = None


class Criteria(NamedTuple):
    """Whom a run is for. `minimum_minor` per currency; `rails` are those that may be used.

    `limit_minor` is that of one payout, per rail and currency. `excluded` partners are in the list, with that reason.
    `is_sent` knows what a rail can never send.
    """

    cut_off_at: datetime
    minimum_minor: Mapping[str, int]
    rails: frozenset[str]
    limit_minor: Mapping[str, Mapping[str, int]] = {}
    excluded: frozenset[str] = frozenset()
    is_sent: "IsSent" = lambda rail, amount_minor, currency: True  # noqa: ARG005 - nothing is known of any rail


IsSent = Callable[[str, int, str], bool]
"""Says whether a rail can send so many minor units of a currency."""


class Run(NamedTuple):
    """A payout run: `state` is prepared, approved or cancelled; `position` that of the last event written."""

    merchant_id: str
    run_id: str
    state: str
    prepared: PayoutRunPrepared
    version: int
    position: int | None = None


CommissionsOf = Callable[[Sequence[Owner], datetime], Mapping[Owner, Sequence[Standing]]]
"""Asks a read model for what is payable of these partners, as of the cut-off; it may be behind the log."""

PayeesOf = Callable[[Sequence[str]], Mapping[str, bytes]]
"""Asks for the sealed payout details of these partners, as `consumers.rails.Payee` in JSON."""


# --- choosing ---------------------------------------------------------------------------------------------------------


def choose(
    merchant_id: str,
    run_id: str,
    owed: Iterable[Owed],
    payable: Mapping[str, Payable],
    criteria: Criteria,
    *,
    frozen: Mapping[str, str],
    opened: frozenset[Owner] = frozenset(),
) -> list[Line]:
    """Return the list of a run, or of its preview: each partner and currency with what it comes to, and why. Pure."""
    nobody = Payable(None, details="no_payout_details")
    lines = []
    for each in owed:
        how = payable.get(each.partner_id, nobody)
        if (each.partner_id, each.currency) in opened:
            reason: Reason = "open_payout"
        else:
            reason = _reason(each, how, criteria, is_frozen=each.partner_id in frozen)
        id_ = payouts.payout_id(merchant_id, run_id, each.partner_id, each.currency)
        lines.append(
            Line(
                each.partner_id, each.currency, each.net_minor, each.commissions, reason == "payable", reason,
                how.rail, id_,
            )
        )  # fmt: skip
    return lines


def _reason(owed: Owed, how: Payable, criteria: Criteria, *, is_frozen: bool) -> Reason:
    net, least = owed.net_minor, criteria.minimum_minor.get(owed.currency, 0)
    most = criteria.limit_minor.get(how.rail or "", {}).get(owed.currency, net)
    against: tuple[tuple[bool, Reason], ...] = (
        (owed.partner_id in criteria.excluded, "excluded"),
        (is_frozen, "frozen"),
        (how.on_hold, "on_hold"),
        (net < 0, "negative_balance"),
        (net == 0, "nothing_payable"),
        (net < least, "below_minimum"),
        (how.details is not None or how.rail is None, how.details or "no_payout_details"),
        (how.rail not in criteria.rails, "rail_off"),
        (not criteria.is_sent(how.rail or "", net, owed.currency), "unsupported_amount"),
        (net > most, "over_limit"),
    )
    return next((reason for applies, reason in against if applies), "payable")


# --- the run ----------------------------------------------------------------------------------------------------------


def prepare(
    books: PayoutBooks,
    merchant_id: str,
    run_id: str,
    lines: Sequence[Line],
    criteria: Criteria,
    act: Act,
    *,
    needs_approval: bool,
    request: Request | None = None,
) -> Run:
    """Freeze the list and return the run; the same run again is returned as it is. Nothing is reserved yet."""
    included = sum(line.included for line in lines)
    event = PayoutRunPrepared(
        merchant_id=merchant_id, run_id=run_id, occurred_at=act.at, recorded_at=act.at, cause=act.cause, maker=act.by,
        needs_approval=needs_approval, cut_off_at=criteria.cut_off_at, partners_in=included,
        partners_out=len(lines) - included, minimum_minor=dict(criteria.minimum_minor),
    )  # fmt: skip
    run = Run(merchant_id, run_id, "prepared", event, 1)
    try:
        position = books.store.commit(
            [], now=act.at, others=following(run_stream(merchant_id, run_id), 0, [event]),
            lines=(merchant_id, run_id, lines), request=request, result=run,
        )  # fmt: skip
    except VersionConflictError:
        return find(books, merchant_id, run_id)
    return run._replace(position=position)


def find(books: PayoutBooks, merchant_id: str, run_id: str) -> Run:
    """Return the run. Raises NotFoundError."""
    name = run_stream(merchant_id, run_id)
    recorded = books.store.streams([name]).get(name)
    if not recorded:
        raise NotFoundError("payout run", run_id)
    first, last = recorded[0].event, recorded[-1].event
    assert isinstance(first, PayoutRunPrepared)  # noqa: S101 - that is what a run begins with
    states = {PayoutRunPrepared: "prepared", PayoutRunApproved: "approved", PayoutRunCancelled: "cancelled"}
    return Run(merchant_id, run_id, states[type(last)], first, len(recorded))


def approve(books: PayoutBooks, merchant_id: str, run_id: str, act: Act, request: Request | None = None) -> Run:
    """Approve the run and return it; `carry_on` then approves its payouts.

    Raises NotFoundError, ForbiddenError `maker_is_checker`, IllegalMoveError.
    """

    def decide(run: Run) -> Event:
        if not act.by or act.by == run.prepared.maker:
            raise ForbiddenError("maker_is_checker", "whoever made the run cannot approve it; somebody else has to")
        return PayoutRunApproved(**_of_run(run, act), checker=act.by)

    return _move(books, merchant_id, run_id, "approve", ("prepared",), "approved", decide, act, request)


def cancel(
    books: PayoutBooks, merchant_id: str, run_id: str, act: Act, reason: str, request: Request | None = None
) -> Run:
    """Call the run off and return it; `carry_on` then cancels its payouts, as far as none was submitted.

    Raises NotFoundError, IllegalMoveError.
    """

    def decide(run: Run) -> Event:
        return PayoutRunCancelled(**_of_run(run, act), reason=reason)

    return _move(books, merchant_id, run_id, "cancel", ("prepared", "approved"), "cancelled", decide, act, request)


def _move(
    books: PayoutBooks,
    merchant_id: str,
    run_id: str,
    move: str,
    legal_in: Sequence[str],
    to_state: str,
    decide: Callable[[Run], Event],
    act: Act,
    request: Request | None,
) -> Run:
    for _ in range(ATTEMPTS):
        run = find(books, merchant_id, run_id)
        if run.state not in legal_in:
            raise IllegalMoveError(move, run.state, ())
        moved = run._replace(state=to_state, version=run.version + 1)
        events = following(run_stream(merchant_id, run_id), run.version, [decide(run)])
        try:
            position = books.store.commit([], now=act.at, others=events, request=request, result=moved)
        except VersionConflictError:
            continue
        return moved._replace(position=position)
    raise RetryableError(f"payout run {run_id} is being written by somebody else")


def _of_run(run: Run, act: Act) -> dict[str, Any]:
    return {
        "merchant_id": run.merchant_id, "run_id": run.run_id, "occurred_at": act.at, "recorded_at": act.at,
        "cause": act.cause,
    }  # fmt: skip


# --- its payouts ------------------------------------------------------------------------------------------------------


def carry_on(
    books: PayoutBooks, merchant_id: str, run_id: str, commissions_of: CommissionsOf, payees_of: PayeesOf, act: Act
) -> Iterator[int]:
    """Do what is left to be done of the run: request its payouts, approve or cancel them.

    Yields, after each transaction, how many payouts it touched. May be cut short anywhere, and called again: what is
    done is not done twice. Raises NotFoundError, RetryableError.
    """
    run = find(books, merchant_id, run_id)
    if run.state != "cancelled":
        requesting = _Requesting(books, run, commissions_of, payees_of, act)
        for lines in _batches(books.store.lines(merchant_id, run_id, waiting=True)):
            try:
                touched = requesting.request(lines)
            except RunCancelledError:
                return
            yield touched
    if run.state == "approved":
        checker = _checker(books, run)
        yield from _all(
            books, run, ("requested",), lambda payout: payouts.approve(payout, act._replace(by=checker)), act
        )
    if run.state == "cancelled":
        yield from _all(
            books, run, ("requested", "approved"), lambda payout: payouts.cancel(payout, act, "run_cancelled"), act
        )


def _checker(books: PayoutBooks, run: Run) -> str:
    name = run_stream(run.merchant_id, run.run_id)
    (event,) = (each.event for each in books.store.streams([name])[name] if isinstance(each.event, PayoutRunApproved))
    return event.checker


def _all(books: PayoutBooks, run: Run, states: Sequence[str], decide: Any, act: Act) -> Iterator[int]:
    names = books.store.of_run(run.merchant_id, run.run_id, states)
    for start in range(0, len(names), _PAYOUTS_A_BATCH):
        results = books.decide_all(names[start : start + _PAYOUTS_A_BATCH], decide, act)
        # One that was submitted meanwhile, or is approved where nobody asked for it, is left as it is.
        yield sum(not isinstance(result, Exception) for result in results)


def _batches(lines: Sequence[Line]) -> Iterator[list[Line]]:
    batch: list[Line] = []
    events = 0
    for line in lines:
        batch.append(line)
        events += line.commissions
        if events >= EVENTS_A_BATCH or len(batch) >= _PAYOUTS_A_BATCH:
            yield batch
            batch, events = [], 0
    if batch:
        yield batch


class _Requesting:
    """Requests the payouts of one run."""

    def __init__(
        self,
        books: PayoutBooks,
        run: Run,
        commissions_of: CommissionsOf,
        payees_of: PayeesOf,
        act: Act,
    ) -> None:
        self._books, self._run, self._act = books, run, act
        self._commissions_of, self._payees_of = commissions_of, payees_of
        # As the run was made, whatever the terms say meanwhile.
        self._minimum = run.prepared.minimum_minor
        day = books.day_of(run.merchant_id, act.at)
        self._moving = payout_commissions.act_of(act.at, day, act.cause)

    def request(self, lines: Sequence[Line]) -> int:
        """Request the payouts of these lines, in one transaction; returns how many lines were dealt with.

        Where one is in the way, each gets a transaction of its own, and a decision on what its streams say.
        """
        standings = self._commissions_of([(line.partner_id, line.currency) for line in lines], self._cut_off)
        payees = self._payees_of([line.partner_id for line in lines])
        try:
            self._commit([(line, standings.get((line.partner_id, line.currency), ())) for line in lines], payees)
        except (VersionConflictError, PayoutOpenError):
            for line in lines:
                self._request_one(line, standings.get((line.partner_id, line.currency), ()), payees)
        return len(lines)

    @property
    def _cut_off(self) -> datetime:
        return self._run.prepared.cut_off_at

    def _request_one(self, line: Line, shown: Sequence[Standing], payees: Mapping[str, bytes]) -> None:
        for _ in range(ATTEMPTS):
            try:
                self._commit([(line, self._as_they_are(shown))], payees)
            except VersionConflictError:
                if not self._exists(line):
                    continue
            except PayoutOpenError:
                if not self._exists(line):
                    self._leave_out(line, "open_payout")
            return
        raise RetryableError(f"the commissions of {line.partner_id} are being written by somebody else")

    def _exists(self, line: Line) -> bool:
        """Return whether somebody else, who carries on with the same run, requested it."""
        return bool(self._books.store.streams([payout_stream(self._run.merchant_id, line.payout_id)]))

    def _as_they_are(self, shown: Sequence[Standing]) -> list[Standing]:
        """Return the same commissions as their streams say: the read model was behind."""
        merchant_id = self._run.merchant_id
        streams = self._books.store.streams([Stream.order(merchant_id, each.order_id) for each in shown])
        return [
            standing_of(each.order_id, fold(recorded.event for recorded in streams[name]))
            for each in shown
            for name in (Stream.order(merchant_id, each.order_id),)
            if name in streams
        ]

    def _commit(self, asked: Sequence[tuple[Line, Sequence[Standing]]], payees: Mapping[str, bytes]) -> None:
        changes, out = [], []
        for line, standings in asked:
            change = self._change(line, standings, payees.get(line.partner_id))
            if change is None:
                out.append(line._replace(included=False, reason="changed"))
            else:
                changes.append(change)
        kept = (self._run.merchant_id, self._run.run_id, out) if out else None
        self._books.store.commit(changes, now=self._act.at, lines=kept)

    def _change(self, line: Line, standings: Sequence[Standing], payee: bytes | None) -> Change | None:
        run, act = self._run, self._act
        whose = Whose(run.merchant_id, line.partner_id, line.currency, line.payout_id)
        reserved = list(payout_commissions.reserve(whose, standings, self._moving))
        net = payout_commissions.total_minor(reserved)
        if net <= 0 or net < self._minimum.get(line.currency, 0) or payee is None:
            return None
        event = PayoutRequested(
            merchant_id=run.merchant_id, payout_id=line.payout_id, partner_id=line.partner_id, currency=line.currency,
            amount_minor=net, to_state="requested", occurred_at=act.at, recorded_at=act.at, cause=act.cause,
            run_id=run.run_id, rail=str(line.rail), reservations=len(reserved), netted_minor=_netted(reserved),
            maker=run.prepared.maker, needs_approval=run.prepared.needs_approval,
        )  # fmt: skip
        payout = payouts.fold([event])
        stream = payout_stream(run.merchant_id, line.payout_id)
        # The request stands directly behind what it reserves: that is how it is found again.
        return Change(payout, [*reserved, Recorded(stream, 1, event)], due_at(payout, act.at), payee=payee)

    def _leave_out(self, line: Line, reason: Reason) -> None:
        run = self._run
        lines = [line._replace(included=False, reason=reason)]
        self._books.store.commit([], now=self._act.at, lines=(run.merchant_id, run.run_id, lines))


def _netted(reserved: Sequence[Recorded]) -> int:
    return sum(each.event.amount_minor for each in reserved if isinstance(each.event, ClawbackNetted))


# --- negative balances ------------------------------------------------------------------------------------------------


def write_off(
    ledger: Ledger, merchant_id: str, owed: Owed, act: Act, reason: str, *, key: str, request: Request | None = None
) -> Moved:
    """Forgive a partner what is owed by it in a currency, for this reason, and return the entry that does so.

    `owed` is what a read model shows; `key` is what makes it happen once (the request's). Raises RejectedError
    `not_negative`, ConflictError `entry_exists`, and what `ledger.entries.enter` raises.
    """
    if owed.net_minor >= 0:
        raise RejectedError.at(
            "$.partner_id", "not_negative", "the balance is not negative: nothing can be written off"
        )
    id_ = entry_id(ledger.hash_key, merchant_id, "write-off", owed.partner_id, owed.currency, key)
    # The clawbacks stay as they are, and are netted off against this by the next payout.
    entry = Entry(merchant_id, id_, owed.partner_id, -owed.net_minor, owed.currency, f"write-off: {reason}")
    return enter(ledger, entry, now=act.at, cause=act.cause, request=request)
