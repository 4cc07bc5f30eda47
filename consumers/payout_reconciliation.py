"""Compares payouts with what their providers have: daily, 35 days back, and whenever somebody asks.

Nothing is decided here. What the books can still learn is handed to the saga as a hint; all else is a finding, which a
person looks into, and whoever is paid by what only a provider has is frozen until then.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

import msgspec
import structlog

from consumers.paying import Paying
from consumers.payout_comparison import TOLD, Verdict, compare
from consumers.rails import Found, Listed, Lists, Missing, Payee, Rail, Unknown
from consumers.rails.limited import LimitedRail
from ledger.payout_findings import Compared, Counts, Finding, Kept, Ours
from ledger.payout_home import SEEN_EVERY, Home
from ledger.payout_store import Hint
from schemas.api_reconciliation import Compared as How
from schemas.errors import ConflictError, RejectedError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

BACK = timedelta(days=35)
SETTLED_WITHIN = timedelta(days=5)
"""How long after the day of its execution a bank may take to tell of a transfer."""

# How far the clocks of a provider and of ours may be apart.
_SKEW = timedelta(hours=1)
# How long before somebody moves in it may have been compared.
_COMPARED_WITHIN = timedelta(hours=1)
# A list is asked for in pieces: what was answered need not be asked again because of what was not.
_PIECE = timedelta(days=1)
_TRIES = 2
_AT_ONCE = 4
_IDS_A_QUERY = 1_000

HOW: Mapping[str, How] = {"stripe": "list", "paypal": "one_by_one", "bank": "statements", "manual": "nothing"}
"""How each rail is compared. PayPal's Payouts API has no list: what it alone knows of shows by its webhooks only."""


class Report(NamedTuple):
    """What came of comparing a rail. `reason` says why it is not complete, None where it is.

    `counts` are of the time that was compared, of all merchants; `open` are all open findings of the rail, `hints` how
    many payouts the saga was told to look at, `resolved` how many findings agree again.
    """

    rail: str
    compares: How
    since: datetime
    until: datetime
    reason: str | None
    counts: Counts
    open: Sequence[Kept]
    hints: int
    resolved: int

    @property
    def complete(self) -> bool:
        """Whether the provider answered everything."""
        return self.reason is None


async def reconcile(
    paying: Paying, rail: str, since: datetime, until: datetime, now: datetime, *, by: str = "worker"
) -> Report:
    """Compare the rail's payouts of that time with its provider, keep what was found, and return it.

    Raises RejectedError `unknown_rail`, `rail_missing` (no keys), `nothing_to_compare` (manual), `bad_time`,
    RetryableError where our own database does not answer.
    """
    asked = _rail(paying, rail)
    if since >= until:
        raise RejectedError.at("$.since", "bad_time", "must be before the end")
    comparing = _Comparing(paying, asked, since, until)
    await comparing.run()
    hints = [Hint(rail, f"reconciliation {now.isoformat()} {id_}", id_, ref) for id_, ref in comparing.hints.items()]
    await asyncio.to_thread(lambda: [paying.books.store.keep_hint(hint, now) for hint in hints])
    compared = Compared(
        rail, now, since, until, now, comparing.reason, by, comparing.counts, comparing.findings, len(hints)
    )
    resolved = await asyncio.to_thread(lambda: paying.findings.keep(compared))
    opened = await asyncio.to_thread(lambda: paying.findings.open(rail))
    return Report(
        rail, HOW[rail], since, until, comparing.reason, _sum(comparing.counts.values()), opened, len(hints), resolved
    )


def rails_to_compare(paying: Paying) -> list[str]:
    """Return the rails that there are and that can be compared."""
    return [name for name in sorted(paying.rails.rails) if HOW.get(name, "nothing") != "nothing"]


def _rail(paying: Paying, name: str) -> Rail:
    if name not in HOW:
        raise RejectedError.at("$.rail", "unknown_rail", f"there is no rail {name!r}; there are: {', '.join(HOW)}")
    if HOW[name] == "nothing":
        raise RejectedError.at("$.rail", "nothing_to_compare", "nobody but people knows of payouts by hand")
    if name not in paying.rails.rails:
        raise RejectedError.at("$.rail", "rail_missing", f"{name} has no keys: there is nobody to ask")
    return paying.rails.rails[name]


