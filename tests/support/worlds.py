"""Two merchants who each have one of everything, and a call for every route: what the isolation matrix is made of."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from consumers.rails.bank_file import Payment
from ledger.bank_orders import BankOrders, Order
from ledger.payout_findings import Finding, keep_finding
from ledger.sealing import KeyRing
from schemas.payout_settings import key_of
from tests.support.api import PAYOUTS, Api
from tests.support.bank import Entry, camt
from tests.support.payouts import payable_to, payouts, work

RATE = {"type": "percentage", "value": "10"}
WHY = {"reason": "because"}
AT = "2026-11-22T10:00:00Z"
MONTH = "2026-11"
IBAN = "NL91ABNA0417164300"
_PARTNER = "name,email,coupon_code,rate_type,rate_value"
_ORDER = "order_id,occurred_at,currency,total,coupon_code"

# What a merchant has, by the names of path parameters.
Ids = Mapping[str, str]


@dataclass
class World:
    """One merchant's things: their ids, words that stand nowhere but in its own data, and the requests that made it."""

    merchant_id: str
    ids: dict[str, str]
    words: list[str]
    requests: list[tuple[str, Any, str]]


async def build(api: Api, merchant_id: str) -> World:
    """Give the merchant two of everything that there are lists of; the ids are those of the first."""
    building = _Building(api, merchant_id)
    ids = await building.one("first")
    await building.one("other")
    await api.project()
    own_words = [f"-of-{merchant_id}", f"@{merchant_id}.", f"{merchant_id}.example", door(merchant_id), *building.words]
    own_ids = [value for name, value in ids.items() if name != "month"]
    return World(merchant_id, ids, [*own_ids, *own_words], building.requests)


class _Building:
    def __init__(self, api: Api, merchant_id: str) -> None:
        self.words: list[str] = []
        self.requests: list[tuple[str, Any, str]] = []
        self._api, self._merchant_id = api, merchant_id

    async def one(self, which: str) -> dict[str, str]:
        """Make one of everything and return the ids."""
        whose = f"{which}-of-{self._merchant_id}"
        order_id, customer_id = f"order-{whose}", f"customer-{whose}"
        partner = await self._made(
            "/partners", {"name": whose, "email": f"{whose}@p.example", "rate": RATE, "coupon_code": f"CODE-{whose}"}
        )
        placed = self._api.order(
            event_id=f"e-{whose}", order_id=order_id, coupon_code=f"CODE-{whose}",
            customer={"id": customer_id, "name": f"kim-{whose}", "email": f"{which}@{self._merchant_id}.example"},
        )  # fmt: skip
        results = await self._made("/orders", [placed, self._api.refund(order_id, "999.00")])
        assert [each["outcome"] for each in results["results"]] == ["earned", "dead_lettered"]
        await self._made(f"/commissions/{order_id}/approve", {})
        letter = (await self._api.get("/dead-letters", of=self._merchant_id)).json["data"][0]
        note = await self._made(f"/partners/{partner['id']}/notes", {"note": f"note-{whose}"})
        user = await self._made("/users", {"name": whose, "email": f"{whose}@u.example", "role": "viewer"})
        key = await self._made("/keys", {"name": f"key-{whose}", "scopes": ["read"], "user_id": user["id"]})
        webhook = await self._made(
            "/webhooks", {"url": f"https://{which}.{self._merchant_id}.example/", "types": ["*"]}
        )
        self.words += [key["api_key"], partner["dashboard_url"], webhook["secret"], user["invitation_url"]]
        delivery = await self._made(f"/webhooks/{webhook['id']}/test", {})
        run_id, payout_id = await self._payout(partner["id"])
        transfer = await self._transfer(which)
        batch = await self._made("/bank-batches", {"execution_on": "2026-11-24"})
        finding_id = await self._finding(payout_id)
        return {
            "partner_id": partner["id"], "code": f"CODE-{whose}".upper(), "order_id": order_id,
            "customer_id": customer_id, "note_id": note["id"], "user_id": user["id"], "key_id": key["id"],
            "dead_letter_id": letter["id"], "webhook_id": webhook["id"], "delivery_id": delivery["id"], "month": MONTH,
            "batch_id": batch["id"], "end_to_end_id": transfer, "run_id": run_id, "payout_id": payout_id,
            "finding_id": finding_id,
        }  # fmt: skip

    async def _payout(self, partner_id: str) -> tuple[str, str]:
        """Pay the partner by hand and return the ids of the run and of the payout, which waits to be confirmed."""
        await payable_to(self._api, partner_id, address=door(self._merchant_id), of=self._merchant_id)
        await self._api.project()
        run = await self._made("/payout-runs", {"partner_ids": [partner_id]})
        await work(self._api)
        (payout,) = await payouts(self._api, of=self._merchant_id, run_id=run["id"])
        return run["id"], payout["id"]

    async def _finding(self, payout_id: str) -> str:
        """Let a comparison find that Stripe knows nothing of a payout; returns the finding's id."""
        finding = Finding("stripe", "ours_only", "not_shown", self._merchant_id, None, payout_id)
        with self._api.ledger.connection() as conn:
            keep_finding(conn, finding, self._api.now)
        return finding.finding_id

    async def _transfer(self, which: str) -> str:
        """Order a bank transfer and return its end-to-end id."""
        payout_id = f"po_{sha256(f'{which}{self._merchant_id}'.encode()).hexdigest()[:16]}"
        own = payout_id.replace("_", "")
        told = Payment(own, 1_000, "EUR", IBAN, f"{which} of {self._merchant_id}")
        order = Order(own, self._merchant_id, payout_id, 1_000, "EUR", json.dumps(told._asdict()).encode())
        keys = KeyRing([key_of(PAYOUTS.payout_details_keys[0].get_secret_value())])
        await asyncio.to_thread(BankOrders(self._api.ledger, keys).order, order, self._api.now)
        return own

    async def _made(self, path: str, body: Any) -> dict[str, Any]:
        idempotency_key = f"{self._merchant_id}-{len(self.requests)}"
        answer = await self._api.post(path, body, of=self._merchant_id, headers={"Idempotency-Key": idempotency_key})
        assert answer.status in {200, 201}, (path, answer.text)
        self.requests.append((path, body, idempotency_key))
        return dict(answer.json)


