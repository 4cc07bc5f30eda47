"""Conversions per day, told once more in Python, for `verify`."""

from datetime import date

COLUMNS = ("conversions", "skipped", "reversed", "rejected")
KEY = ("merchant_id", "partner_id", "currency", "day")

_BEGUN = {"CommissionEarned": 0, "CommissionSkipped": 1}
_COUNTED = {"reversed": 2, "rejected": 3}


class Conversions(dict[tuple[str, str, str, date], list[int]]):
    """How many orders the events taken so far made what."""

    def take(self, key: tuple[str, str, str, date], topic: str, from_state: str | None, to_state: str) -> None:
        """Count the event, where it makes an order something that is counted, or makes it that no longer."""
        if topic in _BEGUN:
            self._add(key, _BEGUN[topic], 1)
        elif from_state != to_state:
            if to_state in _COUNTED:
                self._add(key, _COUNTED[to_state], 1)
            if from_state in _COUNTED:
                self._add(key, _COUNTED[from_state], -1)

    def _add(self, key: tuple[str, str, str, date], column: int, number: int) -> None:
        row = self.get(key)
        if row is None:
            row = self[key] = [0] * len(COLUMNS)
        row[column] += number