@dataclass
class _Comparing:
    """One comparison of one rail; `reason` is why it is not complete."""

    paying: Paying
    rail: Rail
    since: datetime
    until: datetime
    reason: str | None = None
    counts: dict[str | None, Counts] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    hints: dict[str, str] = field(default_factory=dict)
    theirs: dict[str, dict[str, Found]] = field(default_factory=lambda: defaultdict(dict))
    seen: set[str] = field(default_factory=set)
    _unsure: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Ask for everything and compare it."""
        name, findings = self.rail.name, self.paying.findings
        lists = self.rail.lists if isinstance(self.rail, LimitedRail) else None
        listed = [each async for each in self._listed(lists)] if lists is not None else []
        for each in listed:
            if each.payout_id is not None:
                self.theirs[each.payout_id][each.found.reference] = each.found
        # Asked after the list: whatever is on it was on the books before it was sent.
        opened = [kept.finding for kept in await asyncio.to_thread(lambda: findings.open(name))]
        moved = await asyncio.to_thread(lambda: findings.moved_since(name, self.since))
        named = {each.payout_id for each in listed} | {finding.payout_id for finding in opened}
        ids = {id_ for id_ in named if id_} - {each.payout_id for each in moved}
        books = {each.payout_id: each for each in moved} | await self._of_ids(sorted(ids))
        await self._look_up([each for each in books.values() if self._has_to_be_asked(each)])
        await self._compare(list(books.values()))
        for each in listed:
            self._is_stranger(each, books)
        for finding in opened:
            await self._still_strange(finding, books)
        for payout_id, reference in await asyncio.to_thread(lambda: findings.strangers(name, self.since)):
            await self._heard_of(payout_id, reference)

    # --- asking ---

    async def _listed(self, lists: Lists) -> AsyncIterator[Listed]:
        """Yield what the provider lists, each payment once; a piece that it does not answer is asked for again."""
        begin, end = (self.since - _SKEW).replace(microsecond=0), self.until + _SKEW
        while begin < end:
            until = min(begin + _PIECE, end)
            piece: Sequence[Listed] | Unknown = Unknown("never asked")
            for _ in range(_TRIES):
                piece = await _asked(lists.listed(begin, until))
                if not isinstance(piece, Unknown) or piece.then != "again":
                    break
            if isinstance(piece, Unknown):
                self._incomplete(piece)
                if piece.then == "stop":
                    return
            else:
                for each in piece:
                    if each.found.reference not in self.seen:
                        self.seen.add(each.found.reference)
                        yield each
            begin = until

    async def _of_ids(self, ids: Sequence[str]) -> dict[str, Ours]:
        found: dict[str, Ours] = {}
        for start in range(0, len(ids), _IDS_A_QUERY):
            some = ids[start : start + _IDS_A_QUERY]
            found |= await asyncio.to_thread(lambda some=some: self.paying.findings.of_ids(some))  # type: ignore[misc]
        return found

    def _has_to_be_asked(self, ours: Ours) -> bool:
        """Return whether the provider has to be asked for what the payout's reference names."""
        told = ours.state in TOLD or ours.state == "failed"
        by_provider = ours.method in (None, self.rail.name) and ours.attempt > 0
        known = ours.reference in self.theirs.get(ours.payout_id, {})
        return told and by_provider and ours.reference is not None and not known

    async def _look_up(self, asked: Sequence[Ours]) -> None:
        free = asyncio.Semaphore(_AT_ONCE)

        async def one(ours: Ours) -> None:
            async with free:
                shown = await self._state(str(ours.reference))
            if isinstance(shown, Found):
                self.theirs[ours.payout_id][shown.reference] = shown
            elif isinstance(shown, Unknown):
                self._unsure.add(ours.payout_id)

        await asyncio.gather(*(one(each) for each in asked))

    async def _state(self, reference: str) -> Found | Missing | Unknown:
        shown = await _asked(self.rail.state(reference))
        if isinstance(shown, Unknown):
            self._incomplete(shown)
        return shown

    def _incomplete(self, unknown: Unknown) -> None:
        self.reason = self.reason or unknown.reason

    # --- comparing ---

    async def _compare(self, books: Sequence[Ours]) -> None:
        overdue = await self._overdue()
        for start in range(0, len(books), _IDS_A_QUERY):
            some = books[start : start + _IDS_A_QUERY]
            payees = await asyncio.to_thread(
                lambda some=some: self.paying.findings.payees([each.payout_id for each in some])  # type: ignore[misc]
            )
            for ours in some:
                if ours.payout_id in self._unsure:
                    continue
                sealed = payees.get(ours.payout_id)
                theirs = list(self.theirs.get(ours.payout_id, {}).values())
                verdict = compare(self.rail.name, ours, self._address(sealed), theirs)
                if ours.payout_id in overdue and verdict.finding is None:
                    verdict = Verdict(finding=self._not_settled(ours))
                self._take(ours, verdict)

    def _address(self, sealed: bytes | None) -> str | None:
        if sealed is None:
            return None
        return msgspec.json.decode(self.paying.keys.unseal(sealed), type=Payee).address

    def _take(self, ours: Ours, verdict: Verdict) -> None:
        if verdict.hint is not None:
            self.hints[ours.payout_id] = verdict.hint
        if verdict.finding is not None:
            self._found(verdict.finding)
        elif verdict.matched:
            self._count(ours.merchant_id, "matched")

    def _found(self, finding: Finding) -> None:
        if finding.finding_id not in {each.finding_id for each in self.findings}:
            self.findings.append(finding)
            self._count(finding.merchant_id, finding.kind)

    def _count(self, merchant_id: str | None, kind: str) -> None:
        self.counts[merchant_id] = self.counts.get(merchant_id, Counts()).plus(kind)

    async def _overdue(self) -> frozenset[str]:
        """Return the payouts by bank transfer of which the bank told nothing for too long."""
        if HOW[self.rail.name] != "statements":
            return frozenset()
        day = (self.until - SETTLED_WITHIN).date()
        return await asyncio.to_thread(lambda: self.paying.findings.unsettled(day))

    def _not_settled(self, ours: Ours) -> Finding:
        references = (ours.reference,) if ours.reference else ()
        return Finding(
            self.rail.name, "ours_only", "not_settled", ours.merchant_id, ours.partner_id, ours.payout_id, references,
            (ours.amount_minor, ours.currency),
        )  # fmt: skip

    # --- what is theirs only ---

    def _is_stranger(self, listed: Listed, books: Mapping[str, Ours]) -> None:
        """Find a payment that left and is on no books; what came back altogether is as if it had never left."""
        if listed.found.is_alive and listed.payout_id not in books:
            self._found(_stranger(self.rail.name, listed))

    async def _still_strange(self, finding: Finding, books: Mapping[str, Ours]) -> None:
        """Find it again where it is as it was: nothing that a provider alone knows of goes away by itself."""
        ours = books.get(finding.payout_id or "")
        if ours is not None and (self.rail.name != "bank" or ours.state in ("processed", "returned")):
            return
        if finding.kind != "theirs_only":
            return
        for reference in finding.references:
            shown = await self._state(reference) if reference not in self.seen else None
            if isinstance(shown, Found) and not shown.is_alive and self.rail.name != "bank":
                return
        if not self.seen.intersection(finding.references):
            self._found(finding)

    async def _heard_of(self, payout_id: str, reference: str | None) -> None:
        """Find what the provider itself sent word of, and the books do not know."""
        if reference is None or reference in self.seen or payout_id in self.theirs:
            return
        shown = await self._state(reference)
        if isinstance(shown, Found) and shown.is_alive:
            self._found(_stranger(self.rail.name, Listed(payout_id, shown)))


