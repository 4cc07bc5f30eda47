"""Commands on payouts: read the stream, decide, append with all that follows for the commissions, in one transaction.

The decisions are those of `ledger.payouts`; here is only what they cause: what a payout holds is paid, given back or
owed again, and the row is written by which the worker finds its work.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from ledger import payout_commissions, payouts
from ledger.application import ATTEMPTS, following
from ledger.events import Event, Recorded
from ledger.payout_commissions import Ending, Held
from ledger.payout_events import (
    PayoutCancelled,
    PayoutContradicted,
    PayoutFailed,
    PayoutProcessed,
    PayoutReturned,
    payout_stream,
)
from ledger.payout_store import Change, HintName, Name, PayoutStore
from ledger.payouts import Act, Payout, evolve, fold
from ledger.requests import Request
from ledger.store import VersionConflictError
from schemas.errors import IllegalMoveError, NotFoundError, RetryableError

DayOf = Callable[[str, datetime], date]
"""Says which day an instant is for a merchant (`ledger.merchants.day_of`)."""

Decide = Callable[[Payout], Sequence[Event]]

# While a provider is away the same is sent again ever more seldom: once an hour in the end.
_PATIENCE = 12
POLL_EVERY = timedelta(minutes=15)
REVIEW_EVERY = timedelta(hours=1)
WATCH_EVERY = timedelta(days=1)
WATCH_FOR = timedelta(days=35)
"""How long after it was at rest a payout is still looked up once a day: money comes back late."""


class Done(NamedTuple):
    """A payout after a command: `events` are what was appended to its stream, `position` that of the last event.

    `dropped`: somebody else was faster, so nothing was done.
    """

    payout: Payout
    events: Sequence[Event] = ()
    position: int | None = None
    dropped: bool = False


class Sealing(Protocol):
    """Keeps personal data unreadable in the database, with a key that is not in it."""

    def seal(self, clear: bytes) -> bytes:
        """Return it as it may be stored."""

    def unseal(self, sealed: bytes) -> bytes:
        """Return it as it was. Raises CorruptionError where it is not what was sealed."""


class PayoutBooks:
    """Payouts on the books; thread-safe as its store is."""

    def __init__(self, store: PayoutStore, day_of: DayOf) -> None:
        self.store, self.day_of = store, day_of

    def find(self, name: Name) -> Payout:
        """Return the payout as it stands. Raises NotFoundError."""
        (found,) = self.find_all([name])
        return found

    def find_all(self, names: Sequence[Name]) -> list[Payout]:
        """Return the payouts as they stand. Raises NotFoundError."""
        streams = self.store.streams([payout_stream(*name) for name in names])
        found = []
        for name in names:
            recorded = streams.get(payout_stream(*name))
            if not recorded:
                raise NotFoundError("payout", name[1])
            found.append(fold(each.event for each in recorded))
        return found

    def decide(
        self,
        name: Name,
        decide: Decide,
        act: Act,
        *,
        expect: int | None = None,
        body: bytes | None = None,
        hint: HintName | None = None,
        confirmed: tuple[str, str] | None = None,
        request: Request | None = None,
        answer: Callable[[Payout], Any] | None = None,
    ) -> Done:
        """Decide on the payout as it stands, and append what was decided with all that follows from it.

        With `expect` it is decided only at that version of its stream, and dropped otherwise. Raises what `decide` and
        the store raise, NotFoundError, RetryableError.
        """
        for _ in range(ATTEMPTS):
            payout = self.find(name)
            if expect is not None and payout.version != expect:
                return Done(payout, dropped=True)
            events = list(decide(payout))
            if not events and hint is None and request is None:
                return Done(payout)
            try:
                change = self._change(payout, events, act)._replace(body=body, hint=hint)
            except IllegalMoveError:
                # What it holds was read later than the payout itself: has somebody been faster in between?
                if self.find(name).version == payout.version:
                    raise
                continue
            if confirmed is not None and events:
                change = change._replace(confirmed=confirmed)
            try:
                position = self.store.commit(
                    [change], now=act.at, request=request, result=answer(change.payout) if answer else None
                )
            except VersionConflictError:
                continue
            return Done(change.payout, events, position)
        raise RetryableError(f"payout {name[1]} is being written by somebody else")

    def decide_all(self, names: Sequence[Name], decide: Decide, act: Act) -> list[Done | Exception]:
        """Decide on many payouts in one transaction; where one is in its way, each in a transaction of its own.

        Returns, in order, what became of each: an exception where nothing was done.
        """
        try:
            found = self.find_all(names)
            decided = [(payout, list(decide(payout))) for payout in found]
            known = self._known_of_all(decided, act)
            changes = [self._change(payout, events, act, known) for payout, events in decided if events]
            position = self.store.commit(changes, now=act.at) if changes else None
        except Exception:  # noqa: BLE001 - whoever it was is told below, by its own command
            return [self._one_of_many(name, decide, act) for name in names]
        after = {change.payout.opened.payout_id: change.payout for change in changes}
        return [
            Done(after.get(payout.opened.payout_id, payout), events, position if events else None)
            for payout, events in decided
        ]

    def _one_of_many(self, name: Name, decide: Decide, act: Act) -> Done | Exception:
        try:
            return self.decide(name, decide, act)
        except Exception as error:  # noqa: BLE001 - the caller tells it beside the others' results
            return error

    # --- what follows ---

    def _known_of_all(self, decided: Sequence[tuple[Payout, Sequence[Event]]], act: Act) -> "_Known":
        """Ask once for all of them what each would ask for by itself."""
        moved = [payout.opened for payout, events in decided if any(isinstance(each, _MOVING_MONEY) for each in events)]
        held = self.store.reservations([(each.merchant_id, each.payout_id) for each in moved]) if moved else {}
        return _Known(
            {name[1]: found for name, found in held.items()},
            {merchant_id: self.day_of(merchant_id, act.at) for merchant_id in {each.merchant_id for each in moved}},
        )

    def _change(self, payout: Payout, events: Sequence[Event], act: Act, known: "_Known | None" = None) -> Change:
        opened = payout.opened
        after = Payout(**{name: getattr(payout, name) for name in Payout.__slots__})
        caused: list[Recorded] = []
        frozen = None
        for event in events:
            evolve(after, event)
            caused += self._caused(payout, event, act, known, caused)
            if isinstance(event, PayoutContradicted):
                frozen = event.contradiction
        stream = payout_stream(opened.merchant_id, opened.payout_id)
        recorded = [*following(stream, payout.version, events), *caused]
        return Change(after, recorded, due_at(after, act.at), frozen=frozen)

    def _caused(
        self,
        payout: Payout,
        event: Event,
        act: Act,
        known: "_Known | None",
        before: Sequence[Recorded],
    ) -> list[Recorded]:
        """Return the events of orders that follow; `before` are those that an event of the same breath caused."""
        opened = payout.opened
        if not isinstance(event, _MOVING_MONEY):
            return []
        day = known.days[opened.merchant_id] if known else self.day_of(opened.merchant_id, act.at)
        moving = payout_commissions.act_of(act.at, day, act.cause)
        if isinstance(event, PayoutReturned) and event.returned_minor != opened.amount_minor:
            return payout_commissions.came_back(opened, event.returned_minor, event.returned_total_minor, moving)
        ending, details = _ending_of(event)
        name = (opened.merchant_id, opened.payout_id)
        mine = known.held[opened.payout_id] if known else self.store.reservations([name])[name]
        found = self.store.streams(payout_commissions.moved_on(mine, ending))
        streams = {
            name: [*events, *(each for each in before if each.originator_id == name)] for name, events in found.items()
        }
        mine = [each._replace(head=_head(streams, each)) for each in mine]
        return payout_commissions.end(mine, streams, moving, ending, **details)


class _Known(NamedTuple):
    """What many payouts hold, and which day it is for their merchants."""

    held: Mapping[str, Sequence[Held]]
    days: Mapping[str, date]


_MOVING_MONEY = (PayoutProcessed, PayoutFailed, PayoutCancelled, PayoutReturned)


def _head(streams: Mapping[str, Sequence[Recorded]], held: Held) -> int:
    known = streams.get(held.recorded.originator_id)
    return known[-1].originator_version if known else held.head


def _ending_of(event: Event) -> tuple[Ending, dict[str, Any]]:
    if isinstance(event, PayoutProcessed):
        return "pay", {"reference": event.transaction_id or event.reference}
    if isinstance(event, PayoutReturned):
        return "give_back", {"reason": "returned"}
    return "release", {}


def due_at(payout: Payout, now: datetime) -> datetime | None:
    """Return when the worker looks at a payout in this state again, None where it need not."""
    if payout.startable:
        return None if payout.opened.rail == payouts.BY_HAND else now
    if payout.state == "submitting":
        assert payout.sent_at is not None  # noqa: S101 - that is what submitting means
        return payout.sent_at + payouts.QUIET * min(1 << (payout.sends - 1), _PATIENCE)
    if payout.state in ("submitted", "held"):
        return now + POLL_EVERY
    if payout.state == "review":
        return now + REVIEW_EVERY
    watched = payout.state in payouts.AT_REST and payout.attempt > 0
    return now + WATCH_EVERY if watched and payout.moved_at is not None and now < payout.moved_at + WATCH_FOR else None