def door(merchant_id: str) -> str:
    """Return where the merchant's partners are paid by hand."""
    return f"door of {merchant_id}"


def missing(ids: Ids) -> dict[str, str]:
    """Return ids of the same form and length, of which there is none; a month is the same for everybody."""
    return {name: value if name == "month" else _like(value, name) for name, value in ids.items()}


def _like(value: str, name: str) -> str:
    """Return another text of the same letters, digits and signs, place by place; what begins with a kind keeps it."""
    begin = value.find("_") + 1
    noise = sha256(name.encode()).digest() * 8
    return value[:begin] + "".join(_other(*pair) for pair in zip(value[begin:], noise, strict=False))


def _other(character: str, number: int) -> str:
    for alphabet in ("bcdef", "BCDEF", "234567"):
        if character in alphabet or (
            character.isalnum() and (character.islower(), character.isdigit()) == _KINDS[alphabet]
        ):
            return alphabet[number % len(alphabet)]
    return character


_KINDS = {"bcdef": (True, False), "BCDEF": (False, False), "234567": (False, True)}


# Routes that take a body with nothing in it.
NOTHING = (
    "POST /partners/{partner_id}/approve", "POST /partners/{partner_id}/reinstate",
    "POST /partners/{partner_id}/dashboard-link", "POST /commissions/{order_id}/approve",
    "POST /commissions/{order_id}/release", "POST /dead-letters/{dead_letter_id}/retry",
    "POST /users/{user_id}/invite", "POST /users/{user_id}/disable", "POST /users/{user_id}/enable",
    "POST /webhooks/{webhook_id}/rotate", "POST /webhooks/{webhook_id}/test", "POST /webhooks/{webhook_id}/enable",
    "POST /webhooks/{webhook_id}/disable", "POST /webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
    "POST /partners/{partner_id}/payout-details/stripe", "POST /partners/{partner_id}/payout-details/stripe/check",
    "POST /bank-orders/{end_to_end_id}/withdraw", "POST /payout-runs/{run_id}/approve",
    "POST /payouts/{payout_id}/approve", "POST /payouts/{payout_id}/check",
)  # fmt: skip

