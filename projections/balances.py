"""Balances, told once more in Python: the sum of the postings (`ledger.postings`), for `verify`."""

from ledger.postings import RULES

COLUMNS = (
    "pending_minor", "approved_minor", "held_minor", "in_payout_minor", "paid_minor", "clawed_back_minor", "expense_minor",
)  # fmt: skip
KEY = ("merchant_id", "partner_id", "currency")

_PLACE = {column.removesuffix("_minor"): number for number, column in enumerate(COLUMNS)}
# Where debit and credit of each rule stand in a row.
_SIDES = {move: (_PLACE[debit], _PLACE[credit]) for move, (debit, credit) in RULES.items()}


class Balances(dict[tuple[str, str, str], list[int]]):
    """The balances that the events taken so far make."""

    def take(
        self, key: tuple[str, str, str], topic: str, from_state: str | None, to_state: str, amount_minor: int
    ) -> None:
        """Add the postings of one event to the row of its merchant, partner and currency; both sides stand in it."""
        sides = _SIDES.get((topic, from_state, to_state))
        if sides is None:
            return
        row = self.get(key)
        if row is None:
            row = self[key] = [0] * len(COLUMNS)
        row[sides[0]] -= amount_minor
        row[sides[1]] += amount_minor
