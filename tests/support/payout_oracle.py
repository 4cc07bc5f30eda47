"""What must be true of payouts, told from the log and the providers alone, without the code that made them."""

from collections import Counter, defaultdict

PARTNER_ACCOUNTS = ("pending", "approved", "held", "in_payout", "paid", "clawed_back")
_OPEN = ("requested", "approved", "submitting", "submitted", "held", "review")
_NETTED = {
    "ClawbackNetted": ("clawed_back", "in_payout"), "ClawbackSettled": ("in_payout", "paid"),
    "ClawbackUnnetted": ("in_payout", "clawed_back"), "ClawbackOwedAgain": ("paid", "clawed_back"),
}  # fmt: skip


class Accounts:
    """The accounts of partners and the payouts, event by event."""

    def __init__(self):
        self.sums = defaultdict(int)
        self.payouts = {}
        self.touched = defaultdict(Counter)
        self.amounts = defaultdict(lambda: [None, 0, 0])
        self.returned = Counter()

    def take(self, event):
        """Take one more event of the log."""
        topic = type(event).__name__
        if hasattr(event, "order_id"):
            self._order(topic, event)
        elif topic.startswith("Payout") and not topic.startswith("PayoutRun"):
            self._payout(topic, event)

    def _order(self, topic, event):
        order = self.amounts[event.order_id]
        who, amount = event.partner_id, event.amount_minor
        if topic in _NETTED:
            left, reached = _NETTED[topic]
            self.sums[who, left] -= amount
            self.sums[who, reached] += amount
            order[2] += amount * ((reached == "clawed_back") - (left == "clawed_back"))
        elif topic == "CommissionClawedBack":
            self.sums[who, "clawed_back"] += amount
            order[2] += amount
        elif topic == "CommissionAdjusted":
            if order[0] in PARTNER_ACCOUNTS or event.to_state in PARTNER_ACCOUNTS:
                self.sums[who, order[0] if order[0] in PARTNER_ACCOUNTS else event.to_state] += amount
            order[0], order[1] = event.to_state, order[1] + amount
        else:
            if order[0] in PARTNER_ACCOUNTS:
                self.sums[who, order[0]] -= amount
            if event.to_state in PARTNER_ACCOUNTS:
                self.sums[who, event.to_state] += amount
            order[0], order[1] = event.to_state, amount
        if getattr(event, "payout_id", None):
            self.touched[event.payout_id][topic] += 1

    def _payout(self, topic, event):
        self.payouts[event.payout_id] = (event.partner_id, event.amount_minor, event.to_state)
        if topic == "PayoutReturned":
            self.returned[event.payout_id] += event.returned_minor
            assert self.returned[event.payout_id] == event.returned_total_minor
        if topic == "PayoutContradicted":
            self.touched[event.payout_id]["PayoutContradicted"] += 1

    def unbalanced(self):
        """Return in sentences where what is in payouts is not the sum of the open ones."""
        held = Counter()
        for partner_id, amount, state in self.payouts.values():
            if state in _OPEN:
                held[partner_id] += amount
        partners = {who for who, _ in self.sums} | set(held)
        return [
            f"{who}: in_payout is {self.sums[who, 'in_payout']}, open payouts are {held[who]}"
            for who in sorted(partners)
            if self.sums[who, "in_payout"] != held[who]
        ]


def wrong_at_rest(events, providers, paid_by_hand):
    """Return in sentences what is wrong once everything is at rest."""
    accounts = Accounts()
    for event in events:
        accounts.take(event)
    wrong = accounts.unbalanced()
    for provider in providers.values():
        wrong += [f"{payout_id} was paid twice" for payout_id in sorted(provider.twice)]
    sent, states = Counter(), {}
    for provider in providers.values():
        for payment in provider.payments:
            sent[payment.payout_id] += payment.net_minor
            states.setdefault(payment.payout_id, []).append(payment.state)
    for payout_id, (_, amount, state) in accounts.payouts.items():
        ours = amount - accounts.returned[payout_id] if state in ("processed", "returned") else 0
        if ours != sent[payout_id]:
            wrong.append(f"{payout_id} is {state}: {ours} by the books, {sent[payout_id]} ({states.get(payout_id)})")
        if state not in ("processed", "failed", "returned", "cancelled"):
            wrong.append(f"{payout_id} is not at rest: {state}")
        wrong += _wrong_counts(payout_id, state, accounts)
    paid = sum(amount for (_, account), amount in accounts.sums.items() if account == "paid")
    if paid != sum(sent.values()) + paid_by_hand:
        wrong.append(f"paid by the books: {paid}, sent: {sum(sent.values())}, by hand: {paid_by_hand}")
    return wrong + _wrong_sums(accounts)


def _wrong_counts(payout_id, state, accounts):
    """Return where what a payout reserved was not paid, or given back, exactly once."""
    counts = accounts.touched[payout_id]
    wrong = [f"{payout_id}: a false alarm"] if counts["PayoutContradicted"] else []
    endings = ("CommissionPaid", "ClawbackSettled") if state in ("processed", "returned") else None
    endings = endings or ("CommissionUnreserved", "ClawbackUnnetted")
    others = {"CommissionPaid", "ClawbackSettled", "CommissionUnreserved", "ClawbackUnnetted"} - set(endings)
    for reserved, ended in zip(("CommissionReserved", "ClawbackNetted"), endings, strict=True):
        if counts[reserved] != counts[ended]:
            wrong.append(f"{payout_id} is {state}: {counts[reserved]} {reserved}, {counts[ended]} {ended}")
    return wrong + [f"{payout_id} is {state}: {counts[other]} {other}" for other in sorted(others) if counts[other]]


def _wrong_sums(accounts):
    """Return where the accounts are not the sums of the commissions."""
    by_state = Counter()
    for state, amount, clawed_back in accounts.amounts.values():
        by_state[state] += amount
        by_state["clawed_back"] += clawed_back
    sums = Counter()
    for (_, account), amount in accounts.sums.items():
        sums[account] += amount
    # What was netted off and is out stands in `paid`, beside commissions that were paid in full.
    return [
        f"{account}: {sums[account]} in the accounts, {by_state[account]} of commissions"
        for account in ("pending", "approved", "held", "clawed_back", "in_payout")
        if sums[account] != by_state[account]
    ]
