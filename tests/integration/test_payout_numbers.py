"""Numbers stay right: random histories of payouts, and after each step every figure of the API is that of a model."""

import asyncio
from collections import Counter
from datetime import timedelta
from random import Random

import pytest

from ledger import payouts as rules
from ledger.payouts import Act
from projections.rebuild import rebuild
from projections.verify import verify
from tests.support import payouts
from tests.support.payout_model import ACCOUNTS, OPEN, Model
from tests.support.read_models import dump

STEPS = 16
# The look at the whole log costs more than all other figures together.
VERIFIED_EVERY = 3
BULK_MAX = 200
KINDS_MIN = 6


def cents(money):
    """Return an amount of the API in whole cents."""
    return int(money["amount"].replace(".", ""))


def dollars(amount):
    """Return whole cents as the API takes them."""
    return f"{amount // 100}.{amount % 100:02}"


class Story:
    """One random history, on the API and on the model at once."""

    def __init__(self, api, random):
        self.api, self.random, self.model = api, random, Model()
        self.partners = {}
        self.number = 0
        self.seen = Counter()

    async def begin(self):
        """Register three partners who are paid by hand."""
        for name in ("Ann", "Bob", "Cat"):
            told = {"name": name, "email": f"{name}@example.com", "coupon_code": name.upper()}
            self.partners[name] = (await self.api.partner(**told))["id"]
            await payouts.payable_to(self.api, self.partners[name])
        # So that there is something to come back and to be netted off from the beginning.
        for does in (*[self.earn, self.approve] * 6, self.run, self.pay, self.pay, self.pay, *[self.refund] * 4):
            await does()
        for does in [self.earn, self.approve] * 4:
            await does()

    async def step(self):
        """Do something, and return what."""
        choices = [
            self.earn, self.approve, self.approve, self.refund, self.refund, self.run, self.run, self.pay, self.pay,
            self.cancel, self.fail, self.come_back, self.forgive,
        ]  # fmt: skip
        self.random.shuffle(choices)
        for choice in choices:
            if await choice():
                self.seen[choice.__name__] += 1
                return choice.__name__
        raise AssertionError

    # --- what may happen; each returns whether there was anything to do ---

    async def earn(self):
        """Take an order."""
        name = self.random.choice([*self.partners])
        total = self.random.randint(1, 30) * 1_000
        order = self.api.order(total=dollars(total), coupon_code=name.upper())
        (result,) = (await self.api.post("/orders", order)).json["results"]
        assert result["outcome"] == "earned"
        self.model.earn(order["order_id"], self.partners[name], total)
        return True

    async def approve(self):
        """Approve a commission."""
        order_id = self._any(id_ for id_, order in self.model.orders.items() if order.state == "pending")
        if order_id is None:
            return False
        assert (await self.api.post(f"/commissions/{order_id}/approve")).status == 200
        self.model.approve(order_id)
        return True

    async def refund(self):
        """Give back a part of an order, or all that is left of it."""
        order_id = self._any(id_ for id_, order in self.model.orders.items() if order.left)
        if order_id is None:
            return False
        left = self.model.orders[order_id].left
        amount = left if self.random.random() < 0.4 else self.random.randint(1, left // 1_000) * 1_000
        self.number += 1
        told = self.api.refund(order_id, dollars(amount), event_id=f"r-{self.number}", refund_id=f"r-{self.number}")
        (result,) = (await self.api.post("/orders", told)).json["results"]
        assert result["outcome"] == "adjusted", result
        self.model.refund(order_id, amount)
        return True

    async def run(self):
        """Whoever is owed anything gets a payout: exactly those of the model, and nobody a negative one."""
        expected = self.model.would_pay()
        await self.api.project()
        preview = (await self.api.post("/payout-runs", {"dry_run": True})).json
        paid = {line["partner_id"]: cents(line["amount"]) for line in preview["lines"] if line["included"]}
        assert paid == expected
        if not expected:
            return False
        made = await payouts.run(self.api)
        assert made["payouts"] == {"requested": len(expected)}, made
        for payout in await payouts.payouts(self.api, run_id=made["id"]):
            self.model.request(payout["id"], payout["partner_id"])
            parts = (await self.api.get(f"/payouts/{payout['id']}/commissions", params={"limit": "200"})).json["data"]
            assert sum(cents(part["amount"]) for part in parts) == cents(payout["amount"]) > 0
        return True

    async def pay(self):
        """Somebody confirms that a payout was paid."""
        payout_id = self._any(id_ for id_, payout in self.model.payouts.items() if payout.state == "requested")
        if payout_id is None:
            return False
        (payout,) = [each for each in await payouts.payouts(self.api) if each["id"] == payout_id]
        self.number += 1
        assert (await payouts.confirm(self.api, payout, f"T-{self.number}"))["status"] == "processed"
        self.model.pay(payout_id)
        return True

    async def cancel(self):
        """Call a payout off."""
        payout_id = self._any(id_ for id_, payout in self.model.payouts.items() if payout.state == "requested")
        if payout_id is None:
            return False
        assert (await self.api.post(f"/payouts/{payout_id}/cancel", {"reason": "not now"})).status == 200
        self.model.release(payout_id, "cancelled")
        return True

    async def fail(self):
        """Submit a payout that is definitely rejected."""
        payout_id = self._any(id_ for id_, payout in self.model.payouts.items() if payout.state == "requested")
        if payout_id is None:
            return False
        await self._decide(payout_id, lambda payout, act: rules.start(payout, act, "sha", timedelta(hours=1)))
        await self._decide(payout_id, lambda payout, act: rules.rejected(payout, act, "balance_insufficient"))
        self.model.release(payout_id, "failed")
        return True

    async def come_back(self):
        """Let a part of a payout come back, or all that is left of it."""
        out = [id_ for id_, payout in self.model.payouts.items() if payout.state in ("processed", "returned")]
        rest = [id_ for id_ in out if self.model.payouts[id_].returned < self.model.payouts[id_].amount]
        # Rather one in which something is netted off: of those there are few.
        netted = [id_ for id_ in rest if any(claw for _, _, claw in self.model.payouts[id_].parts)]
        payout_id = self._any(netted or rest)
        if payout_id is None:
            return False
        payout = self.model.payouts[payout_id]
        left = payout.amount - payout.returned
        amount = left if self.random.random() < 0.5 else self.random.randint(1, left)
        total = payout.returned + amount
        await self._decide(payout_id, lambda each, act: rules.returned(each, act, total, "returned"))
        self.model.come_back(payout_id, amount)
        return True

    async def forgive(self):
        """Write a negative balance off; one that is not negative cannot be."""
        await self.api.project()
        for partner in self.partners.values():
            owed = self.model.owed_in_all(partner)
            answer = await self.api.post(f"/partners/{partner}/write-off", {"currency": "USD", "reason": "closed"})
            if owed < 0:
                assert (answer.status, cents(answer.json["commission"])) == (200, -owed), answer.text
                self.model.forgive(partner)
                return True
            assert answer.json["errors"][0]["code"] == "not_negative"
        return False

    # --- what must be true ---

    async def agree(self, *, verified):
        """Compare every figure with the model, and (`verified`) the read models and payouts with the log."""
        await self.api.project()
        await self._balances()
        await self._commissions()
        await self._payouts()
        await self._metrics()
        if verified:
            assert (await asyncio.to_thread(verify, self.api.database_url)).differences == []

    async def _balances(self):
        rows = (await self.api.get("/balances")).json["data"]
        told = {(row["partner_id"], name): cents(row[name]) for row in rows for name in ACCOUNTS}
        assert {key: amount for key, amount in told.items() if amount} == {
            key: amount for key, amount in self.model.sums.items() if amount and key[1] in ACCOUNTS
        }
        held = Counter()
        for payout in self.model.payouts.values():
            held[payout.partner] += payout.amount if payout.state in OPEN else 0
        assert {row["partner_id"]: cents(row["in_payout"]) for row in rows if cents(row["in_payout"])} == +held

    async def _commissions(self):
        listed = (await self.api.get("/commissions", params={"limit": str(BULK_MAX)})).json["data"]
        told = Counter(
            (row["partner_id"], row["status"], cents(row["commission"]), cents(row["clawed_back"])) for row in listed
        )
        assert told == Counter(
            (order.partner, order.state, order.amount, order.claw) for order in self.model.orders.values()
        )

    async def _payouts(self):
        listed = await payouts.payouts(self.api, limit=str(BULK_MAX))
        told = {row["id"]: (row["status"], cents(row["amount"]), cents(row["returned"])) for row in listed}
        expected = {id_: (each.state, each.amount, each.returned) for id_, each in self.model.payouts.items()}
        assert told == expected

    async def _metrics(self):
        totals = (await self.api.get("/metrics", params={"to": "2026-11-30"})).json["totals"]
        sums = Counter()
        for (_, account), amount in self.model.sums.items():
            sums[account] += amount
        in_all = sum(sums[account] for account in ACCOUNTS)
        assert cents(totals["commissions"]["paid"]) == sums["paid"]
        assert cents(totals["commissions"]["earned"]) == in_all
        assert cents(totals["commissions"]["outstanding"]) == in_all - sums["paid"]
        assert cents(totals["payouts"]["paid"]) == self.model.by_payouts
        assert cents(totals["payouts"]["returned"]) == self.model.came_back
        assert totals["entered"] == self.model.written_off
        for partner in self.partners.values():
            mine = (await self.api.get("/metrics", params={"to": "2026-11-30", "partner_id": partner})).json["totals"]
            assert cents(mine["commissions"]["paid"]) == self.model.sums[partner, "paid"]

    async def statements(self):
        """Compare each partner's statement with the model: what is owed, what was paid, and that its lines add up."""
        for partner in self.partners.values():
            told = (await self.api.get(f"/partners/{partner}/statements/2026-11")).json
            owed = sum(self.model.sums[partner, account] for account in ACCOUNTS if account != "paid")
            assert (cents(told["closing"]), cents(told["paid"])) == (owed, self.model.sums[partner, "paid"])
            moved = [line for line in told["lines"] if line["amount"]]
            assert sum(cents(line["amount"]) for line in moved) == owed
            out = [payout for payout in self.model.payouts.values() if payout.partner == partner]
            paid = sum(payout.amount for payout in out if payout.state in ("processed", "returned"))
            assert -sum(cents(line["amount"]) for line in moved if line["type"] == "paid") == paid
            back = sum(cents(line["amount"]) for line in moved if line["type"] == "payment_returned")
            assert back == sum(payout.returned for payout in out)

    # --- parts ---

    def _any(self, ids):
        found = sorted(ids)
        return self.random.choice(found) if found else None

    async def _decide(self, payout_id, decide):
        act = Act(self.api.now, "payouts/worker")
        await asyncio.to_thread(
            self.api.paying.books.decide, ("acme", payout_id), lambda payout: decide(payout, act), act
        )


@pytest.mark.parametrize("seed", [1, 4])
async def test_every_figure_is_right_after_every_step(api, seed):
    """Orders, refunds, runs, payments, failures, returns, write-offs in any order: all figures are the model's."""
    story = Story(api, Random(seed))
    await story.begin()
    for number in range(STEPS):
        await story.step()
        await story.agree(verified=number % VERIFIED_EVERY == 0 or number == STEPS - 1)
    await story.statements()
    assert len(story.seen) >= KINDS_MIN, story.seen
    told = dump(api.database_url)
    await asyncio.to_thread(rebuild, api.database_url)
    assert dump(api.database_url) == told
