"""Revenue and what commissions cost per day, told once more in Python, for `verify`."""

from datetime import date

from ledger.postings import RULES, Move

COLUMNS = (
    "gross_minor", "refunded_minor", "earned_minor", "adjusted_minor", "clawed_back_minor", "rejected_minor",
    "paid_minor", "payouts_paid_minor", "payouts_returned_minor",
)  # fmt: skip
KEY = ("merchant_id", "partner_id", "currency", "day")

_GROSS, _REFUNDED, _EARNED, _ADJUSTED, _CLAWED_BACK, _REJECTED, _PAID, _BY_PAYOUTS, _BACK = range(len(COLUMNS))

# What an event that moves money does to the day, by its topic: the column, and the sign of the amount there.
_COUNTED = {
    "CommissionEarned": (_EARNED, 1),
    "CommissionEntered": (_EARNED, 1),
    "CommissionAdjusted": (_ADJUSTED, 1),
    "CommissionClawedBack": (_CLAWED_BACK, 1),
    "CommissionRejected": (_REJECTED, 1),
    "CommissionReopened": (_REJECTED, -1),
    "CommissionPaid": (_PAID, 1),
    "CommissionMarkedUnpaid": (_PAID, -1),
    "ClawbackSettled": (_PAID, 1),
    "ClawbackOwedAgain": (_PAID, -1),
}


class Revenue(dict[tuple[str, str, str, date], list[int]]):
    """The revenue that the events taken so far make."""

    def take(
        self,
        key: tuple[str, str, str, date],
        move: Move,
        amount_minor: int,
        revenue_minor: int,
        total_minor: int,
        payout_minor: int = 0,
    ) -> None:
        """Add what events of one kind say about revenue, and what they make commissions cost.

        `payout_minor` is what of the amount was moved by payouts.
        """
        topic, from_state, to_state = move
        # A skipped order was never revenue, so what is given back of it is none either.
        if topic not in _COUNTED or from_state == "skipped":
            return
        row = self.setdefault(key, [0] * len(COLUMNS))
        # The order is worth less also where its commission is rejected, and no money moves.
        row[_REFUNDED] -= revenue_minor
        if move in RULES:
            column, sign = _COUNTED[topic]
            row[column] += sign * amount_minor
            if (topic, to_state) == ("CommissionEntered", "paid"):
                # What came back of a payment, in part: an entry, and less that was paid.
                row[_PAID] += amount_minor
                row[_BACK] -= payout_minor
            elif column == _PAID:
                row[_BY_PAYOUTS if sign > 0 else _BACK] += payout_minor
        if topic == "CommissionEarned":
            row[_GROSS] += total_minor
