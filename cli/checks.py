"""`verify`: whether the read models are what the log says."""

import typer

from cli.connection import books
from cli.failures import REFUSED
from cli.options import Data, Json
from cli.output import print_json, progress, say
from projections.verify import Verified
from projections.verify import verify as compare

app = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@app.command()
def verify(*, data: Data = None, as_json: Json = False) -> None:
    """Fold the log anew and compare every read model with it; exits 1 and names the first difference of each."""
    with books(data) as found, progress("verifying", unit="events") as advance:
        done = compare(found.database_url, advance)
    if as_json:
        told = [{**difference._asdict(), "count": done.counts[difference.model]} for difference in done.differences]
        print_json({"ok": not told, "position": done.position, "events": done.events, "differences": told})
    else:
        _tell(done)
    if done.differences:
        raise typer.Exit(REFUSED)


def _tell(done: Verified) -> None:
    if not done.differences:
        say(f"every read model equals the log: {done.events:,} events, up to position {done.position}")
        return
    for difference in done.differences:
        others = done.counts[difference.model] - 1
        say(f"{difference}" + (f" (and {others:,} more in {difference.model})" if others else ""))
