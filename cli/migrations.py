"""`migrate`: the database's schema, brought up to date."""

import typer

from cli.connection import books, bring_up_to_date
from cli.options import Data, Json
from cli.output import print_json, say

app = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@app.command()
def migrate(*, data: Data = None, as_json: Json = False) -> None:
    """Bring the database's schema up to date; does nothing where it is."""
    with books(data) as found:
        stale = bring_up_to_date(found.database_url)
    if as_json:
        print_json({"migrated": True, "read_models_to_rebuild": stale})
        return
    say("the database is up to date")
    if stale:
        say(f"read models of another version: {', '.join(stale)}; the projector rebuilds them")
