"""`projector`: keeps the read models at the head of the log."""

import signal

import stamina.instrumentation
import structlog
import typer

from cli import leash
from cli.connection import books
from cli.logs import configure
from cli.options import ChildOf, Data
from projections.runner import Projector

_log = structlog.get_logger(__name__)

app = typer.Typer()


def _tell_once(details: stamina.instrumentation.RetryDetails) -> None:
    """Tell that the database is away when it is met first; each further try would be a line otherwise."""
    if details.retry_num == 1:
        _log.warning("the database does not answer, trying again until it does", error=str(details.caused_by).strip())


@app.command()
def projector(*, data: Data = None, child_of: ChildOf = None) -> None:
    """Keep the read models at the head of the log; a second one waits to take over."""
    leash.wear(child_of)
    with books(data) as found:
        configure(found.settings.log_level or "info")
        stamina.instrumentation.set_on_retry_hooks([_tell_once])
        running = Projector(found.database_url)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: running.stop())
        _log.info("projector started")
        running.run()
        _log.info("projector stopped", position=running.position)