# Routes that want to know why, and nothing else.
REASONED = (
    "POST /partners/{partner_id}/reject", "POST /partners/{partner_id}/pause", "POST /partners/{partner_id}/ban",
    "POST /partners/{partner_id}/hold-payouts", "POST /partners/{partner_id}/release-payouts",
    "POST /commissions/{order_id}/reject", "POST /commissions/{order_id}/reopen", "POST /commissions/{order_id}/hold",
    "POST /dead-letters/{dead_letter_id}/discard", "POST /payout-runs/{run_id}/cancel",
    "POST /payouts/{payout_id}/cancel",
)  # fmt: skip


def bodies(ids: Ids, own: Ids, new: str, days: int) -> dict[str, list[Any]]:
    """Return the bodies to send on each route that takes one, which name `ids` wherever a body can name anything.

    `own` are the caller's own things; what is made is called `new`. Strings are files.
    """
    partner = {"name": new, "email": f"{new}@n.example", "rate": RATE}
    order = {"type": "order.placed", "event_id": f"e-{new}", "occurred_at": AT, "currency": "USD", "total": "10.00"}
    refund = {
        "type": "order.refunded", "event_id": f"r-{new}", "occurred_at": AT, "currency": "USD", "refund_id": f"r-{new}",
        "amount": "1.00", "order_id": ids["order_id"],
    }  # fmt: skip
    plain = {name: [{}] for name in NOTHING} | {name: [WHY] for name in REASONED}
    return plain | _bodies_of_payouts(ids, new) | {
        "POST /partners": [partner | {"coupon_code": ids["code"]}],
        "POST /partners/apply": [partner | {"email": f"{new}@a.example"}],
        "POST /partners/invite": [partner | {"email": f"{new}@i.example"}],
        "PATCH /partners/{partner_id}": [{"name": new}, {"rate": RATE}, {"tags": [new]}],
        "POST /partners/{partner_id}/coupons": [{"code": new}, {"code": ids["code"]}],
        "PATCH /partners/{partner_id}/coupons/{code}": [{"rate": RATE}],
        "POST /partners/{partner_id}/notes": [{"note": new}],
        "POST /orders": [
            order | {"order_id": f"o-{new}", "coupon_code": ids["code"]},
            order | {"order_id": f"m-{new}", "merchant_id": "zenith"},
            refund,
        ],
        "POST /commissions": [
            {"partner_id": ids["partner_id"], "amount": "1.00", "currency": "USD", "reason": new},
        ],
        "POST /commissions/bulk": [
            {"action": "approve", "order_ids": [ids["order_id"]]},
            {"action": "mark-paid", "order_ids": [ids["order_id"]], "reference": new},
        ],
        "POST /commissions/{order_id}/mark-paid": [{"reference": new}],
        "POST /commissions/{order_id}/mark-unpaid": [WHY],
        "POST /customers/{customer_id}/reassign": [
            {"partner_id": ids["partner_id"], **WHY}, {"partner_id": own["partner_id"], **WHY},
        ],
        "PATCH /program": [{"hold_days": days}],
        "POST /dead-letters/bulk": [
            {"action": "retry", "dead_letter_ids": [ids["dead_letter_id"]]},
            {"action": "discard", "dead_letter_ids": [ids["dead_letter_id"]], **WHY},
        ],
        "POST /imports/partners": [f"{_PARTNER}\nI,i@{new}.example,{ids['code']},fixed,1.00\n"],
        "POST /imports/orders": [f"{_ORDER}\ni-{new},{AT},USD,1.00,{ids['code']}\n"],
        "POST /imports/balances": [f"partner,currency,amount,as_of\n{ids['partner_id']},USD,1.00,2026-11-01\n"],
        "POST /users": [{"name": new, "email": f"{new}@n.example", "role": "viewer"}],
        "PATCH /users/{user_id}": [{"name": new}, {"role": "owner"}],
        "POST /keys": [{"name": new, "scopes": ["read"], "user_id": ids["user_id"]}],
        "POST /keys/{key_id}/rotate": [{"overlap_s": 0}],
        "POST /webhooks": [{"url": f"https://{new}.example/hook", "types": ["*"]}],
        "PATCH /webhooks/{webhook_id}": [{"description": new}],
        "POST /webhooks/{webhook_id}/replay": [{"after": 0}],
    }  # fmt: skip


