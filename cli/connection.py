"""Where the books are: a database that the environment names, or the embedded one in a folder."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from cli.data_folder import DATABASE, DataFolder
from cli.embedded import EmbeddedPostgres
from cli.embedded.postgres import running_url
from cli.failures import UsageError
from cli.options import DEFAULT_DATA
from ledger.application import Ledger
from ledger.schema import migrate
from projections.schema import ensure
from schemas.errors import RetryableError
from schemas.payout_settings import PayoutSettings
from schemas.settings import Settings

_CONNECT_TIMEOUT_S = 5

_Settings = TypeVar("_Settings", bound=BaseSettings)


def read_settings() -> Settings:
    """Return the settings of the environment. Raises UsageError that names the variables at fault, not their values."""
    return _read(Settings)


def read_payout_settings() -> PayoutSettings:
    """Return what the environment says of payouts. Raises UsageError as `read_settings` does."""
    return _read(PayoutSettings)


def _read(settings: type[_Settings]) -> _Settings:
    try:
        return settings()
    except ValidationError as error:
        faults = (f"{str(fault['loc'][0]).upper()}: {_reason(fault['msg'])}" for fault in error.errors())
        raise UsageError("; ".join(faults)) from None


class Books:
    """The database that a command works on, and what belongs to it."""

    def __init__(self, database_url: str, settings: Settings, folder: DataFolder | None) -> None:
        self.database_url = database_url
        self.settings = settings
        self._folder = folder

    @property
    def hash_key(self) -> bytes:
        """The key of the e-mail hashes. Raises UsageError where the environment has none."""
        if self._folder is not None:
            return self._folder.hash_key()
        if self.settings.ledger_hash_key is None:
            raise UsageError("LEDGER_HASH_KEY is not set: the key of the e-mail hashes, which is part of the books")
        return self.settings.ledger_hash_key.get_secret_value().encode()

    @property
    def payout_settings(self) -> PayoutSettings:
        """What the environment says of payouts; an embedded installation has a key of its own for payout details.

        Raises UsageError that names the variables at fault.
        """
        told = read_payout_settings()
        if told.payout_details_keys or self._folder is None:
            return told
        return told.model_copy(update={"payout_details_keys": (SecretStr(self._folder.payout_details_key()),)})

    @property
    def bootstrap_servers(self) -> str:
        """The broker's addresses. Raises UsageError where none is named, RetryableError where `up` does not run."""
        if self._folder is None:
            if self.settings.kafka_bootstrap_servers is None:
                raise UsageError("KAFKA_BOOTSTRAP_SERVERS is not set: HOST:PORT of the broker, several with commas")
            return self.settings.kafka_bootstrap_servers
        running = self._folder.running()
        if running is None:
            raise RetryableError(f"no broker: `commission-ledger up --data {self._folder.path}` does not run")
        return running.bootstrap_servers

    @property
    def public_url(self) -> str:
        """The address under which others reach the web process, without a slash at its end."""
        running = None if self._folder is None else self._folder.running()
        here = running.web_url if running else f"http://{self.settings.web_host}:{self.settings.web_port}"
        return (self.settings.public_url or here).rstrip("/")

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Lend the write side. It connects when it is used, so a database that is away is met only then."""
        ledger = Ledger(self.database_url, hash_key=self.hash_key)
        try:
            yield ledger
        finally:
            ledger.close()

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        """Return a new connection in autocommit mode; raises psycopg.OperationalError where nobody answers."""
        return psycopg.connect(self.database_url, autocommit=True)


@contextmanager
def books(data: Path | None) -> Iterator[Books]:
    """Yield the books: those in `data`, else those of DATABASE_URL, else those in ./data where there are some.

    An embedded server that does not run yet is started for as long as we are inside. Raises UsageError, EmbeddedError.
    """
    settings = read_settings()
    if data is None and settings.database_url is not None:
        yield Books(checked_url(settings.database_url.get_secret_value()), settings, None)
        return
    folder = DataFolder(data or DEFAULT_DATA)
    if data is None and not folder.has_books:
        raise UsageError("which database? Set DATABASE_URL, or name the folder of an embedded one: --data DIR")
    with ExitStack() as stack:
        url = running_url(folder.path, DATABASE)
        if url is None:
            folder.create()
            folder.hash_key()  # before there are books: they would miss theirs
            url = stack.enter_context(EmbeddedPostgres(folder.path)).database(DATABASE)
            bring_up_to_date(url)
        yield Books(url, settings, folder)


def bring_up_to_date(database_url: str) -> list[str]:
    """Migrate the database, create what is missing of the read models; returns those that have to be rebuilt."""
    # Connected first: that nobody answers is then told as it always is.
    with psycopg.connect(database_url, autocommit=True) as connection:
        migrate(database_url)
        return ensure(connection)


def checked_url(url: str) -> str:
    """Return the address with a limit to how long connecting may take. Raises UsageError that does not repeat it."""
    try:
        told = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise UsageError(
            "DATABASE_URL must be postgresql://USER:PASSWORD@HOST:PORT/NAME or a conninfo string"
        ) from None
    if "connect_timeout" in told or os.environ.get("PGCONNECT_TIMEOUT"):
        return url
    return make_conninfo(url, connect_timeout=_CONNECT_TIMEOUT_S)


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input ")
