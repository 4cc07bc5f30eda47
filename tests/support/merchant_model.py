"""A small model of one merchant's books: what every figure of the API has to be. It shares no code with the service.

Amounts are minor units; commands return the code with which they must be refused, None where they must succeed.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any

PARTNER_MOVES = {
    "applied": {"approve": "approved", "reject": "rejected", "ban": "banned"},
    "approved": {"pause": "paused", "ban": "banned"},
    "paused": {"reinstate": "approved", "ban": "banned"},
    "banned": {"reinstate": "approved"},
    "rejected": {"approve": "approved", "ban": "banned"},
}
LEGAL = {
    "pending": {"approve", "hold", "reject"},
    "approved": {"hold", "reject", "mark-paid"},
    "held": {"release", "reject"},
    "rejected": {"reopen"},
    "paid": {"mark-unpaid"},
    "reversed": set(),
    "skipped": set(),
}
# Those first that lead on, to the payment and back.
ACTIONS = ("approve", "mark-paid", "mark-unpaid", "release", "reopen", "hold", "reject")
OPEN = ("pending", "approved", "held")
_SKIPPED = {
    "applied": "partner_not_approved",
    "rejected": "partner_not_approved",
    "paused": "partner_paused",
    "banned": "partner_banned",
}


class Since:
    """Values with the instant from which each holds; the first has always held."""

    def __init__(self, at: datetime, value: Any) -> None:
        self.values = [(at, value)]

    def put(self, at: datetime, value: Any) -> None:
        """Let the value hold from then on."""
        self.values = sorted([*self.values, (at, value)], key=lambda held: held[0])

    def at(self, instant: datetime) -> Any:
        """Return what held at the instant."""
        held = [value for at, value in self.values if at <= instant]
        return held[-1] if held else self.values[0][1]

    @property
    def last(self) -> Any:
        """What was put for the latest time."""
        return self.values[-1][1]


@dataclass
class Partner:
    """A partner: standing and rate over time; a rate is (type, basis points or minor units)."""

    id: str
    standing: Since
    rate: Since
    now: str
    newest: datetime | None = None


@dataclass
class Commission:
    """A commission as it stands; `told` is what the storefront said of the order, None: it was entered by hand."""

    partner_id: str
    currency: str
    state: str
    amount: int = 0
    clawed_back: int = 0
    total: int = 0
    rate: tuple[str, int] = ("percentage", 0)
    policy: str = "keep"
    earned: bool = False
    reason: str | None = None
    told: dict[str, Any] | None = None
    back: dict[str, str] = field(default_factory=dict)
    banned: bool = False
    refunds: dict[str, int] = field(default_factory=dict)
    cancelled: bool = False
    disputes: list[tuple[datetime, bool]] = field(default_factory=list)

    @property
    def left(self) -> int:
        """What is left of the order's total."""
        if self.cancelled or (self.disputes and not max(self.disputes)[1]):
            return 0
        return self.total - sum(self.refunds.values())

    def owed(self) -> int:
        """Return what the partner should get for what is left."""
        if not self.earned or self.left <= 0:
            return 0
        kind, value = self.rate
        if kind == "percentage":
            return int(Fraction(self.left * value, 10_000) + Fraction(1, 2))
        return value if self.policy == "keep" else int(Fraction(value * self.left, self.total) + Fraction(1, 2))

    def settle(self) -> None:
        """Book the difference between what is owed and what stands, after the storefront took something back."""
        difference = self.owed() - self.amount - self.clawed_back
        if self.state == "paid":
            self.clawed_back += difference
            return
        self.amount += difference
        if self.state in OPEN and not self.left:
            self.back["reversed"], self.state = self.state, "reversed"
        elif self.state == "reversed" and self.left:
            self.state = self.back["reversed"]

    def move(self, name: str, *, by_ban: bool = False) -> None:
        """Make a legal move."""
        if name in ("hold", "reject"):
            after = {"hold": "held", "reject": "rejected"}[name]
            self.back[after], self.banned = self.state, by_ban
        else:
            target = {"approve": "approved", "mark-paid": "paid", "mark-unpaid": "approved"}
            after = target.get(name) or self.back[self.state]
        self.state = after
        if name == "mark-unpaid" and self.clawed_back:
            self.amount, self.clawed_back = self.amount + self.clawed_back, 0
            if not self.left:
                self.back["reversed"], self.state = "approved", "reversed"


