"""What an operator may set by environment. Only `cli` reads it: the others are given what they need."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

HASH_KEY_CHARACTERS_MIN = 32
# Keyed BLAKE2 takes no longer ones.
HASH_KEY_CHARACTERS_MAX = 64

HashKey = Annotated[SecretStr, Field(min_length=HASH_KEY_CHARACTERS_MIN, max_length=HASH_KEY_CHARACTERS_MAX)]
Port = Annotated[int, Field(ge=1, le=65_535)]
PortOrFree = Annotated[int, Field(ge=0, le=65_535)]
Milliseconds = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """The environment, checked; each field is a variable of the same name in capitals. Empty counts as not set.

    Durations in milliseconds. Secrets never show in a message or a log line.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, case_sensitive=False
    )

    # A PostgreSQL URI or conninfo string; secret, because it holds a password.
    database_url: SecretStr | None = None
    # Keys the hashes by which a partner's own purchases are recognised. It is part of the books: never change it.
    ledger_hash_key: HashKey | None = None

    kafka_bootstrap_servers: str | None = None
    kafka_app_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = "commission-ledger"
    kafka_session_timeout_ms: Milliseconds | None = None
    kafka_heartbeat_interval_ms: Milliseconds | None = None
    kafka_rebalance_timeout_ms: Milliseconds | None = None
    orders_topic: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")] = "orders"
    # Set: the worker creates the orders topic where it is missing. Not set: whoever runs the broker does.
    orders_topic_partitions: Annotated[int, Field(ge=1)] | None = None
    topic_replication_factor: Annotated[int, Field(ge=1)] = 1
    worker_health_host: str = "127.0.0.1"
    worker_health_port: PortOrFree | None = None

    web_host: str = "127.0.0.1"
    web_port: PortOrFree = 8000
    # The address under which others reach the web process; it stands in the links that partners get.
    public_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+(/[^\s]*)?$")] | None = None

    # Calls a second that a key may make in the long run, and at once; the same for an address whose keys are not valid.
    # In each web process.
    rate_limit_per_s: Positive = 100.0
    rate_limit_burst: Annotated[int, Field(ge=1)] = 1_000
    rate_limit_failures_per_s: Positive = 1.0
    rate_limit_failures_burst: Annotated[int, Field(ge=1)] = 60
    # Open connections of each web process; each takes a file descriptor.
    web_connections_max: Annotated[int, Field(ge=1)] = 800

    # Where mail goes: smtp://USER:PASSWORD@HOST:PORT (encrypted by STARTTLS) or smtps://...; user and password
    # percent-encoded. Or else a folder, where each letter becomes a file. Neither: no mail is sent.
    smtp_url: SecretStr | None = None
    mail_from: Annotated[str, StringConstraints(pattern=r"^[^\s@]{1,64}@[^\s@]{1,189}$")] | None = None
    mail_folder: Path | None = None

    # Webhooks may lead into the operator's own network, and need not be https. For installations whose merchants are
    # the operator's own.
    webhook_allow_private: bool = False
    # A webhook that failed for so many days without a break is switched off; its log is kept for so many.
    webhook_disable_days: Positive = 5.0
    webhook_log_days: Positive = 30.0

    log_level: Literal["debug", "info", "warning", "error"] | None = None

    # Not ours: a switch of the eventsourcing library that lets readers of the log miss events.
    postgres_enable_db_functions: str | None = None

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, level: object) -> object:
        return level.lower() if isinstance(level, str) else level

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_smtp_url(value.get_secret_value()):
            raise ValueError("must be smtp://USER:PASSWORD@HOST:PORT or smtps://...")
        return value

    @field_validator("postgres_enable_db_functions")
    @classmethod
    def _refuse(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError("must not be set: with it, the eventsourcing library loses events; unset it")
        return value


def _is_smtp_url(url: str) -> bool:
    try:
        told = urlsplit(url)
        return told.scheme in {"smtp", "smtps"} and bool(told.hostname) and told.port != 0
    except ValueError:
        return False
