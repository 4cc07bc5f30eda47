"""What an operator may turn on a worker: the shape and its defaults. The environment is read by `cli`."""

from pydantic import BaseModel, ConfigDict, Field

_MIB = 1024 * 1024


class WorkerSettings(BaseModel):
    """The settings of one worker process; durations in seconds, sizes in bytes.

    `session_timeout_s` is how long a worker that died keeps its partitions. `rebalance_timeout_s` is how long the
    others wait for each member when the group changes; the embedded broker always waits all of it, so it gets a few
    seconds there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = "127.0.0.1:9092"
    orders_topic: str = "orders"
    # None: whoever runs the broker creates the topic. A number: the worker does, where it is missing.
    orders_topic_partitions: int | None = Field(default=None, ge=1)
    topic_replication_factor: int = Field(default=1, ge=1)
    app_id: str = "commission-ledger"

    session_timeout_s: float = Field(default=10.0, gt=0)
    heartbeat_interval_s: float = Field(default=2.0, gt=0)
    rebalance_timeout_s: float = Field(default=30.0, gt=0)
    # Without progress for this long (its database is away) a worker leaves its partitions to the others.
    progress_timeout_s: float = Field(default=300.0, gt=0)
    stop_timeout_s: float = Field(default=20.0, gt=0)

    # One transaction takes at most this much of one partition: measured, 4,000 messages book a tenth fewer a second. It
    # also bounds how long a batch keeps the lock of the log, which API calls wait for: the copy of so many rows.
    batch_messages: int = Field(default=8000, ge=1)
    batch_bytes: int = Field(default=8 * _MIB, ge=1)
    # Batches of different partitions that may be at the database at once: one is decided while another is written.
    batches_in_flight: int = Field(default=2, ge=1)
    fetch_partition_bytes: int = Field(default=4 * _MIB, ge=64 * 1024)
    fetch_bytes: int = Field(default=16 * _MIB, ge=64 * 1024)

    approval_interval_s: float = Field(default=10.0, gt=0)
    approval_limit: int = Field(default=10_000, ge=1)
    approval_chunk: int = Field(default=250, ge=1)
    # A chunk that was published but never answered for is published again after this long.
    approval_retry_s: float = Field(default=60.0, gt=0)

    # How often the list of bans is looked at, and how many commissions one transaction moves.
    ban_interval_s: float = Field(default=2.0, gt=0)
    ban_page: int = Field(default=500, ge=1)

    # How often the log is looked at for news, and how long a receiver has for its whole answer. A message is ours for
    # the lease: longer than the time-out, or two workers would send it at once.
    webhook_interval_s: float = Field(default=0.5, gt=0)
    webhook_timeout_s: float = Field(default=15.0, gt=0)
    webhook_lease_s: float = Field(default=60.0, gt=0)
    webhook_retry_days: float = Field(default=3.0, gt=0)
    webhook_disable_days: float = Field(default=5.0, gt=0)
    webhook_log_days: float = Field(default=30.0, gt=0)
    webhook_allow_private: bool = False

    health_host: str = "127.0.0.1"
    health_port: int | None = Field(default=None, ge=0, le=65_535)