def _stranger(rail: str, listed: Listed) -> Finding:
    shown = listed.found
    return Finding(
        rail, "theirs_only", "not_in_books" if listed.payout_id else "not_ours",
        listed.merchant_id if listed.payout_id else None, listed.partner_id if listed.payout_id else None,
        listed.payout_id, (shown.reference,), None, (shown.amount_minor, shown.currency),
    )  # fmt: skip


def _sum(counts: Iterable[Counts]) -> Counts:
    return Counts(*(sum(each) for each in zip(Counts(), *counts, strict=True)))


async def _asked(question: Awaitable[T]) -> "T | Unknown":
    try:
        return await question
    except Exception as error:  # noqa: BLE001 - whatever escapes a rail says nothing about any payment
        return Unknown(repr(error))


# --- after a restore --------------------------------------------------------------------------------------------------


async def compare_from(paying: Paying, now: datetime, days: int | None = None) -> datetime:
    """Return from when on to compare: so many days back (35), and from before the backup where one was restored."""
    since = now - (BACK if days is None else timedelta(days=days))
    home = await asyncio.to_thread(lambda: paying.home.look(now))
    return since if home.is_home else min(since, home.seen_at - timedelta(days=1))


async def moved_in(paying: Paying, *, by: str, declared: str, now: datetime) -> Home:
    """Let payouts go out of this database, which was restored or copied, and return its home.

    `declared` is how a person compared what has no list (PayPal's activity, the bank's statements). Raises
    ConflictError `not_compared` where a provider was not asked since before the backup, `payments_unknown` where it has
    payments of which nobody knows whose they are (those of a known partner freeze that one), RejectedError
    `no_declaration`.
    """
    if not declared.strip():
        raise RejectedError.at("$.declared", "no_declaration", "say who compared PayPal and the bank, and how")
    home = await asyncio.to_thread(lambda: paying.home.look(now))
    if home.is_home:
        return home
    for rail in (name for name in rails_to_compare(paying) if HOW[name] != "statements"):
        last = await asyncio.to_thread(lambda rail=rail: paying.findings.last_complete(rail))  # type: ignore[misc]
        # One that stands in the backup itself says nothing of what happened after it.
        earliest = max(home.seen_at + 2 * SEEN_EVERY, now - _COMPARED_WITHIN)
        if last is None or last[0] > home.seen_at or last[1] < earliest:
            raise ConflictError(
                "not_compared", f"{rail} has to be compared from {home.seen_at:%Y-%m-%d %H:%M} on, completely, before"
            )
    unknown = [kept.finding_id for kept in await asyncio.to_thread(paying.findings.open) if _is_nobodys(kept.finding)]
    if unknown:
        raise ConflictError("payments_unknown", f"say first what these payments were: {', '.join(unknown)}")
    return await asyncio.to_thread(lambda: paying.home.move_in(by=by, declared=declared, now=now))


def _is_nobodys(finding: Finding) -> bool:
    return finding.reason == "not_in_books" and None in (finding.merchant_id, finding.partner_id)
