"""A rail that can be switched off and that lets no more out than it may: per payout, per partner and day, per day."""

import asyncio
from datetime import UTC, date, datetime, timedelta

from consumers.rails import Accepted, Attempt, Found, Instruction, Lists, Missing, Rail, Rejected, Several, Unknown
from ledger.payout_spending import Beginning, Limits, Spending, Spent, counted, refusal


class LimitedRail:
    """The rail in it, within its limits. Days are those of UTC, sums those of all merchants and workers together.

    `off` stops it in this process; `Spending` stops it in all of them. What was sent is followed all the same.
    """

    name: str
    window: timedelta

    def __init__(self, rail: Rail, spending: Spending, limits: Limits, *, off: bool = False) -> None:
        self.name, self.window, self.off = rail.name, rail.window, off
        self._rail, self._spending, self._limits = rail, spending, limits
        self._spent: Spent | None = None

    @property
    def lists(self) -> Lists | None:
        """What asks the provider for all payments of some time, None where it has no such list."""
        return self._rail if isinstance(self._rail, Lists) else None

    async def refresh(self, now: datetime) -> None:
        """Look at what all workers have sent today and at the switches, for `refusal`. Raises RetryableError."""
        day = now.astimezone(UTC).date()
        self._spent = await asyncio.to_thread(self._spending.spent, self.name, day)

    def refusal(self, instruction: Instruction, now: datetime) -> str | None:
        """Return why no attempt may begin now, as far as this process knows; None where it may. No I/O.

        Reasons: `off`, `over_payout_limit`, `over_partner_day_limit`, `over_day_limit`, and those of the rail.
        """
        if self.off:
            return "off"
        spent = self._known(now.astimezone(UTC).date())
        return refusal(spent, _beginning(instruction), self._limits) or self._rail.refusal(instruction, now)

    def _known(self, day: date) -> Spent:
        """Return what this process knows of the day: nothing but the switch, where it is a new one."""
        if self._spent is None or self._spent.on != day:
            self._spent = Spent(day, self._spent.off if self._spent else None, {}, {}, frozenset())
        return self._spent

    def compose(self, instruction: Instruction) -> bytes:
        """Return the body; see `Rail.compose`."""
        return self._rail.compose(instruction)

    async def submit(self, attempt: Attempt) -> Accepted | Rejected | Unknown:
        """Send it where that is within the limits, counted with what all workers send; else nothing is sent.

        What is counted is counted before it is sent: where nobody knows whether it was, it was.
        """
        if self.off:
            return Unknown("off")
        day = attempt.started_at.astimezone(UTC).date()
        beginning = _beginning(attempt.instruction)
        try:
            reason = await asyncio.to_thread(self._spending.begin, self.name, day, beginning, self._limits)
            if reason is not None:
                # Others were faster: from now on this process knows it too.
                await self.refresh(attempt.started_at)
                return Unknown(reason)
        except Exception as error:  # noqa: BLE001 - not counted is not sent
            return Unknown(f"not counted: {type(error).__name__}")
        self._spent = counted(self._known(day), beginning)
        return await self._rail.submit(attempt)

    async def look_up(self, attempt: Attempt) -> Found | Missing | Several | Unknown:
        """Return what the provider has; see `Rail.look_up`."""
        return await self._rail.look_up(attempt)

    async def state(self, reference: str) -> Found | Missing | Unknown:
        """Return what the provider says; see `Rail.state`."""
        return await self._rail.state(reference)


def _beginning(instruction: Instruction) -> Beginning:
    return Beginning(
        instruction.merchant_id,
        instruction.partner_id,
        instruction.payout_id,
        instruction.currency,
        instruction.amount_minor,
    )
