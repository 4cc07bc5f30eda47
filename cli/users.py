"""`user`: who works for a merchant, and the links that set their passwords."""

from typing import Annotated

import typer

from cli.connection import books
from cli.merchants import login_link
from cli.options import Data, Json
from cli.output import complain, print_json, say

CAUSE = "cli/user-link"

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", add_completion=False)


@app.callback()
def user() -> None:
    """People who work for a merchant."""


@app.command()
def link(
    email: Annotated[str, typer.Argument(help="The user's e-mail address, or id.")],
    *,
    merchant: Annotated[str, typer.Option(help="The merchant's id.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print a link that sets a user's password; those that were made before are worthless."""
    with books(data) as found, found.ledger() as ledger:
        login_url = login_link(found, ledger, merchant, email, CAUSE)
    if as_json:
        print_json({"merchant_id": merchant, "login_url": login_url})
        return
    say(login_url)
    complain("The link works once, within 72 hours.")
