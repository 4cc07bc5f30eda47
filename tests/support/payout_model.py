"""Payouts and what they do to commissions, told a second time in the plainest way: it shares no code with the service.

Money is whole cents; a commission is a tenth of what is left of its order, so nothing is ever rounded.
"""

from collections import Counter
from dataclasses import dataclass, field

ACCOUNTS = ("pending", "approved", "held", "in_payout", "paid", "clawed_back")
OPEN = ("requested", "submitting", "submitted")


@dataclass
class Order:
    """A commission, and how much of its order is left."""

    partner: str
    left: int
    amount: int
    state: str
    claw: int = 0
    netted: int = 0

    @property
    def payable(self):
        """What a payout would take of it."""
        if self.state == "in_payout":
            return 0
        return self.claw + (self.amount if self.state == "approved" else 0)


@dataclass
class Payout:
    """A payout and what it holds: of each order the commission, and the clawback that is netted off."""

    partner: str
    parts: list
    state: str = "requested"
    returned: int = 0
    order_ids: list = field(default_factory=list)

    @property
    def amount(self):
        """What it pays."""
        return sum(amount + claw for _, amount, claw in self.parts)


class Model:
    """All partners of one program in one currency."""

    def __init__(self):
        self.orders = {}
        self.payouts = {}
        self.sums = Counter()
        self.written_off = 0
        self.by_payouts = self.came_back = 0

    # --- orders ---

    def earn(self, order_id, partner, total):
        """Take an order."""
        self.orders[order_id] = Order(partner, total, total // 10, "pending")
        self._post(partner, "pending", total // 10)

    def approve(self, order_id):
        """Approve a commission."""
        self._move(self.orders[order_id], "approved")

    def refund(self, order_id, amount):
        """Take a refund: what is on its way out or paid gets a negative entry beside it, anything else is less."""
        order = self.orders[order_id]
        order.left -= amount
        change = order.left // 10 - order.amount - order.claw - order.netted
        if order.state in ("in_payout", "paid"):
            order.claw += change
            self._post(order.partner, "clawed_back", change)
            return
        order.amount += change
        self._post(order.partner, order.state, change)
        if order.left == 0 and not order.netted:
            order.state = "reversed"

    # --- payouts ---

    def owed(self):
        """Return what is payable per partner, of those to whom anything is owed or who owe something."""
        found = Counter()
        for order in self.orders.values():
            found[order.partner] += order.payable
        return found

    def would_pay(self):
        """Return who would be paid by a run, and how much."""
        busy = {payout.partner for payout in self.payouts.values() if payout.state in OPEN}
        return {who: amount for who, amount in self.owed().items() if amount > 0 and who not in busy}

    def request(self, payout_id, partner):
        """Reserve all that is payable to the partner."""
        parts = []
        for order in self.orders.values():
            if order.partner != partner or order.state == "in_payout":
                continue
            amount = order.amount if order.state == "approved" else 0
            claw = order.claw
            if not amount and not claw:
                continue
            if amount:
                self._move(order, "in_payout")
            order.claw, order.netted = 0, order.netted + claw
            self._shift(partner, "clawed_back", "in_payout", claw)
            parts.append((order, amount, claw))
        self.payouts[payout_id] = Payout(partner, parts)

    def pay(self, payout_id):
        """Settle it: the money is out."""
        payout = self.payouts[payout_id]
        payout.state = "processed"
        self.by_payouts += payout.amount
        for order, amount, claw in payout.parts:
            if amount:
                self._move(order, "paid")
            self._shift(payout.partner, "in_payout", "paid", claw)

    def release(self, payout_id, state):
        """Make all payable again: it was called off, or failed."""
        payout = self.payouts[payout_id]
        payout.state = state
        self._give_back(payout, "in_payout")

    def come_back(self, payout_id, amount):
        """Let so much come back: all at once is as if it were not paid, a part belongs to no commission."""
        payout = self.payouts[payout_id]
        payout.state, payout.returned = "returned", payout.returned + amount
        self.came_back += amount
        if amount == payout.amount:
            self._give_back(payout, "paid")
            return
        number = len(self.orders)
        self.orders[f"less {number}"] = Order(payout.partner, 0, -amount, "paid")
        self.orders[f"again {number}"] = Order(payout.partner, 0, amount, "approved")
        self._post(payout.partner, "paid", -amount)
        self._post(payout.partner, "approved", amount)

    def forgive(self, partner):
        """Write off what the partner owes."""
        amount = -self.owed_in_all(partner)
        self.written_off += 1
        self.orders[f"forgiven {len(self.orders)}"] = Order(partner, 0, amount, "approved")
        self._post(partner, "approved", amount)

    def owed_in_all(self, partner):
        """Return what the balance shows as payable, also what an order in a payout lost meanwhile."""
        return self.sums[partner, "approved"] + self.sums[partner, "clawed_back"]

    # --- parts ---

    def _give_back(self, payout, account):
        for order, amount, claw in payout.parts:
            if amount:
                self._move(order, "approved")
                lost, order.claw = order.claw, 0
                order.amount += lost
                self._shift(order.partner, "clawed_back", "approved", lost)
                if lost and order.left == 0 and not order.netted:
                    order.state = "reversed"
            # In the order of the log: the commission first, then what was netted off of the same order.
            order.claw, order.netted = order.claw + claw, order.netted - claw
            self._shift(payout.partner, account, "clawed_back", claw)

    def _move(self, order, state):
        self._shift(order.partner, order.state, state, order.amount)
        order.state = state

    def _shift(self, partner, left, reached, amount):
        self._post(partner, left, -amount)
        self._post(partner, reached, amount)

    def _post(self, partner, account, amount):
        self.sums[partner, account] += amount
