"""Sends what partners (and whoever has to approve a run) are told of payouts. Any number of workers do it at once.

What there is to tell stands in rows that were written with the events (`ledger.payout_letters`). A letter is sent, then
noted: who is killed between the two sends it again, as the same file and under the same Message-ID, so that a mailbox
can tell that it is one. Where the mail server is away nothing else waits: the letter is tried again for three days.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple, Protocol

import msgspec
import structlog

from consumers.health import Health
from consumers.paying import Paying
from consumers.rails import Payee
from consumers.rounds import in_rounds
from ledger import merchants, partner_logins, payout_runs, people, users
from ledger.application import Ledger
from ledger.merchants import Merchant
from ledger.payout_events import PayoutReturned, payout_stream
from ledger.payout_letters import APPROVAL, DueLetter, Outcome, finish_letter, take_letters, try_letter_again
from ledger.payouts import fold
from ledger.terms import letters_of
from schemas.errors import NotFoundError, RejectedError
from schemas.money import Money
from schemas.payout_methods import PayoutMethod, masked

_log = structlog.get_logger(__name__)

CONDITION = "payout_letters"

_PAUSE_S = 2.0
_AT_ONCE = 8
# Longer than a mail server is given for one letter.
_LEASE = timedelta(minutes=5)
_FIRST_DELAY = timedelta(minutes=1)
_DELAY_MAX = timedelta(hours=1)
_DOUBLINGS_MAX = 6
_GIVE_UP_AFTER = timedelta(days=3)


class PayoutTold(NamedTuple):
    """What a partner is told of a payout: `amount` is what went out, could not, or came back.

    `payee` is masked, None where it is not known any more; `transaction_id` None where there is none.
    """

    kind: str
    name: str | None
    program: str
    merchant_id: str
    partner_id: str
    generation: int
    amount: Money
    rail: str
    payee: str | None
    transaction_id: str | None


class RunTold(NamedTuple):
    """What somebody who may approve is told of a run that the schedule prepared."""

    program: str
    run_id: str
    partners: int


class Post(Protocol):
    """Writes letters and sends them; handed in by whoever starts the worker."""

    async def send(self, to: str, told: PayoutTold | RunTold, key: str, told_at: datetime) -> None:
        """Send it, once per key as far as that can be.

        Raises RejectedError where this will never work, anything else where it may later.
        """


class PayoutLetters:
    """`work` sends what is due, `run` does it for ever. Without a post nothing is sent, and nothing waits either."""

    def __init__(
        self,
        paying: Paying,
        ledger: Ledger,
        post: Post | None,
        health: Health,
        now: Callable[[], datetime],
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._paying, self._ledger, self._post = paying, ledger, post
        self._health, self._now, self._pause_s = health, now, pause_s

    async def run(self) -> None:
        """Work until cancelled. What goes wrong is told once, and tried again."""
        await in_rounds(self.work, self._health, CONDITION, "letters about payouts are not sent", self._pause_s)

    async def work(self) -> int:
        """Send what is due, at most a few; return how many letters were looked at. Raises RetryableError."""
        due = await asyncio.to_thread(lambda: take_letters(self._ledger, self._now(), _LEASE, _AT_ONCE))
        results = await asyncio.gather(*(self._one(letter) for letter in due), return_exceptions=True)
        broken = [result for result in results if isinstance(result, BaseException)]
        if broken:
            raise broken[0]
        return len(due)

    async def _one(self, letter: DueLetter) -> None:
        outcome = await self._outcome(letter)
        if outcome is not None:
            await asyncio.to_thread(lambda: finish_letter(self._ledger, letter, outcome))
            return
        again_at = self._now() + min(_FIRST_DELAY * (1 << min(letter.tries - 1, _DOUBLINGS_MAX)), _DELAY_MAX)
        await asyncio.to_thread(lambda: try_letter_again(self._ledger, letter, again_at))

    async def _outcome(self, letter: DueLetter) -> Outcome | None:
        """Send the letter and return what became of it, None where it is to be tried again."""
        if self._post is None:
            return "no_mail"
        if self._now() - letter.told_at > _GIVE_UP_AFTER:
            _log.error("a letter about a payout was not sent in time", about=letter.subject_id, kind=letter.kind)
            return "too_late"
        try:
            found = await asyncio.to_thread(lambda: self._told(letter))
            if isinstance(found, str):
                return found
            to, told = found
            await self._post.send(to, told, _key(letter), letter.told_at)
        except RejectedError as error:
            _log.warning("a letter about a payout was refused", about=letter.subject_id, code=error.code)
            return "refused"
        except Exception as error:  # noqa: BLE001 - whatever it is, the next time comes
            # Not the error itself: servers repeat the address.
            _log.warning("a letter about a payout was not sent", about=letter.subject_id, reason=type(error).__name__)
            return None
        return "sent"

    # --- what is told ---

    def _told(self, letter: DueLetter) -> tuple[str, PayoutTold | RunTold] | Outcome:
        """Return whom to write to and what; or why nobody is written to."""
        merchant = merchants.find(self._ledger, letter.merchant_id)
        try:
            if letter.kind == APPROVAL:
                return self._told_of_run(letter, merchant)
            if letter.kind not in letters_of(merchant.terms):
                return "unwanted"
            return self._told_of_payout(letter, merchant)
        except NotFoundError:
            return "nobody"

    def _told_of_run(self, letter: DueLetter, merchant: Merchant) -> tuple[str, RunTold] | Outcome:
        user = users.find(self._ledger, letter.merchant_id, letter.to_id)
        run = payout_runs.find(self._paying.books, letter.merchant_id, letter.subject_id)
        if run.state != "prepared":
            return "unwanted"
        if user.email is None or user.disabled_at is not None:
            return "nobody"
        return user.email, RunTold(merchant.name, run.run_id, run.prepared.partners_in)

    def _told_of_payout(self, letter: DueLetter, merchant: Merchant) -> tuple[str, PayoutTold] | Outcome:
        login = partner_logins.find(self._ledger, letter.merchant_id, letter.to_id)
        if login.email is None:
            return "nobody"
        name = (letter.merchant_id, letter.subject_id)
        events = [each.event for each in self._paying.books.store.streams([payout_stream(*name)])[payout_stream(*name)]]
        event = events[letter.number - 1]
        # As it was then: later events have letters of their own.
        payout = fold(events[: letter.number])
        opened = payout.opened
        minor = event.returned_minor if isinstance(event, PayoutReturned) else opened.amount_minor
        told = PayoutTold(
            letter.kind, people.name_of(self._ledger, letter.merchant_id, letter.to_id), merchant.name,
            letter.merchant_id, letter.to_id, login.generation, Money.of(minor, opened.currency), opened.rail,
            self._payee(name, opened.rail), payout.paid_under,
        )  # fmt: skip
        return login.email, told

    def _payee(self, name: tuple[str, str], rail: str) -> str | None:
        sealed = self._paying.books.store.payee(name)
        if sealed is None:
            return None
        payee = msgspec.json.decode(self._paying.keys.unseal(sealed), type=Payee)
        method = PayoutMethod.model_validate({"method": rail, **payee._asdict()})
        return masked(method).address


def _key(letter: DueLetter) -> str:
    told = "\n".join((letter.merchant_id, letter.subject_id, str(letter.number), letter.to_id))
    return blake2b(told.encode(), digest_size=12).hexdigest()
