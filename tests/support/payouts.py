"""Payouts in tests of the API: partners who can be paid, and a worker that works when it is told to."""

import asyncio
from datetime import timedelta
from typing import Any

from consumers.health import Health
from consumers.payout_runs import CONDITION as RUNS
from consumers.payout_runs import PayoutRuns
from consumers.payout_saga import PayoutSaga
from consumers.payout_worker import CONDITION, PayoutWorker
from ledger.payouts import QUIET
from projections.payables import SqlPayables
from schemas.payout_methods import PayoutMethod
from tests.support.api import Api
from tests.support.keys import key_of


async def payable_to(
    api: Api, partner_id: str, method: str = "manual", address: str = "by hand", *, of: str = "acme", **more: Any
) -> None:
    """Let the partner be paid this way, at once: the very first details need not cool down."""
    assert api.paying is not None
    told = PayoutMethod.model_validate({"method": method, "address": address} | more)
    await asyncio.to_thread(api.paying.details.change, of, partner_id, told, by="test", now=api.now)


async def earn(api: Api, *totals: str, approve: bool = True, of: str = "acme", **change: Any) -> list[str]:
    """Book an order per total, approve its commission, and return the orders' ids."""
    orders = [api.order(total=total, **change) for total in totals]
    results = (await api.post("/orders", orders, of=of)).json["results"]
    assert {each["outcome"] for each in results} == {"earned"}, results
    order_ids = [each["order_id"] for each in orders]
    if approve:
        answer = await api.post("/commissions/bulk", {"action": "approve", "order_ids": order_ids}, of=of)
        assert all(each["ok"] for each in answer.json["results"]), answer.text
    await api.project()
    return order_ids


async def work(api: Api) -> None:
    """Do all that workers have to do now: runs are carried on, payouts that are due move, and the figures follow."""
    assert api.paying is not None
    await api.project()
    health = Health(CONDITION, RUNS)
    runs = PayoutRuns(api.paying, api.ledger, SqlPayables(api.ledger), health, lambda: api.now)
    while await runs.work():
        pass
    saga = PayoutSaga(api.paying.books, api.paying.rails.rails, api.paying.keys, lambda: api.now)
    refresh = [rail.refresh for rail in api.paying.rails.limited]
    worker = PayoutWorker(api.paying.books, saga, health, lambda: api.now, refresh=refresh)
    while await worker.work():
        pass
    await api.project()


async def run(api: Api, *, of: str = "acme", **criteria: Any) -> dict[str, Any]:
    """Make a run, let the workers carry it on, and return it as it stands then."""
    answer = await api.post("/payout-runs", criteria, of=of)
    assert answer.status == 200, answer.text
    await work(api)
    return dict((await api.get(f"/payout-runs/{answer.json['id']}", of=of)).json)


async def confirm(api: Api, payout: dict[str, Any], transaction_id: str, *, of: str = "acme") -> dict[str, Any]:
    """Confirm a payout that somebody made by hand, and return its story."""
    body = {
        "transaction_id": transaction_id, "paid_at": api.now.isoformat(), "method": "wire", **payout["amount"],
    }  # fmt: skip
    answer = await api.post(f"/payouts/{payout['id']}/confirm", body, of=of)
    assert answer.status == 200, answer.text
    await api.project()
    return dict((await api.get(f"/payouts/{payout['id']}", of=of)).json)


async def payouts(api: Api, *, of: str = "acme", **query: str) -> list[dict[str, Any]]:
    """Return the merchant's payouts, the newest first."""
    return list((await api.get("/payouts", params=query, of=of)).json["data"])


def second_key(api: Api, *, of: str = "acme") -> dict[str, str]:
    """Return the headers of another administrator: who approves what the first one made."""
    return {"Authorization": f"Bearer {key_of(api.ledger, of, now=api.now)}"}


def later(api: Api, by: timedelta = QUIET) -> None:
    """Let time pass."""
    api.now += by
