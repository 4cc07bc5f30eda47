"""Order intake: drains the orders topic in batches per partition and hands them to the ledger.

Who has which partition is agreed through a Kafka consumer group. How far each partition has been read is not: that
stands in PostgreSQL, in the transaction of the events it caused. Kafka's own offsets are committed as a hint for people
who watch lag.

The rules that keep anything from being lost or doubled:

- A partition is read from behind the position that the ledger tracks for this very log (`consumers.broker`), never from
  Kafka's offset.
- `seek` happens only between two polls, so what a poll returns was fetched from where we last sought.
- After each poll the broker is asked again whether it is still the same log, before anything of it is booked.
- Each batch names the position it continues from; the ledger refuses it if that is not where the partition stands.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import IllegalStateError, KafkaError
from mode import Service

from consumers.broker import Broker, BrokerAwayError, TopicMissingError
from consumers.health import Health
from consumers.partition import Partition
from consumers.positions import Tracked, after_cut, tracked
from consumers.settings import WorkerSettings
from ledger.intake import Intake, Message, Source
from schemas.errors import RetryableError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_POLL_MS = 100
_HINT_INTERVAL_S = 1.0
# How old the newest message that is written down may look, while nothing new comes.
_NEWEST_AFRESH = timedelta(seconds=30)
_RETRY_S = 0.5
_GRACE_S = 5.0
# A poll for a partition that cannot exist keeps the member of the group alive and takes nobody's messages.
_NO_PARTITION = -1


class GroupStuckError(RetryableError):
    """The consumer group did not form, though the broker answers."""


class OrderIntake(Service):
    """The service that reads the orders topic. Started and stopped by the Faust app; one a process."""

    mundane_level = "debug"

    def __init__(
        self, settings: WorkerSettings, intake: Intake, broker: Broker, health: Health, now: Callable[[], datetime]
    ) -> None:
        super().__init__()
        self._settings, self._intake, self._broker, self._health, self._now = settings, intake, broker, health, now
        self._slots = asyncio.Semaphore(settings.batches_in_flight)
        self._consumer: AIOKafkaConsumer | None = None
        self._source_name = ""
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._partitions: dict[TopicPartition, Partition] = {}
        self._hinted: dict[TopicPartition, int] = {}
        self._commit: asyncio.Task[None] | None = None
        self._told_newest: Mapping[int, int] = {}
        self._told_newest_at: datetime | None = None
        self._cut: set[TopicPartition] = set()
        self._changed = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._ending = False

    # --- life cycle ---

    async def on_start(self) -> None:
        """Begin; returns at once, so that the app's own group forms at the same time."""
        self._main = self.add_future(self._run())  # type: ignore[assignment]

    async def on_stop(self) -> None:
        """Finish the batches at the database, tell Kafka where we are, leave the group."""
        if self._main is not None:
            # What it waits for (messages, a rebalance, the broker) is of no interest now; it tidies up after itself.
            if not self._ending:
                self._main.cancel()
            await asyncio.wait({self._main}, timeout=self._settings.stop_timeout_s)

    def facts(self) -> Mapping[str, Any]:
        """Return, for `/readyz`: each partition's position, lag and outcomes since it was assigned."""
        return {
            "source": self._source_name,
            "partitions": {str(tp.partition): self._fact(tp, partition) for tp, partition in self._partitions.items()},
        }

    def _fact(self, tp: TopicPartition, partition: Partition) -> Mapping[str, Any]:
        consumer = self._consumer
        newest = consumer.highwater(tp) if consumer is not None and tp in consumer.assignment() else None
        done = -1 if partition.tracked is None else partition.tracked
        lag = max(0, newest - 1 - done) if newest is not None else None
        return {"position": partition.tracked, "lag": lag, "outcomes": partition.counts}

    async def _run(self) -> None:
        while not self.should_stop:
            try:
                await self._one_session()
            except BrokerAwayError as error:
                self._health.down("broker", str(error))
            except TopicMissingError as error:
                self._health.up("broker")
                self._health.down("topic", str(error))
            except GroupStuckError as error:
                self._health.down("intake", str(error))
            except RetryableError as error:
                self._health.down("database", str(error))
            except (KafkaError, OSError) as error:
                self._health.down("broker", f"reading the orders topic failed: {error!r}")
            else:
                continue
            await self._pause(_RETRY_S)

    async def _one_session(self) -> None:
        # Whoever cannot reach the database has no business taking partitions from those who can.
        await self._find_source()
        await asyncio.to_thread(self._intake.position, Source(self._source_name, self._broker.topic, 0))
        self._health.up("database")
        self._health.begin("intake", "joining the consumer group")
        consumer = self._new_consumer()
        consumer.subscribe([self._broker.topic], listener=_Rebalance(self))
        hints = asyncio.create_task(self._hint_for_ever(consumer))
        try:
            await self._in_time(consumer.start())
            self._consumer = consumer
            await self._drain(consumer)
        finally:
            self._ending = True
            hints.cancel()
            await self._end_session(consumer)
            self._ending = False

    async def _end_session(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer, self._assigned = None, frozenset()
        await self._close_partitions(self._settings.stop_timeout_s / 2)
        await self._hint(consumer)
        if self._commit is not None:
            self._commit.cancel()
        await _stop_quietly(consumer)
        self._partitions.clear()
        self._hinted.clear()
        # The next session may be with another cluster.
        self._told_newest, self._told_newest_at = {}, None

    def _new_consumer(self) -> AIOKafkaConsumer:
        settings = self._settings
        return AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            client_id=f"{settings.app_id}-orders",
            group_id=f"{settings.app_id}-orders",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=_ms(settings.session_timeout_s),
            heartbeat_interval_ms=_ms(settings.heartbeat_interval_s),
            rebalance_timeout_ms=_ms(settings.rebalance_timeout_s),
            max_poll_interval_ms=_ms(settings.progress_timeout_s),
            max_partition_fetch_bytes=settings.fetch_partition_bytes,
            fetch_max_bytes=settings.fetch_bytes,
            # A storefront that publishes in transactions and aborts one did not sell anything.
            isolation_level="read_committed",
        )

    async def _in_time(self, joining: Coroutine[Any, Any, T]) -> T:
        """Return what comes of it. Raises GroupStuckError when the group does not form, which is all that it waits for.

        A new member of the group is then our best offer: the embedded broker can wait for ever for a leader that left.
        """
        settings = self._settings
        timeout_s = settings.session_timeout_s + 2 * settings.rebalance_timeout_s + _GRACE_S
        try:
            return await asyncio.wait_for(joining, timeout_s)
        except TimeoutError as error:
            raise GroupStuckError(f"the consumer group did not form within {timeout_s:g} s") from error

    async def _find_source(self) -> None:
        self._source_name = (await self._broker.log()).source
        self._health.up("broker")
        self._health.up("topic")

    async def _pause(self, seconds: float) -> None:
        self._changed.clear()
        if not self.should_stop:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)

    # --- who has which partition ---

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Take note of the partitions that are ours now. Never waits: the group is not alive until this returns."""
        self._assigned = frozenset(partitions)
        self._changed.set()

    async def revoked(self) -> None:
        """Let go of every partition: finish the batches at the database, within the time the group gives us."""
        self._assigned = frozenset()
        await self._close_partitions(self._settings.rebalance_timeout_s / 2)
        if self._consumer is not None:
            await self._hint(self._consumer)
        self._partitions.clear()
        self._hinted.clear()

    async def _close_partitions(self, timeout_s: float) -> None:
        await asyncio.gather(*(partition.close(timeout_s) for partition in self._partitions.values()))

    def _drop(self, partition: Partition) -> None:
        for tp, known in list(self._partitions.items()):
            if known is partition:
                del self._partitions[tp]
        self._changed.set()

    # --- reading ---

    async def _drain(self, consumer: AIOKafkaConsumer) -> None:
        while not self.should_stop:
            self._raise_failures()
            if unplaced := self._assigned - self._partitions.keys():
                await self._place(consumer, unplaced)
            elif self._assigned and not any(partition.has_room for partition in self._partitions.values()):
                await self._pause(_POLL_MS / 1000)
            else:
                await self._poll(consumer)

    def _raise_failures(self) -> None:
        for partition in self._partitions.values():
            if (failure := partition.failure) is not None:
                raise failure

    async def _place(self, consumer: AIOKafkaConsumer, unplaced: Collection[TopicPartition]) -> None:
        """Seek each partition to where the ledger stands. A rebalance meanwhile makes it pointless."""
        assigned = self._assigned
        try:
            if not await self._same_log():
                return
            found = {
                tp: await asyncio.to_thread(tracked, self._intake, self._source_name, tp.topic, tp.partition)
                for tp in unplaced
            }
            begins = await consumer.beginning_offsets(list(unplaced))
        except IllegalStateError:
            return
        except KafkaError as error:
            raise BrokerAwayError(f"the orders topic cannot be read: {error!r}") from error
        self._health.up("database")
        if self._assigned is assigned and not self.should_stop:
            for tp in unplaced:
                self._begin(consumer, tp, after_cut(found[tp]) if tp in self._cut else found[tp], begins[tp])
            self._health.up("intake")

    def _begin(self, consumer: AIOKafkaConsumer, tp: TopicPartition, found: Tracked, begin: int) -> None:
        following = begin if found.position is None else found.position + 1
        if following < begin:
            _log_expired(tp, following, begin)
            following = begin
        consumer.seek(tp, following)
        self._cut.discard(tp)
        self._partitions[tp] = Partition(
            found,
            following,
            intake=self._intake,
            health=self._health,
            slots=self._slots,
            now=self._now,
            batch_messages=self._settings.batch_messages,
            batch_bytes=self._settings.batch_bytes,
            on_moved=self._drop,
            on_room=self._changed.set,
        )
        _log.info("reading", partition=_name(tp), source=found.source.source, from_position=following)

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        # Never cancelled: aiokafka's bookkeeping of who still polls does not survive that.
        open_for = {tp: partition for tp, partition in self._partitions.items() if partition.has_room}
        wanted = list(open_for) or [TopicPartition(self._broker.topic, _NO_PARTITION)]
        fetched = await self._in_time(
            consumer.getmany(*wanted, timeout_ms=_POLL_MS, max_records=self._settings.batch_messages)
        )
        if fetched and await self._same_log():
            for tp, records in fetched.items():
                partition = self._partitions.get(tp)
                if partition is not None and partition is open_for.get(tp):
                    await self._accept(consumer, tp, partition, records)

    async def _same_log(self) -> bool:
        """Return whether this is still the log that our positions speak of; if not, partitions are placed anew."""
        while not self.should_stop and self._assigned:
            try:
                name = (await self._broker.log()).source
            except RetryableError as error:
                self._health.down("topic" if isinstance(error, TopicMissingError) else "broker", str(error))
                await self._pause(_RETRY_S)
                continue
            self._health.up("broker")
            self._health.up("topic")
            if name == self._source_name:
                return True
            _log.warning("the orders topic is another one now", was=self._source_name, source=name)
            await self._close_partitions(self._settings.stop_timeout_s / 2)
            self._partitions.clear()
            self._hinted.clear()
            self._source_name = name
        return False

    async def _accept(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, partition: Partition, records: Sequence[ConsumerRecord]
    ) -> None:
        first = records[0].offset
        if first < partition.expected:
            # Only aiokafka's own reset to the beginning goes back: our position is beyond the end of the log. (To ask
            # for the end would not do: a broker that is not quite Kafka tells the beginning of its last batch.)
            _log.error("the log was cut off before our position", partition=_name(tp), expected=partition.expected)
            await partition.close(self._settings.stop_timeout_s / 2)
            self._cut.add(tp)
            self._drop(partition)
            return
        if first > partition.expected:
            # Gaps are common (control records, compaction); a beginning behind us is not.
            begin = (await consumer.beginning_offsets([tp]))[tp]
            if begin > partition.expected:
                _log_expired(tp, partition.expected, begin)
        if self._partitions.get(tp) is partition:
            partition.offer([Message(r.offset, r.value, r.key, r.headers) for r in records])

    # --- hints ---

    async def _hint_for_ever(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            await asyncio.sleep(_HINT_INTERVAL_S)
            await self._hint(consumer)
            await self._tell_newest(consumer)

    async def _hint(self, consumer: AIOKafkaConsumer) -> None:
        """Commit our positions to Kafka, for those who watch lag there. Nothing depends on it: failing is no news."""
        offsets = {tp: p.tracked + 1 for tp, p in self._partitions.items() if p.tracked is not None}
        changed = {tp: offset for tp, offset in offsets.items() if self._hinted.get(tp) != offset}
        if changed and self._commit is None:
            self._commit = asyncio.create_task(self._commit_offsets(consumer, changed))
        if self._commit is not None:
            # Not cancelled when it takes longer: what aiokafka began would end later, with nobody to take its error.
            await asyncio.wait({self._commit}, timeout=_HINT_INTERVAL_S)

    async def _tell_newest(self, consumer: AIOKafkaConsumer) -> None:
        """Write down what the broker has, for those who watch lag at the ledger: what changed, and the rest seldom."""
        ends = {tp: consumer.highwater(tp) for tp in self._partitions if tp in consumer.assignment()}
        newest = {tp.partition: end - 1 for tp, end in ends.items() if end}
        now = self._now()
        is_old = self._told_newest_at is None or now - self._told_newest_at >= _NEWEST_AFRESH
        if not newest or (newest == self._told_newest and not is_old):
            return
        with suppress(RetryableError):
            await asyncio.to_thread(self._intake.saw, self._source_name, self._broker.topic, newest, now)
            self._told_newest, self._told_newest_at = newest, now

    async def _commit_offsets(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        try:
            await consumer.commit(offsets)
            self._hinted.update(offsets)
        except (KafkaError, OSError, ValueError) as error:
            _log.debug("the offsets were not committed to Kafka", reason=repr(error))
        finally:
            self._commit = None


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]
    """What the group tells us; aiokafka calls it, and waits for `revoked` while it keeps us alive in the group."""

    def __init__(self, intake: OrderIntake) -> None:
        self._intake = intake

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Pass on that nothing is ours any more."""
        del revoked
        await self._intake.revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pass on what is ours now."""
        self._intake.assigned(assigned)


async def _stop_quietly(consumer: AIOKafkaConsumer) -> None:
    # Leaving the group is a courtesy; a broker that is away does not hear it, and aiokafka would wait for it.
    with suppress(KafkaError, OSError, TimeoutError):
        await asyncio.wait_for(consumer.stop(), 5.0)


def _log_expired(tp: TopicPartition, expected: int, begin: int) -> None:
    _log.error(
        "messages expired unread: the topic keeps them for too short a time",
        partition=_name(tp),
        first_lost=expected,
        lost=begin - expected,
    )


def _name(tp: TopicPartition) -> str:
    return f"{tp.topic}/{tp.partition}"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
