"""The saga of a payout: write key and body, commit, call, write the outcome; look up before anything goes out again.

Every step reads the payout anew, and appends at the version that it read: who was slower drops what it learned. A
process may end at any point of it; whoever comes next finds on the books what may have happened (spec, section 7).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec
import structlog

from consumers.rails import Accepted, Attempt, Found, Instruction, Missing, Payee, Rail, Rejected, Several, Unknown
from ledger import payouts
from ledger.events import Event
from ledger.payout_books import Done, PayoutBooks, Sealing, due_at
from ledger.payout_store import Hint, HintHandledError, HintName, Name
from ledger.payouts import Act, Payout, Seen
from schemas.errors import RejectedError, RetryableError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

CAUSE = "payouts/worker"
_REFUSED_FOR = timedelta(minutes=15)
_STOPPED_FOR = timedelta(minutes=15)

Shown: TypeAlias = Found | Missing | Several | Unknown


class Ask(Protocol):
    """Does blocking work elsewhere."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """Return what the work returns."""


async def in_a_thread(work: Callable[[], T]) -> T:
    """Return what the work returns, done in a thread."""
    return await asyncio.to_thread(work)


class PayoutSaga:
    """Moves payouts on: `step` one that is due, `follow` a provider's hint. Any number of workers may do it at once."""

    def __init__(
        self,
        books: PayoutBooks,
        rails: Mapping[str, Rail],
        sealing: Sealing,
        now: Callable[[], datetime],
        ask: Ask | None = None,
    ) -> None:
        self._books, self._rails, self._sealing, self._now, self._ask = books, rails, sealing, now, ask or in_a_thread
        self.stopped: dict[str, datetime] = {}

    async def step(self, name: Name) -> str:
        """Do what is to be done about the payout now; returns in a word what that was. Raises RetryableError."""
        payout = await self._ask(lambda: self._books.find(name))
        rail = self._rails.get(payout.opened.rail)
        if rail is None:
            return await self._later(name, payout, self._now() + _REFUSED_FOR, "no_rail")
        if payout.startable:
            return await self._begin(name, payout, rail)
        if payout.state == "submitting":
            return await self._resume(name, payout, rail)
        return await self._look(name, payout, rail)

    async def follow(self, hint: Hint, name: Name | None) -> str:
        """Look at the payout that a provider's hint is about; returns in a word what was done. Raises RetryableError.

        The hint is handled in the transaction of what it brings about, and again later where the provider does not
        answer.
        """
        id_ = (hint.provider, hint.event_id)
        if name is None:
            # Maybe its reference is not written down yet; of one that is not ours, nothing ever will be.
            return "unknown_payout"
        payout = await self._ask(lambda: self._books.find(name))
        rail = self._rails.get(payout.opened.rail)
        if rail is None:
            await self._ask(lambda: self._books.store.drop_hint(id_, self._now()))
            return "dropped"
        try:
            if payout.attempt == 0:
                return await self._recover(name, payout, rail, hint)
            return await self._look(name, payout, rail, hint)
        except HintHandledError:
            return "handled_before"

    # --- sending ---

    async def _begin(self, name: Name, payout: Payout, rail: Rail) -> str:
        instruction = await self._instruction(name, payout, payout.attempt + 1)
        if instruction is None:
            return await self._call_off(name, payout, "no_payout_details")
        frozen = await self._frozen(payout)
        if frozen or self._refusal(rail, instruction) is not None:
            return await self._later(name, payout, self._now() + _REFUSED_FOR, "frozen" if frozen else "refused")
        try:
            body = rail.compose(instruction)
        except RejectedError as error:
            return await self._call_off(name, payout, error.code)
        return await self._first(name, payout, rail, instruction, body)

    async def _first(self, name: Name, payout: Payout, rail: Rail, instruction: Instruction, body: bytes) -> str:
        digest, act, sealed = sha256(body).hexdigest(), self._act(), self._sealing.seal(body)
        begun = await self._decide(
            name, payout, lambda now: payouts.start(now, act, digest, rail.window), act, body=sealed
        )
        if begun.dropped:
            return "dropped"
        attempt = _attempt(begun.payout, instruction, body)
        # What an abandoned attempt left at the provider, or one that these books know nothing of because they were
        # restored from a backup, is looked for before anything goes out.
        shown = await self._asked(rail.look_up(attempt))
        if isinstance(shown, Unknown):
            return await self._unknown(name, begun.payout, rail, shown)
        if not isinstance(shown, Missing):
            return await self._take(name, begun.payout, shown, attempt, act)
        return await self._send(name, begun.payout, rail, attempt)

    async def _send(self, name: Name, payout: Payout, rail: Rail, attempt: Attempt) -> str:
        if not payouts.may_send(payout, self._now()):
            return "too_late"
        outcome = await self._asked(rail.submit(attempt))
        act = self._act()
        if isinstance(outcome, Accepted):
            return await self._take(name, payout, outcome.found, attempt, act, answer=True)
        if isinstance(outcome, Rejected):
            code = outcome.code
            done = await self._decide(name, payout, lambda now: payouts.rejected(now, act, code), act)
            return "dropped" if done.dropped else "rejected"
        return await self._unknown(name, payout, rail, outcome)

    async def _resume(self, name: Name, payout: Payout, rail: Rail) -> str:
        looked = self._act()
        if not payout.quiet(looked.at):
            return await self._later(name, payout, due_at(payout, looked.at), "quiet")
        attempt = await self._attempt(name, payout)
        if attempt is None:
            return await self._review(name, payout, "no_body")
        shown = await self._asked(rail.look_up(attempt))
        if isinstance(shown, (Found, Several)):
            word = await self._take(name, payout, shown, attempt, looked)
            # It is there, and says nothing about what was sent last; nor will it, however often it is asked for.
            return await self._review(name, payout, payouts.FAILED_AFTER_REPEAT) if word == "nothing_new" else word
        act = self._act()
        held_back = isinstance(shown, Unknown) or self._refusal(rail, attempt.instruction) or await self._frozen(payout)
        if payout.window_open(act.at) and held_back:
            return await self._later(name, payout, act.at + payouts.QUIET, "unknown")
        done = await self._decide(name, payout, lambda now: payouts.repeat(now, act), act)
        if done.dropped or done.payout.state != "submitting":
            return "dropped" if done.dropped else "review"
        return await self._send(name, done.payout, rail, attempt)

    async def _unknown(self, name: Name, payout: Payout, rail: Rail, outcome: Unknown) -> str:
        _log.warning("a provider gave no definite answer", rail=rail.name, payout=name[1], reason=outcome.reason)
        if outcome.then == "stop":
            self.stopped[rail.name] = self._now() + _STOPPED_FOR
        if outcome.then == "review":
            return await self._review(name, payout, "our_fault")
        return "unknown"

    # --- looking ---

    async def _look(self, name: Name, payout: Payout, rail: Rail, hint: Hint | None = None) -> str:
        act = self._act()
        attempt = await self._attempt(name, payout) if payout.attempt else None
        if attempt is None:
            return await self._later(name, payout, None, "nothing")
        shown = await self._shown(payout, rail, attempt, hint)
        if isinstance(shown, Unknown):
            # Watching ends with an answer, not with the time that is meant for it.
            again = due_at(payout, act.at) or act.at + _REFUSED_FOR
            return "unknown" if hint else await self._later(name, payout, again, "unknown")
        return await self._take(name, payout, shown, attempt, act, hint=hint and (hint.provider, hint.event_id))

    async def _recover(self, name: Name, payout: Payout, rail: Rail, hint: Hint) -> str:
        """Take what the provider shows of a payout that, by these books, was never sent: they were restored.

        The attempt that nobody remembers is written down with what it led to; nothing goes out.
        """
        act, id_ = self._act(), (hint.provider, hint.event_id)
        instruction = await self._instruction(name, payout, 1)
        if instruction is None:
            return await self._later(name, payout, None, "no_payout_details")
        try:
            body = rail.compose(instruction)
        except RejectedError:
            # What can never be sent was not sent.
            body = b""
        digest, window = sha256(body).hexdigest(), rail.window
        attempt = Attempt(instruction, body, digest, act.at, act.at + window)
        shown = await self._shown(payout, rail, attempt, hint)
        if isinstance(shown, (Missing, Unknown)):
            if isinstance(shown, Missing):
                await self._ask(lambda: self._books.store.drop_hint(id_, self._now()))
            return "unknown" if isinstance(shown, Unknown) else "dropped"
        sealed, address = self._sealing.seal(body), instruction.payee.address

        def then(now: Payout) -> list[Event]:
            if isinstance(shown, Several):
                return payouts.several(now, act, shown.references)
            return payouts.observe(now, act, Seen(*shown), address)

        done = await self._decide(
            name, payout, lambda now: payouts.recover(now, act, digest, window, then), act, body=sealed, hint=id_
        )
        return "dropped" if done.dropped else done.payout.state

    async def _shown(self, payout: Payout, rail: Rail, attempt: Attempt, hint: Hint | None) -> Shown:
        """Return what the provider shows: by its list first, which alone can show two payments for one payout."""
        shown = await self._asked(rail.look_up(attempt))
        reference = payout.reference or (hint.reference if hint else None)
        if isinstance(shown, Missing) and reference is not None:
            return await self._asked(rail.state(reference))
        return shown

    async def _take(
        self,
        name: Name,
        payout: Payout,
        shown: Shown,
        attempt: Attempt,
        act: Act,
        *,
        answer: bool = False,
        hint: HintName | None = None,
    ) -> str:
        """Write down what the provider shows, as of when it was asked."""
        address = attempt.instruction.payee.address

        def decide(now: Payout) -> Sequence[Event]:
            if isinstance(shown, Several):
                return payouts.several(now, act, shown.references)
            if isinstance(shown, Found):
                return payouts.observe(now, act, Seen(*shown), address, answer=answer)
            return []

        done = await self._decide(name, payout, decide, act, hint=hint)
        if done.dropped:
            return "dropped"
        if not done.events and hint is None:
            return await self._later(name, done.payout, due_at(done.payout, self._now()), "nothing_new")
        return done.payout.state

    # --- parts ---

    async def _decide(
        self, name: Name, payout: Payout, decide: Callable[[Payout], Sequence[Event]], act: Act, **more: Any
    ) -> Done:
        """Decide at the version that was read, and no other."""
        return await self._ask(lambda: self._books.decide(name, decide, act, expect=payout.version, **more))

    async def _later(self, name: Name, payout: Payout, at: datetime | None, word: str) -> str:
        await self._ask(lambda: self._books.store.postpone(name, payout.version, at))
        return word

    async def _review(self, name: Name, payout: Payout, reason: str) -> str:
        act = self._act()
        done = await self._decide(name, payout, lambda now: payouts.review(now, act, reason), act)
        return "dropped" if done.dropped else "review"

    async def _call_off(self, name: Name, payout: Payout, reason: str) -> str:
        if payout.attempt:
            return await self._later(name, payout, None, "stuck")
        act = self._act()
        done = await self._decide(name, payout, lambda now: payouts.cancel(now, act, reason), act)
        return "dropped" if done.dropped else "cancelled"

    async def _instruction(self, name: Name, payout: Payout, number: int) -> Instruction | None:
        sealed = await self._ask(lambda: self._books.store.payee(name))
        if sealed is None:
            return None
        opened = payout.opened
        payee = msgspec.json.decode(self._sealing.unseal(sealed), type=Payee)
        return Instruction(
            opened.merchant_id, opened.payout_id, opened.partner_id, number, payouts.key_of(opened.payout_id, number),
            opened.amount_minor, opened.currency, payee,
        )  # fmt: skip

    async def _attempt(self, name: Name, payout: Payout) -> Attempt | None:
        """Return the attempt as it was written down; None where somebody's details were erased since."""
        instruction = await self._instruction(name, payout, payout.attempt)
        sealed = await self._ask(lambda: self._books.store.body(name, payout.attempt))
        if instruction is None or sealed is None:
            return None
        return _attempt(payout, instruction, self._sealing.unseal(sealed))

    async def _frozen(self, payout: Payout) -> bool:
        opened = payout.opened
        return bool(await self._ask(lambda: self._books.store.frozen(opened.merchant_id, [opened.partner_id])))

    def _refusal(self, rail: Rail, instruction: Instruction) -> str | None:
        now = self._now()
        if now < self.stopped.get(rail.name, now):
            return "stopped"
        return rail.refusal(instruction, now)

    async def _asked(self, question: Awaitable[T]) -> "T | Unknown":
        try:
            return await question
        except RetryableError as error:
            return Unknown(str(error))
        except Exception as error:  # noqa: BLE001 - whatever escapes a rail says nothing about the payment
            return Unknown(repr(error))

    def _act(self) -> Act:
        return Act(self._now(), CAUSE)


def _attempt(payout: Payout, instruction: Instruction, body: bytes) -> Attempt:
    assert payout.sent_at is not None  # noqa: S101 - an attempt that began was written down
    assert payout.window_ends_at is not None  # noqa: S101 - as above
    return Attempt(instruction, body, payout.body_sha256, payout.sent_at, payout.window_ends_at)
