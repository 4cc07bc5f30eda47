"""`payouts rails`, `switch`, `rotate-keys`: what belongs to the installation, and so to its operator."""

from datetime import UTC
from enum import StrEnum
from typing import Annotated

import typer

from cli.clock import now
from cli.connection import Books
from cli.desk import MEANS, with_paying
from cli.failures import UsageError
from cli.options import Data, Json
from cli.output import complain, print_json, print_table, progress, say
from consumers.paying import Paying
from consumers.rails.chosen import NAMES
from ledger import payout_details
from ledger.application import Ledger
from ledger.payout_spending import ALL
from schemas.api_payout_details import PayoutRail, RailLimits
from web.api.payout_rails import shown_rail

# So many values at a time: the count is told in between.
_A_ROTATION = 500
_LIMITS = {"payout": "a payout", "partner_day": "a partner and day", "day": "a day"}


class OnOff(StrEnum):
    """How a rail is switched."""

    ON = "on"
    OFF = "off"


def rails(*, data: Data = None, as_json: Json = False) -> None:
    """Show the ways on which money can leave: which are usable, what they lack, why they are off, their limits."""

    async def work(found: Books, ledger: Ledger, paying: Paying) -> list[PayoutRail]:
        del found, ledger
        day = now().astimezone(UTC).date()
        spent = {name: paying.spending.spent(name, day) for name in NAMES}
        return [shown_rail(each, paying, spent[each.name].off) for each in paying.rails.standings()]

    found = with_paying(work, data)
    if as_json:
        for each in found:
            print_json(each.model_dump(mode="json"))
        return
    rows = [(each.name, "yes" if each.usable else "no", _why_not(each), _limits(each.limits)) for each in found]
    print_table(("rail", "usable", "why not", "limits"), rows)


def switch(
    which: Annotated[OnOff, typer.Argument(metavar="off|on", show_default=False)],
    rail: Annotated[str, typer.Argument(metavar="RAIL", help=f"{', '.join(NAMES)} or {ALL}.", show_default=False)],
    *,
    reason: Annotated[str | None, typer.Option("--reason", help="Why it is switched off.")] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who does it.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Stop a rail in all workers, or let it go on: off, nothing begins on it; what was sent is still followed."""
    if rail not in (*NAMES, ALL):
        raise UsageError(f"{rail}: one of {', '.join((*NAMES, ALL))}")
    if which is OnOff.OFF and not (reason or "").strip():
        raise UsageError("--reason: say why it is switched off")

    async def work(found: Books, ledger: Ledger, paying: Paying) -> bool:
        del found, ledger
        if which is OnOff.ON:
            return paying.spending.switch_on(rail)
        paying.spending.switch_off(rail, reason=str(reason), by=by or MEANS, now=now())
        return True

    changed = with_paying(work, data)
    if as_json:
        print_json({"rail": rail, "off": which is OnOff.OFF, "changed": changed})
    elif which is OnOff.OFF:
        say(f"{rail}: off, in all workers. Nothing begins on it; what was sent is still followed.")
    else:
        say(f"{rail}: {'on again' if changed else 'was not switched off here'}")


def rotate_keys(*, data: Data = None, as_json: Json = False) -> None:
    """Seal anew, with the first key of PAYOUT_DETAILS_KEYS, what another one sealed; the former may go then."""

    async def work(found: Books, ledger: Ledger, paying: Paying) -> int:
        del found
        done = 0
        with progress("sealing anew", unit="values") as advance:
            while count := payout_details.rotate(ledger, paying.keys, _A_ROTATION):
                done += count
                advance(done, done + _A_ROTATION)
        return done

    done = with_paying(work, data)
    if as_json:
        print_json({"sealed_anew": done})
        return
    say(f"{done:,} values were sealed anew; nothing is left that another key sealed")
    if done:
        complain("Take the former key out of PAYOUT_DETAILS_KEYS and restart; keep it as long as you keep old backups.")


def _why_not(rail: PayoutRail) -> str:
    if rail.missing:
        return f"lacks {', '.join(rail.missing)}"
    return (rail.reason or "switched off by the environment") if rail.off else ""


def _limits(told: RailLimits) -> str:
    amounts = ((words, getattr(told, name)) for name, words in _LIMITS.items())
    return ", ".join(
        f"{amount} {currency} {words}" for words, each in amounts for currency, amount in sorted(each.items())
    )
