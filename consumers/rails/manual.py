"""Payouts that somebody makes by hand, outside of us: nothing is ever sent, a person confirms with a transaction id."""

import re
from datetime import datetime, timedelta

from consumers.rails import Attempt, Found, Instruction, Missing, Unknown
from schemas.errors import RejectedError

CLOCKS_DIFFER = timedelta(minutes=5)
"""How far in the future somebody's clock may be."""

_TRANSACTION_ID = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f](?:[^\x00-\x1f\x7f-\x9f\u2028\u2029]{0,126}[^\s\x00-\x1f\x7f-\x9f])?"
)
_METHOD = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)


class ManualRail:
    """The rail `manual`: it waits for `ledger.payouts.confirm`."""

    name = "manual"
    window = timedelta(0)

    def refusal(self, instruction: Instruction, now: datetime) -> str | None:  # noqa: ARG002 - as the protocol has it
        """Return `by_hand`: no attempt ever begins."""
        return "by_hand"

    def compose(self, instruction: Instruction) -> bytes:  # noqa: ARG002 - as the protocol has it
        """Return nothing. Raises RejectedError `by_hand`."""
        raise RejectedError("by_hand", "this payout is made by hand; confirm it with its transaction id")

    async def submit(self, attempt: Attempt) -> Unknown:  # noqa: ARG002 - as the protocol has it
        """Send nothing, and return that a person has to look: nothing can have come here."""
        return Unknown("by_hand", "review")

    async def look_up(self, attempt: Attempt) -> Missing:  # noqa: ARG002 - as the protocol has it
        """Return Missing: there is nobody to ask."""
        return Missing()

    async def state(self, reference: str) -> Found | Missing:  # noqa: ARG002 - as the protocol has it
        """Return Missing: there is nobody to ask."""
        return Missing()


def check_confirmation(*, method: str, transaction_id: str, paid_at: datetime, now: datetime) -> None:
    """Raise RejectedError where somebody's confirmation cannot be: its words or its time; the books check the rest.

    Codes: `bad_method`, `bad_transaction_id` (empty, longer than 128 characters, control characters, space around it),
    `no_time_zone`, `paid_in_the_future`.
    """
    if not _METHOD.fullmatch(method):
        raise RejectedError.at("$.method", "bad_method", "must be a word of small letters, digits and _")
    if not _TRANSACTION_ID.fullmatch(transaction_id):
        raise RejectedError.at("$.transaction_id", "bad_transaction_id", "must be 1 to 128 printable characters")
    if paid_at.tzinfo is None:
        raise RejectedError.at("$.paid_at", "no_time_zone", "needs an offset")
    if paid_at > now + CLOCKS_DIFFER:
        raise RejectedError.at("$.paid_at", "paid_in_the_future", "lies in the future")
