"""Revenue and what commissions cost per day, told once more in Python, for `verify`."""

from datetime import date

from ledger.events import CommissionCorrected, CommissionEarned, Event
from ledger.postings import RULES

COLUMNS = (
    "gross_minor", "refunded_minor", "earned_minor", "adjusted_minor", "clawed_back_minor", "rejected_minor", "paid_minor",
)  # fmt: skip
KEY = ("merchant_id", "partner_id", "currency", "day")

_GROSS, _REFUNDED, _EARNED, _ADJUSTED, _CLAWED_BACK, _REJECTED, _PAID = range(len(COLUMNS))

# What an event that moves money does to the day, by its topic: the column, and the sign of the amount there.
_COUNTED = {
    "CommissionEarned": (_EARNED, 1),
    "CommissionAdjusted": (_ADJUSTED, 1),
    "CommissionClawedBack": (_CLAWED_BACK, 1),
    "CommissionRejected": (_REJECTED, 1),
    "CommissionReopened": (_REJECTED, -1),
    "CommissionPaid": (_PAID, 1),
    "CommissionMarkedUnpaid": (_PAID, -1),
}


class Revenue(dict[tuple[str, str, str, date], list[int]]):
    """The revenue that the events taken so far make."""

    def take(
        self,
        key: tuple[str, str, str, date],
        topic: str,
        from_state: str | None,
        to_state: str,
        amount_minor: int,
        event: Event,
    ) -> None:
        """Add what the event says about revenue, and what it makes commissions cost."""
        counted = _COUNTED.get(topic)
        if counted is None or (
            (topic, from_state, to_state) not in RULES and not isinstance(event, CommissionCorrected)
        ):
            return
        row = self.get(key)
        if row is None:
            row = self[key] = [0] * len(COLUMNS)
        if isinstance(event, CommissionEarned):
            row[_GROSS] += event.total_minor
        elif isinstance(event, CommissionCorrected):
            # The order is worth less also where its commission is rejected, and no money moves.
            row[_REFUNDED] -= event.revenue_minor
            if (topic, from_state, to_state) not in RULES:
                return
        column, sign = counted
        row[column] += sign * amount_minor
