"""`payouts preview`, `run`, `runs`, `approve`, `cancel`, `show`: who is paid, and the runs that were made of it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.desk import Desk, at_desk
from cli.failures import UsageError
from cli.options import Data, Json
from cli.output import complain, print_json, print_table, say
from cli.payout_words import actor, instant, money, names_of, partner_id_of, tell_lines, tell_run, tell_story

RUN_ID = "pr_"
_HEAD = ("run", "made", "by", "status", "in", "out", "amount", "to be requested", "payouts")

Merchant = Annotated[
    str | None, typer.Option("--merchant", help="Whose; left out: the merchant's, where there is only one.")
]
By = Annotated[
    str | None, typer.Option("--by", metavar="EMAIL", help="The user in whose name; left out: the operator's own.")
]
Key = Annotated[str | None, typer.Option("--key", help="An idempotency key: the same command with it happens once.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
Currency = Annotated[str | None, typer.Option("--currency", help="Only this one, ISO 4217.")]
Minimum = Annotated[
    list[str] | None,
    typer.Option("--minimum", metavar="EUR=50", help="Of a currency, repeatable; left out: the program's."),
]
Partners = Annotated[
    list[str] | None, typer.Option("--partner", metavar="ID", help="Only this one (id or e-mail address), repeatable.")
]
Excluded = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="ID", help="Everybody but this one, repeatable.")
]
CutOff = Annotated[
    str | None,
    typer.Option("--cut-off", metavar="INSTANT", help="Only what was payable by then (2026-11-01T00:00:00Z)."),
]
RunOrPayout = Annotated[str, typer.Argument(metavar="RUN|PAYOUT", show_default=False)]


def preview(
    *,
    currency: Currency = None,
    minimum: Minimum = None,
    partner: Partners = None,
    exclude: Excluded = None,
    cut_off: CutOff = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show who would be paid, who not, and why; nothing is done."""

    async def work(desk: Desk) -> tuple[dict[str, Any], dict[str, str]]:
        criteria = await _criteria(desk, currency, minimum, partner, exclude, cut_off)
        return await _previewed(desk, criteria)

    run, names = at_desk(work, data, merchant)
    if as_json:
        print_json(run)
        return
    _tell_preview(run, names)


