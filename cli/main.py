"""`commission-ledger`: finds the command, runs it, and tells how it ended."""

import sys
import traceback
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.failures import explain
from cli.output import complain

# Loaded when they are called for: the worker's libraries alone take longer to import than most commands to run.
_COMMANDS = {
    "up": "cli.up",
    "migrate": "cli.migrations",
    "worker": "cli.serve_worker",
    "projector": "cli.serve_projector",
    "web": "cli.serve_web",
    "merchant": "cli.merchants",
    "import": "cli.imports",
    "dead-letters": "cli.dead_letters",
    "rebuild": "cli.rebuilds",
    "verify": "cli.checks",
    "intake": "cli.intake",
}
# Not for people: what `up` runs beside the others.
_HIDDEN = {"storefront": "cli.storefront"}


class Commands(TyperGroup):
    """The commands, each in a module of its own."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order in which a new user needs them."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of this name, None for no name of ours."""
        del ctx
        module = (_COMMANDS | _HIDDEN).get(cmd_name)
        if module is None:
            return None
        command = typer.main.get_command(import_module(module).app)
        command.name = cmd_name
        return command


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
