"""`intake`: what became of every message."""

import asyncio

import typer

from cli.connection import books
from cli.options import Data, Json
from cli.output import print_json, print_table, say
from cli.pools import ask
from projections.read import Reads
from projections.rows import Partition

app = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@app.command()
def intake(*, data: Data = None, as_json: Json = False) -> None:
    """Show, per partition, how far it was read and what became of its messages; each message is counted once."""
    with books(data) as found:
        partitions = asyncio.run(ask(found.database_url, Reads.intake))
    if as_json:
        print_json({"partitions": partitions})
    elif partitions:
        _show(partitions)
    else:
        say("nothing was taken in yet")


def _show(partitions: list[Partition]) -> None:
    headings = (
        "source", "topic", "partition", "position", "consumed", "earned", "adjusted", "skipped", "ignored", "duplicate",
        "dead-lettered",
    )  # fmt: skip
    rows = [
        (
            row.source, row.topic, row.partition, row.position, row.consumed, row.earned, row.adjusted, row.skipped,
            row.ignored, row.duplicate, row.dead_lettered,
        )
        for row in partitions
    ]  # fmt: skip
    print_table(headings, rows, right=range(2, len(headings)))
