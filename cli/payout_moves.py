"""What people do with payouts: `payouts list`, `confirm`, `declare-dead`, `retry`, `check`, `hold`, `release`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.clock import now
from cli.desk import Desk, at_desk
from cli.options import Data, Json
from cli.output import print_json, say
from cli.payout_runs import By, Key, Merchant, Reason
from cli.payout_words import money, names_of, partner_id_of, tell_payouts

OnePayout = Annotated[str, typer.Argument(metavar="PAYOUT", show_default=False)]
OnePartner = Annotated[str, typer.Argument(metavar="PARTNER", help="Its id or e-mail address.", show_default=False)]
Declared = Annotated[
    str, typer.Option("--declared", help="How you know that nothing was paid, and nothing will be; kept for ever.")
]


def show_list(
    *,
    status: Annotated[str | None, typer.Option("--status", help="requested, approved, ..., review, processed.")] = None,
    partner: Annotated[str | None, typer.Option("--partner", metavar="ID")] = None,
    currency: Annotated[str | None, typer.Option("--currency")] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN")] = None,
    rail: Annotated[str | None, typer.Option("--rail")] = None,
    transaction_id: Annotated[str | None, typer.Option("--transaction-id")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 50,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List payouts, the newest first."""

    async def work(desk: Desk) -> tuple[list[dict[str, Any]], dict[str, str]]:
        filters = {"status": status, "currency": currency, "run_id": run, "rail": rail}
        partner_id = await partner_id_of(desk, partner) if partner else None
        filters |= {"partner_id": partner_id, "transaction_id": transaction_id}
        found = [row async for row in desk.rows("/payouts", limit=limit, query=filters)]
        return found, {} if as_json else await names_of(desk, (each["partner_id"] for each in found))

    found, names = at_desk(work, data, merchant)
    if as_json:
        for row in found:
            print_json(row)
        return
    tell_payouts(found, names)


def confirm(
    payout: OnePayout,
    *,
    transaction_id: Annotated[str, typer.Option("--transaction-id", help="The bank's or service's number of it.")],
    amount: Annotated[str, typer.Option("--amount", metavar='"12.50 EUR"', help="Exactly the payout's.")],
    method: Annotated[str, typer.Option("--method", help="By which means: a word, such as wire or cash.")] = "wire",
    paid_at: Annotated[str | None, typer.Option("--paid-at", metavar="INSTANT", help="Left out: now.")] = None,
    key: Key = None,
    by: By = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Note that you paid a payout, under which number; the same command again changes nothing."""

    async def work(desk: Desk) -> dict[str, Any]:
        figure, _, currency = amount.strip().partition(" ")
        if not currency:
            currency = (await desk.ask("GET", "/payouts/{payout_id}", names={"payout_id": payout}))["amount"][
                "currency"
            ]
        told = {
            "transaction_id": transaction_id, "amount": figure, "currency": currency.strip(), "method": method,
            "paid_at": paid_at or now().isoformat(),
        }  # fmt: skip
        return await desk.ask("POST", "/payouts/{payout_id}/confirm", body=told, key=key, names={"payout_id": payout})

    _tell_payout(at_desk(work, data, merchant, by), as_json=as_json)


def declare_dead(
    payout: OnePayout,
    *,
    declared: Declared,
    by: By = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Declare that nothing was paid and nothing will be: the payout failed, its commissions are payable again."""
    _tell_payout(_move("declare-dead", payout, {"declared": declared}, by, merchant, data), as_json=as_json)


def retry(
    payout: OnePayout,
    *,
    declared: Declared,
    by: By = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Declare that nothing was paid, and let the payout be sent anew, under a new number."""
    _tell_payout(_move("retry", payout, {"declared": declared}, by, merchant, data), as_json=as_json)


def check(payout: OnePayout, *, merchant: Merchant = None, data: Data = None, as_json: Json = False) -> None:
    """Have the worker look now what the provider says."""
    _tell_payout(_move("check", payout, None, None, merchant, data), as_json=as_json)


def hold(
    partner: OnePartner,
    *,
    reason: Reason,
    by: By = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Send nothing more to a partner; what was sent is followed. `release` ends it."""
    _freeze("hold-payouts", partner, reason, by, merchant, data, as_json=as_json)


def release(
    partner: OnePartner,
    *,
    reason: Reason,
    by: By = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let a partner be paid again, also where the ledger itself had stopped it: say what you found."""
    _freeze("release-payouts", partner, reason, by, merchant, data, as_json=as_json)


def write_off(
    partner: OnePartner,
    *,
    currency: Annotated[str, typer.Option("--currency", help="Of the balance, ISO 4217.")],
    reason: Reason,
    key: Key = None,
    by: By = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Forgive a partner a negative balance: what was clawed back, and no later earnings will make good."""

    async def work(desk: Desk) -> dict[str, Any]:
        body, partner_id = {"currency": currency, "reason": reason}, await partner_id_of(desk, partner)
        return await desk.ask(
            "POST", "/partners/{partner_id}/write-off", body=body, key=key, names={"partner_id": partner_id}
        )

    told = at_desk(work, data, merchant, by)
    print_json(told) if as_json else say(f"{told['order_id']}  {told['status']}")


def _freeze(
    move: str, partner: str, reason: str, by: str | None, merchant: str | None, data: Path | None, *, as_json: bool
) -> None:
    async def work(desk: Desk) -> dict[str, Any]:
        partner_id = await partner_id_of(desk, partner)
        path = f"/partners/{{partner_id}}/{move}"
        return await desk.ask("POST", path, body={"reason": reason}, names={"partner_id": partner_id})

    told = at_desk(work, data, merchant, by)
    if as_json:
        print_json(told)
    else:
        say(f"{told['partner_id']}  {'frozen: ' + told['frozen'] if told['frozen'] else 'may be paid'}")


def _move(
    move: str, payout: str, body: dict[str, str] | None, by: str | None, merchant: str | None, data: Path | None
) -> dict[str, Any]:
    async def work(desk: Desk) -> dict[str, Any]:
        return await desk.ask("POST", f"/payouts/{{payout_id}}/{move}", body=body, names={"payout_id": payout})

    return at_desk(work, data, merchant, by)


def _tell_payout(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        say(f"{told['id']}  {told['status']}  {money(told['amount'])}")
