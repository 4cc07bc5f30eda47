"""The options that commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA = Path("data")

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        file_okay=False,
        help="The folder of the embedded stack. Left out: DATABASE_URL, else ./data where `up` made one.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, for programs.")]

# How `up` marks its own processes; see `cli.leash`.
ChildOf = Annotated[Path | None, typer.Option("--child-of", metavar="DIR", hidden=True)]
