"""`commission-ledger`: finds the command, runs it, and tells how it ended."""

import sys
import traceback
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from cli.failures import explain
from cli.output import complain


class _Place(NamedTuple):
    """Where a command is, and what the list of commands says of it."""

    module: str
    line: str


# Loaded when they are called for: the worker's libraries alone take longer to import than most commands to run.
COMMANDS = {
    "up": _Place("cli.up", "Start everything on this machine, with a demo merchant."),
    "migrate": _Place("cli.migrations", "Bring the database's schema up to date."),
    "worker": _Place("cli.serve_worker", "Book the orders of the Kafka topic."),
    "projector": _Place("cli.serve_projector", "Keep the read models at the head of the log."),
    "web": _Place("cli.serve_web", "Serve the API and the dashboards at WEB_HOST:WEB_PORT."),
    "merchant": _Place("cli.merchants", "Merchants, and the API keys to their books."),
    "user": _Place("cli.users", "People who work for a merchant, and links that set their passwords."),
    "import": _Place("cli.imports", "Files of orders, partners or opening balances; safe to repeat."),
    "export": _Place("cli.exports", "Write any list of the API, or the journal, to a file."),
    "payouts": _Place("cli.payouts", "Pay partners: preview, runs, payouts, rails, files for the bank."),
    "dead-letters": _Place("cli.dead_letters", "Messages that were refused for good, with the reason."),
    "rebuild": _Place("cli.rebuilds", "Build read models anew from the log."),
    "verify": _Place("cli.checks", "Compare every read model with the log."),
    "intake": _Place("cli.intake", "Show what became of every message."),
}
# Not for people: what `up` runs beside the others.
_HIDDEN = {"storefront": _Place("cli.storefront", "")}


class Commands(TyperGroup):
    """The commands, each in a module of its own."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order in which a new user needs them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of this name, None for no name of ours."""
        del ctx
        place = (COMMANDS | _HIDDEN).get(cmd_name)
        if place is None:
            return None
        command = typer.main.get_command(import_module(place.module).app)
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, without loading every command for its line in the list."""
        listing = _Listing(name=self.name, params=self.params, help=self.help, rich_markup_mode=self.rich_markup_mode)
        listing.format_help(ctx, formatter)


class _Listing(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name].line)


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


@app.callback(invoke_without_command=True)
def commission_ledger(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Affiliate commissions that can be trusted: orders in from Kafka, an event store, balances to the cent."""
    del debug  # looked at in `main`, wherever it stands
    if version:
        from importlib.metadata import version as installed  # noqa: PLC0415 - asked for once in a program's life

        typer.echo(installed("commission-ledger"))
        raise typer.Exit


def main() -> None:
    """Run the command line and exit: 0 fine, 1 refused or differences found, 2 wrong usage, 3 something is away."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(args=arguments, prog_name="commission-ledger")
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - this is where every error ends
        if debug:
            traceback.print_exc()
        code, line = explain(error)
        complain(f"commission-ledger: {line}")
        sys.exit(code)


if __name__ == "__main__":
    main()