def _bodies_of_payouts(ids: Ids, new: str) -> dict[str, list[Any]]:
    """Return those that are about paying partners."""
    return {
        "PUT /partners/{partner_id}/payout-details": [
            {"method": "manual", "address": new}, {"method": "bank", "address": IBAN, "name": new},
        ],
        "POST /payout-runs": [
            {"partner_ids": [ids["partner_id"]]}, {"dry_run": True, "partner_ids": [ids["partner_id"]]},
            {"dry_run": True, "exclude_partner_ids": [ids["partner_id"]]},
        ],
        "POST /payouts/{payout_id}/confirm": [
            {"transaction_id": new, "paid_at": AT, "amount": "10.00", "currency": "USD", "method": "wire"},
        ],
        "POST /payouts/{payout_id}/declare-dead": [{"declared": new}],
        "POST /payouts/{payout_id}/retry": [{"declared": new}],
        "POST /partners/{partner_id}/write-off": [{"currency": "USD", **WHY}],
        "POST /bank-batches": [{"execution_on": "2026-11-25"}],
        "POST /bank-batches/{batch_id}/unseal": [{"declared": new}],
        "POST /bank-orders/{end_to_end_id}/settle": [{"reference": new}],
        "POST /payout-reconciliation/findings/{finding_id}/resolve": [{"declared": new}],
        "POST /bank-statements": [camt(Entry(ids["end_to_end_id"], "10.00")).decode()],
    }  # fmt: skip


# Routes that take no body. A list has its files (`.csv`, `.jsonl`) beside it, which follow from it.
BARE = {
    "GET /partners", "GET /partners/{partner_id}", "GET /partners/{partner_id}/coupons",
    "GET /partners/{partner_id}/notes", "GET /partners/{partner_id}/rates", "GET /partners/standings",
    "GET /partners/{partner_id}/history",
    "DELETE /partners/{partner_id}/coupons/{code}",
    "DELETE /partners/{partner_id}/notes/{note_id}", "GET /commissions", "GET /commissions/{order_id}",
    "GET /commissions/{order_id}/events", "GET /paid-marks",
    "GET /partners/{partner_id}/statements", "GET /partners/{partner_id}/statements/{month}",
    "GET /partners/{partner_id}/waiting",
    "GET /balances", "GET /customers", "GET /customers/{customer_id}", "GET /metrics", "GET /metrics/partners",
    "GET /waiting", "GET /program/balances", "GET /program",
    "GET /program/versions", "GET /dead-letters", "GET /dead-letters/counts", "GET /dead-letters/{dead_letter_id}",
    "GET /intake", "GET /intake/ignored", "GET /journal",
    "GET /users", "GET /users/{user_id}", "GET /key", "GET /keys", "DELETE /keys/{key_id}", "GET /access-log",
    "GET /events", "GET /webhooks", "GET /webhooks/{webhook_id}", "DELETE /webhooks/{webhook_id}",
    "GET /webhooks/{webhook_id}/deliveries",
    "GET /partners/{partner_id}/payout-details", "DELETE /partners/{partner_id}/payout-details", "GET /payout-rails",
    "GET /payout-runs", "GET /payout-runs/{run_id}", "GET /payout-runs/{run_id}/lines", "GET /payouts",
    "GET /payouts/by-hand.csv",
    "GET /payouts/{payout_id}", "GET /payouts/{payout_id}/commissions", "GET /partners/{partner_id}/payout-standing",
    "GET /payout-reconciliation", "GET /payout-reconciliation/findings",
    "GET /bank-batches", "GET /bank-batches/{batch_id}", "GET /bank-batches/{batch_id}.xml",
    "GET /bank-batches/{batch_id}.csv", "GET /bank-orders",
}  # fmt: skip
