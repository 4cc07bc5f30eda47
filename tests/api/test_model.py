"""Two merchants do whatever they like, over HTTP; after each step every figure is what a small model says."""

import asyncio
import json
import os
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import psycopg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ledger import bans
from projections.verify import verify
from tests.support.api import running
from tests.support.merchant_model import ACTIONS, LEGAL, PARTNER_MOVES, Books, Commission
from tests.support.merchant_session import (
    DECIMALS,
    Session,
    amount_of,
    commission_row,
    minor_of,
    placed,
    quoted,
    refusal,
    shown_rate,
)

# A longer run: MODEL_EXAMPLES=500 MODEL_STEPS=60 make test-api ARGS="-k model --timeout=0". MODEL_SHRINK=1 looks for
# the shortest way to a failure, which takes minutes; without it the steps of the first one are told as they are.
EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "15"))
STEPS = int(os.environ.get("MODEL_STEPS", "20"))
PHASES = [phase for phase in Phase if phase is not Phase.shrink or "MODEL_SHRINK" in os.environ]

ALL_TIME = {"from": "2026-01-01", "to": "2028-12-31", "interval": "month"}
DETAILS = {
    "hold": {"reason": "looks odd"}, "reject": {"reason": "fraud"}, "reopen": {"reason": "a mistake"},
    "mark-paid": {"reference": "bank"}, "mark-unpaid": {"reason": "came back"},
}  # fmt: skip
LETTERS = {"conflicting_duplicate", "currency_mismatch", "refund_exceeds_total", "not_an_order"}

who = st.sampled_from((0, 1))
some = st.integers(0, 7)
code = st.sampled_from(("SPRING", "SPRING", "SPRING", "SUMMER", "NOBODY"))
order_id = st.sampled_from(("1", "2", "a/3", "ä 4", "5", "6", "7", "8"))
currency = st.sampled_from(("USD", "USD", "JPY"))
rate = st.one_of(
    st.tuples(st.just("percentage"), st.sampled_from((0, 1_000, 1_250, 10_000))),
    st.tuples(st.just("fixed"), st.sampled_from((0, 500))),
)
total = st.sampled_from((0, 1, 999, 5_000, 10_000))
ago = st.sampled_from((0, 0, 0, 3, 30))
kind = st.sampled_from(("order.refunded",) * 6 + ("order.cancelled", "order.disputed", "order.dispute_won"))
refund = st.sampled_from(("r1", "r2", "r3"))
life = st.lists(st.tuples(some, kind, refund), min_size=3, max_size=12)


