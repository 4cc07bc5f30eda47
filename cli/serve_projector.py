"""`projector`: keeps the read models at the head of the log."""

import signal
from threading import Event

import psycopg
import structlog
import typer
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from cli import leash
from cli.connection import books
from cli.logs import configure
from cli.options import ChildOf, Data
from projections.runner import Projector

_log = structlog.get_logger(__name__)

app = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@app.command()
def projector(*, data: Data = None, child_of: ChildOf = None) -> None:
    """Keep the read models at the head of the log; a second one waits to take over."""
    leash.wear(child_of)
    with books(data) as found:
        configure(found.settings.log_level or "info")
        running = _Stoppable(found.database_url)
        set_on_retry_hooks([running.retrying])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: running.stop())
        _log.info("projector started")
        running.run()
        _log.info("projector stopped", position=running.position)


class _Stoppable(Projector):
    """A projector that also stops while it waits for a database that is away."""

    def __init__(self, database_url: str) -> None:
        super().__init__(database_url)
        self._asked = Event()

    def stop(self) -> None:
        """Ask it to return."""
        self._asked.set()
        super().stop()

    def retrying(self, details: RetryDetails) -> None:
        """Tell that the database is away, once (each further try would be a line), and leave when asked to stop."""
        if self._asked.is_set():
            raise psycopg.OperationalError("stopped while the database was away")
        if details.retry_num == 1:
            reason = " ".join(str(details.caused_by).split())
            _log.warning("the database does not answer, trying again until it does", error=reason)
