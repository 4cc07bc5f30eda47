"""Conversions per day, told once more in Python, for `verify`."""

from datetime import date

from ledger.postings import Move

COLUMNS = ("conversions", "skipped", "entered", "reversed", "rejected")
KEY = ("merchant_id", "partner_id", "currency", "day")

_BEGUN = {"CommissionEarned": 0, "CommissionSkipped": 1, "CommissionEntered": 2}
_COUNTED = {"reversed": 3, "rejected": 4}


class Conversions(dict[tuple[str, str, str, date], list[int]]):
    """How many orders the events taken so far made what."""

    def take(self, key: tuple[str, str, str, date], move: Move, orders: int) -> None:
        """Count events of one kind, where they make an order something that is counted, or make it that no longer."""
        topic, from_state, to_state = move
        if topic in _BEGUN:
            # What came back of a payout is two entries, of which one is paid: nobody entered them by hand.
            back = (topic, to_state) == ("CommissionEntered", "paid")
            self._add(key, _BEGUN[topic], -orders if back else orders)
        elif from_state != to_state:
            if to_state in _COUNTED:
                self._add(key, _COUNTED[to_state], orders)
            if from_state in _COUNTED:
                self._add(key, _COUNTED[from_state], -orders)

    def _add(self, key: tuple[str, str, str, date], column: int, orders: int) -> None:
        self.setdefault(key, [0] * len(COLUMNS))[column] += orders