class TwoMerchants(RuleBasedStateMachine):
    """Commands, each given to the service and to the model; what they say must be the same."""

    session: Session

    @initialize()
    def begin(self):
        """Open two programs that no example had before."""
        number = next(self.session.numbers)
        self.tick()
        self.names = [self.session.open(f"{side}-{number}") for side in ("a", "b")]
        self.books = [Books(self.now), Books(self.now)]
        self.feeds = [{"after": 0, "sums": Counter()}, {"after": 0, "sums": Counter()}]
        for side in (0, 1):
            self.change_terms(side, *(("manual", "keep"), ("immediate", "pro_rata"))[side])
            self.register(side, "approved", ("percentage", 1_250), "SPRING")
            self.register(side, "approved", ("fixed", 500), "SUMMER")
            for order, name, unit in (("1", "SPRING", "USD"), ("2", "SUMMER", "USD"), ("a/3", "SPRING", "JPY")):
                self.place(side, order, name, 9_999, unit, 0, "c1")

    # --- asking ---

    @property
    def now(self):
        """The service's clock."""
        return self.session.api.now

    def tick(self):
        """Let a minute pass, so that everything happens at an instant of its own."""
        self.session.api.now += timedelta(minutes=1)

    def get(self, side, path, **params):
        """Return the JSON of a read."""
        answer = self.session.ask("GET", path, of=self.names[side], params=params)
        assert answer.status == 200, answer.text
        return answer.json

    def file(self, side, path):
        """Return the rows of a list as JSON Lines."""
        answer = self.session.ask("GET", path, of=self.names[side])
        assert answer.status == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def all_of(self, side, path, **params):
        """Return all rows of a list, page by page."""
        rows, cursor = [], {}
        while True:
            page = self.get(side, path, limit=3, **params, **cursor)
            rows += page["data"]
            if page["next_cursor"] is None:
                return rows
            cursor = {"cursor": page["next_cursor"]}

    def post(self, side, path, body=None, *, method="POST"):
        """Return the answer to a command; every POST is sent twice with one key, and is answered the same."""
        options = {"of": self.names[side]}
        if method == "POST":
            options["headers"] = {"Idempotency-Key": f"k-{next(self.session.numbers)}"}
        answer = self.session.ask(method, path, body, **options)
        if method == "POST" and answer.status < 300:
            assert self.session.ask(method, path, body, **options).text == answer.text
        return answer

    def partner(self, side, number):
        """Return the id of one of the merchant's partners, None where there is none."""
        ids = list(self.books[side].partners)
        return ids[number % len(ids)] if ids else None

    def commission(self, side, number):
        """Return the id of one of the merchant's commissions, one that is none where there are none."""
        ids = list(self.books[side].commissions) or ["nothing"]
        return ids[number % len(ids)]

    def sweep(self):
        """Carry bans and their ends through the commissions, as the worker does in its own time."""
        api = self.session.api
        self.session.runner.run(api.project())
        for merchant_id, partner_id in bans.unfinished(api.ledger, 10):
            swept = bans.find_sweep(api.ledger, merchant_id, partner_id)
            with psycopg.connect(api.database_url) as conn:
                query = "SELECT order_id FROM read.commissions WHERE merchant_id = %s AND partner_id = %s"
                orders = [order for (order,) in conn.execute(query, (merchant_id, partner_id))]
            bans.sweep_page(api.ledger, swept, orders, None, api.now, "timer/bans")

    # --- partners and terms ---

    @rule(side=who, standing=st.sampled_from(("approved", "approved", "applied")), told=rate, name=code)
    def register(self, side, standing, told, name):
        """Register a partner."""
        self.tick()
        number = next(self.session.numbers)
        body = {
            "name": "Kim", "email": f"kim-{number}@example.com", "rate": shown_rate(told), "status": standing,
            "coupon_code": name.lower(),
        }  # fmt: skip
        answer = self.post(side, "/partners", body)
        if self.books[side].holder(name) is not None:
            assert (answer.status, answer.code) == (409, "coupon_taken")
            return
        assert answer.status == 201, answer.text
        self.books[side].register(answer.json["id"], standing, told, name, self.now)

    @rule(side=who, number=some, name=code, give=st.booleans())
    def hand_code(self, side, number, name, give):
        """Give a partner a code, or take it away."""
        partner_id = self.partner(side, number)
        if partner_id is None:
            return
        self.tick()
        if give:
            answer = self.post(side, f"/partners/{partner_id}/coupons", {"code": name})
            expected = self.books[side].assign(partner_id, name, self.now)
        else:
            answer = self.post(side, f"/partners/{partner_id}/coupons/{name}", method="DELETE")
            expected = self.books[side].revoke(partner_id, name, self.now)
        assert refusal(answer) == expected, answer.text

    @rule(side=who, number=some, told=rate, minutes=ago)
    def change_rate(self, side, number, told, minutes):
        """Change a partner's rate, from now on or from a time that may have passed."""
        partner_id = self.partner(side, number)
        if partner_id is None:
            return
        self.tick()
        since = self.now - timedelta(minutes=minutes)
        body = {"rate": shown_rate(told), "rate_from": since.isoformat()}
        answer = self.post(side, f"/partners/{partner_id}", body, method="PATCH")
        expected = self.books[side].change_rate(partner_id, told, since, self.now)
        assert refusal(answer) == expected, answer.text

    @rule(side=who, number=some, name=st.sampled_from(("approve", "reject", "pause", "reinstate", "ban")))
    def move_partner(self, side, number, name):
        """Approve, reject, pause, reinstate or ban a partner."""
        partner_id = self.partner(side, number)
        if partner_id is None:
            return
        self.tick()
        legal = sorted(PARTNER_MOVES[self.books[side].partners[partner_id].now])
        body = {"reason": "so it is"} if name in ("reject", "pause", "ban") else None
        answer = self.post(side, f"/partners/{partner_id}/{name}", body)
        expected = self.books[side].move_partner(partner_id, name, self.now)
        assert refusal(answer) == expected, answer.text
        if expected:
            assert answer.json["legal"] == legal
        self.sweep()

    @rule(side=who, approval=st.sampled_from(("manual", "immediate")), policy=st.sampled_from(("keep", "pro_rata")))
    def change_terms(self, side, approval, policy):
        """Change the terms: what is on the books stays as it is."""
        self.tick()
        body = {"approval": approval, "fixed_on_partial_refund": policy}
        assert self.post(side, "/program", body, method="PATCH").status == 200
        self.books[side].approval.put(self.now, approval)
        self.books[side].policy.put(self.now, policy)

    # --- what storefronts tell ---

    def tell(self, side, event):
        """Send an order event; return its outcome, or the code of its dead letter."""
        told = {"event_id": f"e-{next(self.session.numbers)}", "occurred_at": event["occurred_at"]} | event
        (result,) = self.post(side, "/orders", told).json["results"]
        return result["error"]["code"] if result["error"] else result["outcome"]

    @rule(
        side=who, order=order_id, name=code, minor=total, unit=currency, minutes=ago,
        customer=st.sampled_from((None, "c1", "c2")),
    )  # fmt: skip
    def place(self, side, order, name, minor, unit, minutes, customer):
        """Place an order, now or late; the id may have been used."""
        self.tick()
        at = self.now - timedelta(minutes=minutes)
        told = {
            "order_id": order, "at": at, "currency": unit, "total": minor, "code": name, "customer": customer
        }  # fmt: skip
        assert self.tell(side, placed(told)) == self.books[side].place(told)

    @rule(side=who, number=some, change=st.booleans())
    def place_again(self, side, number, change):
        """Tell an order (or an order under an entry's id) again, as it was or otherwise."""
        known = self.books[side].commissions.get(self.commission(side, number))
        if known is None:
            return
        self.tick()
        other = {"at": self.now, "currency": "USD", "total": 1, "code": "SPRING", "customer": None}
        told = known.told or other | {"order_id": self.commission(side, number)}
        if change:
            told = told | {"total": told["total"] + 1}
        assert self.tell(side, placed(told)) == self.books[side].place(told)

    @rule(
        side=who, order=order_id, unit=currency, kind=kind, refund=refund,
        minor=st.sampled_from((1, 400, 5_000, 10_001)),
    )  # fmt: skip
    def take_back(self, side, order, unit, kind, refund, minor):
        """Tell a refund, a cancellation or a dispute of an order, which may be yet to come."""
        self.tick()
        fact = {"type": kind, "order_id": order, "at": self.now}
        event = {"type": kind, "order_id": order, "occurred_at": self.now.isoformat()}
        if kind == "order.refunded":
            fact |= {"refund_id": refund, "amount": minor, "currency": unit}
            event |= {"refund_id": refund, "amount": amount_of(minor, unit), "currency": unit}
        assert self.tell(side, event) == self.books[side].fact(fact)

    # --- by hand ---

    @rule(side=who, number=some, minor=st.sampled_from((-700, -1, 0, 1, 1_250)), unit=currency, minutes=ago)
    def enter(self, side, number, minor, unit, minutes):
        """Enter a commission by hand."""
        partner_id = self.partner(side, number)
        if partner_id is None:
            return
        self.tick()
        body = {
            "partner_id": partner_id, "amount": amount_of(minor, unit), "currency": unit, "reason": "a bonus",
            "occurred_at": (self.now - timedelta(minutes=minutes)).isoformat(),
        }  # fmt: skip
        answer = self.post(side, "/commissions", body)
        expected = self.books[side].enter(partner_id, minor)
        assert (refusal(answer), answer.status) == (expected, 422 if expected else 201), answer.text
        if not expected:
            entry = Commission(partner_id, unit, "approved", amount=minor)
            self.books[side].commissions[answer.json["order_id"]] = entry

    @rule(side=who, number=some, name=st.sampled_from(ACTIONS))
    def move(self, side, number, name):
        """Move a commission, whether it is legal or not."""
        self.make_move(side, self.commission(side, number), name)

    @rule(side=who, number=some, steps=life)
    def live(self, side, number, steps):
        """Let a commission live: moves, most of them legal, and what a storefront takes back in between."""
        order = self.commission(side, number)
        for chance, event, refund_id in steps:
            known = self.books[side].commissions[order]
            legal = [name for name in ACTIONS if name in LEGAL[known.state]]
            if chance == 0:
                self.make_move(side, order, ACTIONS[len(event) % len(ACTIONS)])
            elif legal and chance < 6:
                self.make_move(side, order, legal[max(chance - 3, 0) % len(legal)])
            else:
                self.take_back(side, order, known.currency, event, refund_id, max(known.total // chance, 1))

    @rule(side=who, number=some, steps=life)
    def live_on(self, side, number, steps):
        """Let another commission live."""
        self.live(side, number, steps)

    @rule(side=who, number=some, steps=life, second=some)
    def live_through_a_ban(self, side, number, steps, second):
        """Ban a partner, let a commission live meanwhile, and reinstate the partner."""
        order = self.commission(side, number)
        partner_id = self.books[side].commissions[order].partner_id
        which = list(self.books[side].partners).index(partner_id)
        self.move_partner(side, which, "ban")
        if second < 3:
            self.live(side, number, steps[:2])
        if second % 2:
            self.place(side, "8", "SPRING", 10_000, "USD", 30, None)
        self.move_partner(side, which, "reinstate")

    def make_move(self, side, order, name):
        """Make one move of a commission, if it can be made."""
        known = self.books[side].commissions.get(order)
        self.tick()
        answer = self.post(side, f"/commissions/{quoted(order)}/{name}", DETAILS.get(name))
        expected, legal = self.books[side].move(order, name)
        assert refusal(answer) == expected, answer.text
        if expected == "illegal_move":
            assert (answer.json["state"], set(answer.json["legal"])) == (known.state, legal)

    @rule(side=who, numbers=st.sets(some, min_size=1), name=st.sampled_from(ACTIONS), unknown=st.booleans())
    def move_many(self, side, numbers, name, unknown):
        """Move several commissions at once."""
        self.tick()
        ids = list(dict.fromkeys([self.commission(side, n) for n in sorted(numbers)] + ["unknown"] * unknown))
        body = {"action": name, "order_ids": ids} | DETAILS.get(name, {})
        answer = self.post(side, "/commissions/bulk", body)
        assert answer.status == 200, answer.text
        for order, result in zip(ids, answer.json["results"], strict=True):
            expected, legal = self.books[side].move(order, name)
            assert (result["order_id"], result["ok"]) == (order, expected is None)
            if expected is None:
                assert result["status"] == self.books[side].commissions[order].state
            else:
                assert (result["error"]["code"], set(result["error"]["legal"] or ())) == (expected, legal)

    @rule(side=who, number=some)
    def reach_for_the_neighbour(self, side, number):
        """Ask for what is the other merchant's: it does not exist."""
        partner_id = self.partner(1 - side, number)
        if partner_id is None:
            return
        assert self.post(side, f"/partners/{partner_id}/ban", {"reason": "x"}).status == 404
        body = {"partner_id": partner_id, "amount": "1", "currency": "USD", "reason": "x"}
        assert self.post(side, "/commissions", body).code == "unknown_partner"
        theirs = set(self.books[1 - side].commissions) - set(self.books[side].commissions)
        for order in theirs:
            assert self.post(side, f"/commissions/{quoted(order)}/approve").status == 404

    # --- comparing ---

    @invariant()
    def every_figure_is_the_models(self):
        """Compare balances, commissions, customers, metrics, dead letters, files and feed of both, and verify."""
        if not hasattr(self, "books"):
            return
        self.session.runner.run(self.session.api.project())
        for side, books in enumerate(self.books):
            self._compare_balances(side, books)
            self._compare_commissions(side, books)
            self._compare_customers(side, books)
            self._compare_figures(side, books)
            self._compare_feed(side, books)
            letters = Counter(letter["code"] for letter in self.get(side, "/dead-letters", limit=200)["data"])
            assert letters == +books.letters
        assert verify(self.session.api.database_url, processes=1).differences == []

    def _compare_balances(self, side, books):
        told, rows = {}, self.all_of(side, "/balances")
        for row in rows:
            amounts = {name: minor_of(value) for name, value in row.items() if isinstance(value, dict)}
            told[row["partner_id"], row["currency"]] = {name: minor for name, minor in amounts.items() if minor}
        assert {key: row for key, row in told.items() if row} == books.balances()
        assert self.file(side, "/balances.jsonl") == rows

    def _compare_commissions(self, side, books):
        expected = {
            order: (each.partner_id, each.state, each.amount, each.clawed_back, each.total, each.total - each.left)
            for order, each in books.commissions.items()
        }
        rows = self.all_of(side, "/commissions")
        assert self.file(side, "/commissions.jsonl") == rows
        assert {row["order_id"]: commission_row(row) for row in rows} == expected
        assert len(rows) == len(expected)
        for row in rows:
            each = books.commissions[row["order_id"]]
            assert row["coupon_code"] == (each.told and each.told["code"])
            assert each.state != "skipped" or row["reason"] == each.reason
        held = {row["order_id"] for row in self.all_of(side, "/commissions", status="approved")}
        assert held == {order for order, each in books.commissions.items() if each.state == "approved"}

    def _compare_customers(self, side, books):
        told = {
            row["id"]: (
                row["partner_id"],
                {
                    each["currency"]: (each["orders"], minor_of(each["gross"]), minor_of(each["refunded"]))
                    for each in row["revenue"]
                },
            )
            for row in self.all_of(side, "/customers")
        }
        assert told == books.customer_rows()

    def _compare_figures(self, side, books):
        for unit in DECIMALS:
            totals = self.get(side, "/metrics", currency=unit, **ALL_TIME)["totals"]
            told = {name: value for name, value in totals.items() if isinstance(value, int)}
            told |= {name: minor_of(totals["revenue"][name]) for name in ("gross", "refunded")}
            told |= {name: minor_of(totals["commissions"][name]) for name in ("earned", "paid", "outstanding")}
            assert told == books.figures(unit)

    def _compare_feed(self, side, books):
        """Take in what the feed has behind the place of last time: its postings add up to the balances."""
        feed, more = self.feeds[side], True
        while more:
            page = self.get(side, "/events", after=feed["after"], limit=7)
            for entry in page["data"]:
                for posting in entry["data"].get("postings", ()):
                    unit = posting["amount"]["currency"]
                    feed["sums"][entry["data"]["partner_id"], unit, posting["account"]] += minor_of(posting["amount"])
            feed["after"], more = page["next_after"], page["more"]
        told = {key: minor for key, minor in feed["sums"].items() if minor and key[2] != "expense"}
        balances = books.balances().items()
        assert told == {
            (*key, name): minor for key, row in balances for name, minor in row.items() if name != "payable"
        }


def test_whatever_two_merchants_do_every_figure_is_the_models(database_url):
    """Random commands of two merchants: answers, balances, lists, metrics and `verify` agree with a small model."""

    class Machine(TwoMerchants):
        pass

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        api = runner.run(stack.enter_async_context(running(database_url)))
        api.now = datetime(2026, 11, 22, tzinfo=UTC)
        Machine.session = Session(runner, api)
        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, phases=PHASES,
                    suppress_health_check=list(HealthCheck), database=None, report_multiple_bugs=False,
                ),
            )  # fmt: skip
        finally:
            runner.run(stack.aclose())