def run(
    *,
    currency: Currency = None,
    minimum: Minimum = None,
    partner: Partners = None,
    exclude: Excluded = None,
    cut_off: CutOff = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: for scripts.")] = False,
    key: Key = None,
    by: By = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Freeze the list of who is paid: the worker requests the payouts, and sends them once they are approved."""
    if not yes and (as_json or not sys.stdin.isatty()):
        raise UsageError("--yes: nobody is here to be asked")

    async def work(desk: Desk) -> dict[str, Any] | None:
        criteria = await _criteria(desk, currency, minimum, partner, exclude, cut_off)
        if not yes:
            shown, names = await _previewed(desk, criteria)
            _tell_preview(shown, names)
            if not shown["totals"] or not typer.confirm("\nPay them?"):
                return None
            # What was shown is what is done, as far as the books are the same still.
            criteria["cut_off"] = shown["cut_off"]
        return await desk.ask("POST", "/payout-runs", body=criteria, key=key)

    made = at_desk(work, data, merchant, by)
    if made is None:
        say("nothing was done")
        return
    if as_json:
        print_json(made)
        return
    tell_run(made)
    _tell_what_comes_next(made)


def runs(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 20,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List payout runs, the newest first."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        return [row async for row in desk.rows("/payout-runs", limit=limit)]

    rows = at_desk(work, data, merchant)
    if as_json:
        for row in rows:
            print_json(row)
        return
    print_table(_HEAD, [_row(each) for each in rows], right=(4, 5), whole=(0,))


def show(
    which: RunOrPayout, *, by: By = None, merchant: Merchant = None, data: Data = None, as_json: Json = False
) -> None:
    """Show a run with its lines, or a payout with all that happened to it."""

    async def work(desk: Desk) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, str]]:
        if not which.startswith(RUN_ID):
            return await desk.ask("GET", "/payouts/{payout_id}", names={"payout_id": which}), [], {}
        found = await desk.ask("GET", "/payout-runs/{run_id}", names={"run_id": which})
        lines = [row async for row in desk.rows("/payout-runs/{run_id}/lines", names={"run_id": which})]
        return found, lines, {} if as_json else await names_of(desk, (each["partner_id"] for each in lines))

    found, lines, names = at_desk(work, data, merchant, by)
    if as_json:
        print_json({**found, "lines": lines} if which.startswith(RUN_ID) else found)
    elif which.startswith(RUN_ID):
        tell_run(found)
        say("")
        tell_lines(lines, names)
    else:
        tell_story(found)


def approve(
    which: RunOrPayout,
    *,
    by: Annotated[str, typer.Option("--by", metavar="EMAIL", help="The user who approves; not who made the run.")],
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let a run (or one payout) go out, where the program demands that somebody else than its maker says so."""
    _tell_state(_move("approve", which, None, by, merchant, data), as_json=as_json)


def cancel(
    which: RunOrPayout,
    *,
    reason: Reason,
    by: By = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Call a run off, as far as nothing of it was submitted, or one payout."""
    _tell_state(_move("cancel", which, {"reason": reason}, by, merchant, data), as_json=as_json)


def _move(
    move: str, which: str, body: dict[str, str] | None, by: str | None, merchant: str | None, data: Path | None
) -> dict[str, Any]:
    async def work(desk: Desk) -> dict[str, Any]:
        if which.startswith(RUN_ID):
            return await desk.ask("POST", f"/payout-runs/{{run_id}}/{move}", body=body, names={"run_id": which})
        return await desk.ask("POST", f"/payouts/{{payout_id}}/{move}", body=body, names={"payout_id": which})

    return at_desk(work, data, merchant, by)


def _tell_state(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        say(f"{told['id']}  {told['status']}")


async def _criteria(
    desk: Desk,
    currency: str | None,
    minimum: Sequence[str] | None,
    partners: Sequence[str] | None,
    excluded: Sequence[str] | None,
    cut_off: str | None,
) -> dict[str, Any]:
    return {
        "currency": currency,
        "minimum": dict(_amount_of(each) for each in minimum) if minimum else None,
        "partner_ids": [await partner_id_of(desk, each) for each in partners] if partners else None,
        "exclude_partner_ids": [await partner_id_of(desk, each) for each in excluded or ()],
        "cut_off": cut_off,
    }


def _amount_of(told: str) -> tuple[str, str]:
    currency, equals, amount = told.partition("=")
    if not equals:
        raise UsageError(f"--minimum {told}: say it as EUR=50.00")
    return currency.strip(), amount.strip()


async def _previewed(desk: Desk, criteria: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    shown = await desk.ask("POST", "/payout-runs", body={**criteria, "dry_run": True})
    return shown, await names_of(desk, (each["partner_id"] for each in shown["lines"] or ()))


def _tell_preview(shown: dict[str, Any], names: dict[str, str]) -> None:
    if shown["lines"]:
        tell_lines(shown["lines"], names)
        say("")
    if shown["lines_left_out"]:
        complain(f"and {shown['lines_left_out']:,} more")
    tell_run(shown)


def _tell_what_comes_next(made: dict[str, Any]) -> None:
    say("")
    if made["needs_approval"] and made["status"] == "prepared":
        say("Somebody other than its maker has to approve it:")
        say(f"  commission-ledger payouts approve {made['id']} --by EMAIL")
    else:
        say("The worker requests the payouts and sends them. Look at it:")
        say(f"  commission-ledger payouts show {made['id']}")


def _row(each: dict[str, Any]) -> tuple[object, ...]:
    states = ", ".join(f"{count} {state}" for state, count in each["payouts"].items() if count)
    return (
        each["id"], instant(each["made_at"]), actor(each["made_by"]), each["status"], each["partners_in"],
        each["partners_out"], ", ".join(money(total["amount"]) for total in each["totals"]), each["waiting"] or "",
        states,
    )  # fmt: skip