class Books:
    """One merchant's books, with USD as the program's currency."""

    def __init__(self, now: datetime) -> None:
        self.approval, self.policy = Since(now, "manual"), Since(now, "keep")
        self.partners: dict[str, Partner] = {}
        self.codes: dict[str, Since] = {}
        self.commissions: dict[str, Commission] = {}
        self.parked: dict[str, list[dict[str, Any]]] = {}
        self.letters: Counter[str] = Counter()
        self.customers: dict[str, list[tuple[datetime, int, Commission]]] = {}

    # --- partners ---

    def register(self, partner_id: str, standing: str, rate: tuple[str, int], code: str, now: datetime) -> None:
        """Take a partner in whose code was free."""
        self.partners[partner_id] = Partner(partner_id, Since(now, standing), Since(now, rate), standing)
        self.assign(partner_id, code, now)

    def holder(self, code: str) -> str | None:
        """Return whose code it is now."""
        return self.codes[code].last if code in self.codes else None

    def assign(self, partner_id: str, code: str, now: datetime) -> str | None:
        """Give a code to a partner."""
        held_by = self.holder(code)
        if held_by is not None:
            return None if held_by == partner_id else "coupon_taken"
        if code in self.codes:
            self.codes[code].put(now, partner_id)
        else:
            self.codes[code] = Since(now, partner_id)
        return None

    def revoke(self, partner_id: str, code: str, now: datetime) -> str | None:
        """Take a code away."""
        if self.holder(code) != partner_id:
            return "not_found"
        self.codes[code].put(now, None)
        return None

    def change_rate(self, partner_id: str, rate: tuple[str, int], since: datetime, now: datetime) -> str | None:
        """Put another rate in force."""
        partner = self.partners[partner_id]
        if since < now and partner.newest is not None and partner.newest >= since:
            return "rate_in_the_past"
        partner.rate.put(since, rate)
        return None

    def move_partner(self, partner_id: str, name: str, now: datetime) -> str | None:
        """Approve, reject, pause, reinstate or ban; a ban takes what is open, its end gives that back."""
        partner = self.partners[partner_id]
        after = PARTNER_MOVES[partner.now].get(name)
        if after is None:
            return "illegal_move"
        for commission in self.commissions.values():
            if commission.partner_id != partner_id:
                continue
            if name == "ban" and _takes(commission):
                commission.move("reject", by_ban=True)
            elif partner.now == "banned" and commission.state == "rejected" and commission.banned:
                commission.move("reopen")
                if commission.told and not commission.left:
                    commission.back["reversed"], commission.state = commission.state, "reversed"
        partner.now = after
        partner.standing.put(now, after)
        return None

    # --- what storefronts tell ---

    def place(self, told: dict[str, Any]) -> str:
        """Take an order; return its outcome, or the code of its dead letter."""
        known = self.commissions.get(told["order_id"])
        if known is not None:
            return "duplicate" if known.told == told else self._refuse("conflicting_duplicate")
        at, code = told["at"], told["code"]
        partner_id = self.codes[code].at(at) if code in self.codes else None
        if partner_id is None:
            return "ignored"
        partner = self.partners[partner_id]
        partner.newest = max(partner.newest or at, at)
        commission = Commission(
            partner_id, told["currency"], "pending", total=told["total"], rate=partner.rate.at(at), told=told,
            policy=self.policy.at(at),
        )  # fmt: skip
        self.commissions[told["order_id"]] = commission
        commission.reason = self._why_not(partner, commission, at)
        commission.earned = commission.reason is None
        commission.amount = commission.owed()
        self._begin(commission, partner, at)
        for fact in self.parked.pop(told["order_id"], []):
            code = self._wrong(commission, fact)
            if code:
                self._refuse(code)
            else:
                _take(commission, fact)
        return "earned" if commission.earned else "skipped"

    def _why_not(self, partner: Partner, commission: Commission, at: datetime) -> str | None:
        standing = partner.standing.at(at)
        if standing != "approved":
            return _SKIPPED[standing]
        if commission.total == 0:
            return "zero_base"
        if commission.rate[0] == "fixed" and commission.currency != "USD":
            return "fixed_rate_in_other_currency"
        return None

    def _begin(self, commission: Commission, partner: Partner, at: datetime) -> None:
        if not commission.earned:
            commission.state = "skipped"
            return
        customer = commission.told and commission.told["customer"]
        if customer:
            self.customers.setdefault(customer, []).append((at, len(self.commissions), commission))
        if self.approval.at(at) == "immediate":
            commission.move("approve")
        if partner.now == "banned":
            commission.move("reject", by_ban=True)

    def fact(self, fact: dict[str, Any]) -> str:
        """Take a refund, cancellation or dispute; return its outcome, or the code of its dead letter."""
        commission = self.commissions.get(fact["order_id"])
        if commission is None:
            return self._park(fact)
        if commission.told is None:
            return self._refuse("not_an_order")
        if fact["type"] == "order.refunded" and fact["refund_id"] in commission.refunds:
            same = (commission.refunds[fact["refund_id"]], commission.currency) == (fact["amount"], fact["currency"])
            return "duplicate" if same else self._refuse("conflicting_duplicate")
        if fact["type"] == "order.cancelled" and commission.cancelled:
            return "duplicate"
        code = self._wrong(commission, fact)
        if code:
            return self._refuse(code)
        _take(commission, fact)
        return "adjusted"

    def _park(self, fact: dict[str, Any]) -> str:
        waiting = self.parked.setdefault(fact["order_id"], [])
        for other in waiting:
            if other["type"] != fact["type"] or "disput" in fact["type"]:
                continue
            if fact["type"] == "order.cancelled":
                return "duplicate"
            if other["refund_id"] == fact["refund_id"]:
                same = (other["amount"], other["currency"]) == (fact["amount"], fact["currency"])
                return "duplicate" if same else self._refuse("conflicting_duplicate")
        waiting.append(fact)
        return "adjusted"

    def _wrong(self, commission: Commission, fact: dict[str, Any]) -> str | None:
        if fact["type"] != "order.refunded":
            return None
        if fact["currency"] != commission.currency:
            return "currency_mismatch"
        too_much = sum(commission.refunds.values()) + fact["amount"] > commission.total
        return "refund_exceeds_total" if too_much else None

    def _refuse(self, code: str) -> str:
        self.letters[code] += 1
        return code

    # --- by hand ---

    def enter(self, partner_id: str, amount: int) -> str | None:
        """Enter a commission by hand; return why it must be refused."""
        if amount == 0:
            return "zero_amount"
        standing = self.partners[partner_id].now
        if standing in ("applied", "rejected"):
            return "partner_not_approved"
        return "partner_banned" if standing == "banned" and amount > 0 else None

    def move(self, order_id: str, name: str) -> tuple[str | None, set[str]]:
        """Move a commission; return why it must be refused, and what was legal."""
        commission = self.commissions.get(order_id)
        if commission is None:
            return "not_found", set()
        legal = LEGAL[commission.state]
        if name not in legal:
            return "illegal_move", legal
        commission.move(name)
        return None, legal

    # --- figures ---

    def balances(self) -> dict[tuple[str, str], dict[str, int]]:
        """Return per partner and currency what stands in each account, without zeros."""
        sums: dict[tuple[str, str], Counter[str]] = {}
        for commission in self.commissions.values():
            row = sums.setdefault((commission.partner_id, commission.currency), Counter())
            if commission.state not in ("rejected", "reversed", "skipped"):
                row[commission.state] += commission.amount
            row["clawed_back"] += commission.clawed_back
        for row in sums.values():
            row["payable"] = row["approved"] + row["clawed_back"]
        told = {key: {name: minor for name, minor in row.items() if minor} for key, row in sums.items()}
        return {key: row for key, row in told.items() if row}

    def figures(self, currency: str) -> dict[str, int]:
        """Return the totals of all time in one currency."""
        mine = [each for each in self.commissions.values() if each.currency == currency]
        earned = [each for each in mine if each.earned]
        owed = [each for each in mine if each.state not in ("rejected", "skipped")]
        paid = sum(each.amount for each in mine if each.state == "paid")
        total = sum(each.amount + each.clawed_back for each in owed)
        return {
            "gross": sum(each.total for each in earned),
            "refunded": sum(each.total - each.left for each in earned),
            "earned": total,
            "paid": paid,
            "outstanding": total - paid,
            "conversions": len(earned),
            "skipped": sum(each.state == "skipped" for each in mine),
            "entered": sum(each.told is None for each in mine),
            "reversed": sum(each.state == "reversed" for each in mine),
            "rejected": sum(each.state == "rejected" for each in mine),
        }

    def customer_rows(self) -> dict[str, tuple[str, dict[str, tuple[int, int, int]]]]:
        """Return of each customer the partner of the first order, and orders, gross and refunded per currency."""
        rows = {}
        for customer, orders in self.customers.items():
            revenue: dict[str, tuple[int, int, int]] = {}
            for _, _, each in orders:
                count, gross, refunded = revenue.get(each.currency, (0, 0, 0))
                revenue[each.currency] = (count + 1, gross + each.total, refunded + each.total - each.left)
            rows[customer] = (min(orders, key=lambda order: order[:2])[2].partner_id, revenue)
        return rows


def _takes(commission: Commission) -> bool:
    """Return whether a ban takes the commission: what is open and would be paid."""
    return commission.state in OPEN and commission.amount >= 0


def _take(commission: Commission, fact: dict[str, Any]) -> None:
    if fact["type"] == "order.refunded":
        commission.refunds[fact["refund_id"]] = fact["amount"]
    elif fact["type"] == "order.cancelled":
        commission.cancelled = True
    else:
        commission.disputes.append((fact["at"], fact["type"] == "order.dispute_won"))
    commission.settle()
