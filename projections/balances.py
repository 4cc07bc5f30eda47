"""Balances, told once more in Python: the sum of the postings (`ledger.postings`), for `verify`."""

from ledger.postings import RULES, Move

COLUMNS = (
    "pending_minor", "approved_minor", "held_minor", "in_payout_minor", "paid_minor", "clawed_back_minor",
    "expense_minor",
)  # fmt: skip
KEY = ("merchant_id", "partner_id", "currency")
PROGRAM_KEY = ("merchant_id", "currency")

_PLACE = {column.removesuffix("_minor"): number for number, column in enumerate(COLUMNS)}
# Where debit and credit of each rule stand in a row.
_SIDES = {move: (_PLACE[debit], _PLACE[credit]) for move, (debit, credit) in RULES.items()}


class Balances(dict[tuple[str, str, str], list[int]]):
    """The balances that the events taken so far make."""

    def take(self, key: tuple[str, str, str], move: Move, amount_minor: int) -> None:
        """Add the postings of events of one kind to their row; both sides of each stand in it."""
        sides = _SIDES.get(move)
        if sides is not None:
            row = self.setdefault(key, [0] * len(COLUMNS))
            row[sides[0]] -= amount_minor
            row[sides[1]] += amount_minor

    def of_programs(self) -> dict[tuple[str, str], list[int]]:
        """Return what the balances of all partners add up to, per merchant and currency."""
        found: dict[tuple[str, str], list[int]] = {}
        for (merchant_id, _, currency), row in self.items():
            sums = found.setdefault((merchant_id, currency), [0] * len(COLUMNS))
            for place, amount_minor in enumerate(row):
                sums[place] += amount_minor
        return found
