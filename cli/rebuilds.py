"""`rebuild`: read models told anew from the log."""

from typing import Annotated

import typer

from cli.connection import books
from cli.failures import UsageError
from cli.options import Data, Json
from cli.output import print_json, progress, say
from projections.rebuild import rebuild as build_anew
from projections.schema import MODELS

app = typer.Typer(rich_markup_mode="markdown", add_completion=False)

_NAMES = tuple(model.name for model in MODELS)


@app.command()
def rebuild(
    *,
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL...]", help=f"Of: {', '.join(_NAMES)}; none: all.", show_default=False),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Build read models anew from the log and put them in the place of the live ones; readers go on meanwhile."""
    unknown = sorted(set(models or ()) - set(_NAMES))
    if unknown:
        raise UsageError(f"no read model {', '.join(unknown)}; there are: {', '.join(_NAMES)}")
    with books(data) as found, progress("rebuilding", unit="events") as advance:
        done = build_anew(found.database_url, models or None, advance)
    if as_json:
        print_json({"models": done.models, "position": done.position})
    else:
        say(f"rebuilt {', '.join(done.models)}, up to position {done.position}")
