"""How commands about payouts speak: amounts, runs, payouts and their lines, as tables for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from cli.desk import Desk
from cli.failures import UsageError
from cli.output import complain, print_table, say
from schemas.api import LIMIT_MAX

Document: TypeAlias = Mapping[str, Any]

REASONS = {
    "payable": "",
    "excluded": "excluded from this run",
    "on_hold": "on hold: paused, banned or rejected",
    "frozen": "frozen: somebody has to look first",
    "open_payout": "has an open payout already",
    "negative_balance": "owes more than is owed",
    "nothing_payable": "nothing is payable",
    "below_minimum": "below the minimum, carried forward",
    "no_payout_details": "nobody knows how to pay: no payout details",
    "details_changed": "payout details were changed and have to cool down",
    "rail_off": "this way of paying cannot be used now",
    "unsupported_amount": "this way of paying does not send this currency or amount",
    "over_limit": "more than one payout may be",
    "changed": "was not payable any more when it was requested",
}
"""Why a partner is out of a run, in words."""


def money(told: Document | None) -> str:
    """Return the amount with its currency, empty for none."""
    return "" if told is None else f"{told['amount']} {told['currency']}"


def instant(told: str | None) -> str:
    """Return the instant without its fraction, empty for none."""
    return "" if told is None else f"{told[:19].replace('T', ' ')}Z"


def actor(told: Document | None) -> str:
    """Return who acted, by name where there is one."""
    if told is None:
        return ""
    return str(told.get("user") or told.get("user_id") or told.get("key") or told.get("key_id") or told["kind"])


async def names_of(desk: Desk, partner_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of the partners, of those who have one."""
    wanted, found = sorted(set(partner_ids)), {}
    for start in range(0, len(wanted), LIMIT_MAX):
        ids = ",".join(wanted[start : start + LIMIT_MAX])
        async for row in desk.rows("/partners", query={"ids": ids}):
            found[row["id"]] = row["name"] or ""
    return found


async def partner_id_of(desk: Desk, told: str) -> str:
    """Return the id of the partner with this id or e-mail address. Raises UsageError where no address is the same."""
    if "@" not in told:
        return told
    async for row in desk.rows("/partners", query={"search": told}):
        if (row["email"] or "").casefold() == told.strip().casefold():
            return str(row["id"])
    raise UsageError(f"no partner has the e-mail address {told}")


def tell_run(run: Document) -> None:
    """Write what a run, or its preview, comes to."""
    name = f"payout run {run['id']}: {run['status']}" if run["id"] else "preview, nothing is done"
    say(f"{name}, of what was payable at {instant(run['cut_off'])}")
    if run["cancelled_because"]:
        say(f"cancelled: {run['cancelled_because']}")
    if run["id"]:
        approved = f", approved by {actor(run['approved_by'])}" if run["approved_by"] else ""
        say(f"made by {actor(run['made_by'])}{approved}")
    rows = [_of_total("in", each, _commissions(each["commissions"])) for each in run["totals"]]
    rows += [_of_total("out", each, REASONS[each["reason"]]) for each in run["out"]]
    if rows:
        say("")
        print_table(("", "partners", "amount", ""), rows, right=(1, 2))
    if run["id"]:
        _tell_progress(run)


def _tell_progress(run: Document) -> None:
    states = [f"{count} {state}" for state, count in run["payouts"].items() if count]
    if run["waiting"] and run["status"] != "cancelled":
        states.insert(0, f"{run['waiting']} still to be requested")
    if states:
        say("")
        say(f"payouts: {', '.join(states)}")


def _commissions(count: int) -> str:
    return f"{count:,} commission{'' if count == 1 else 's'}"


def _of_total(where: str, told: Document, words: str) -> tuple[object, ...]:
    return where, told["partners"], money(told["amount"]), words


def tell_lines(lines: Sequence[Document], names: Mapping[str, str]) -> None:
    """Write the lines of a run: who is in first."""
    rows = [
        (
            each["partner_id"], names.get(each["partner_id"], ""), money(each["amount"]), each["commissions"],
            each["rail"], "in" if each["included"] else "out", REASONS[each["reason"]] or each["payout_id"],
        )
        for each in sorted(lines, key=lambda each: not each["included"])
    ]  # fmt: skip
    print_table(
        ("partner", "name", "amount", "commissions", "rail", "", "why, or payout"), rows, right=(2, 3), whole=(0,)
    )


def tell_payouts(payouts: Sequence[Document], names: Mapping[str, str]) -> None:
    """Write payouts, one a line."""
    rows = [
        (
            each["id"], instant(each["requested_at"]), each["partner_id"], names.get(each["partner_id"], ""),
            money(each["amount"]), each["rail"], each["status"], each["transaction_id"] or each["reference"],
            each["reason"] or (f"returned {money(each['returned'])}" if each["status"] == "returned" else ""),
        )
        for each in payouts
    ]  # fmt: skip
    headings = ("payout", "requested", "partner", "name", "amount", "rail", "status", "transaction", "why")
    print_table(headings, rows, right=(4,), whole=(0,))


def tell_story(story: Document) -> None:
    """Write a payout with everything that happened to it."""
    told = {
        "payout": story["id"], "status": story["status"], "why": story["reason"], "run": story["run_id"],
        "partner": story["partner_id"], "amount": money(story["amount"]), "commissions": story["commissions"],
        "rail": story["rail"], "to": _payee(story["payee"]), "transaction": story["transaction_id"],
        "reference": story["reference"], "frozen": story["partner_frozen"],
        "returned": money(story["returned"]) if float(story["returned"]["amount"]) else None,
        "can now": ", ".join(story["actions"]),
    }  # fmt: skip
    for name, value in told.items():
        if value not in (None, ""):
            say(f"{name:13}{value}")
    for words in story["contradictions"]:
        complain(f"the provider told what cannot be: {words}")
    say("")
    rows = [(instant(each["at"]), each["summary"], actor(each["by"])) for each in story["history"]]
    print_table(("at", "what", "by"), rows)


def _payee(told: Document | None) -> str | None:
    return None if told is None else " ".join(filter(None, (told["method"], told["address"], told["name"])))
