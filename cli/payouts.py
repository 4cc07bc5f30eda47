"""`payouts`: partners are paid, once; and what people do about it."""

from collections.abc import Callable
from typing import Any

import typer

from cli import payout_bank, payout_moves, payout_rails, payout_reconciliation, payout_runs

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", add_completion=False)

# In the order in which a user needs them; the files of the bank and what is the operator's stand last.
_COMMANDS: dict[str, dict[str, Callable[..., Any]]] = {
    "Runs": {
        "preview": payout_runs.preview,
        "run": payout_runs.run,
        "runs": payout_runs.runs,
        "approve": payout_runs.approve,
        "cancel": payout_runs.cancel,
        "show": payout_runs.show,
    },
    "Payouts": {
        "list": payout_moves.show_list,
        "confirm": payout_moves.confirm,
        "check": payout_moves.check,
        "declare-dead": payout_moves.declare_dead,
        "retry": payout_moves.retry,
        "hold": payout_moves.hold,
        "release": payout_moves.release,
        "write-off": payout_moves.write_off,
        "export": payout_bank.export,
    },
    "Bank": {
        "orders": payout_bank.orders,
        "batch": payout_bank.batch,
        "batches": payout_bank.batches,
        "statement": payout_bank.statement,
        "unseal": payout_bank.unseal,
        "withdraw": payout_bank.withdraw,
    },
    "Reconciliation": {
        "reconcile": payout_reconciliation.reconcile,
        "resolve": payout_reconciliation.resolve,
    },
    "Installation": {
        "rails": payout_rails.rails,
        "switch": payout_rails.switch,
        "rotate-keys": payout_rails.rotate_keys,
        "move-in": payout_reconciliation.move_in,
    },
}


@app.callback()
def payouts() -> None:
    """Pay partners: who, how much and why not; runs and their approval; what became of each payout."""


for _panel, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_command)
