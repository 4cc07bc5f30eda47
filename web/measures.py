"""Prometheus' view: request times by route, and what the books say of intake, read models and dead letters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OUTCOMES = ("earned", "adjusted", "skipped", "ignored", "duplicate", "dead_lettered")

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PARTITION = ("source", "topic", "partition")


class Measures:
    """One registry per application, so that two in one process do not count into each other."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.request_s = Histogram(
            "commission_ledger_request_seconds",
            "How long requests took, by the route's pattern.",
            ("method", "route", "status"),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )


MEASURES = web.AppKey("measures", Measures)


@dataclass(frozen=True, kw_only=True)
class PartitionCounts:
    """How far a partition was read, and how its messages ended."""

    source: str
    topic: str
    partition: int
    position: int
    lag: int | None
    outcomes: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class BooksSample:
    """What the database said when it was asked; nothing but `up` where it did not answer."""

    up: bool
    head: int = 0
    tracked: int = 0
    open_dead_letters: int = 0
    webhooks_waiting: int = 0
    webhooks_failing: int = 0
    payout_findings: Mapping[str, int] = field(default_factory=dict)
    partitions: Sequence[PartitionCounts] = field(default_factory=tuple)


class _Books:
    """Shows one sample to one scrape."""

    def __init__(self, sample: BooksSample) -> None:
        self._sample = sample

    def collect(self) -> Iterator[Metric]:
        """Yield the sample's metrics; called by the library."""
        sample = self._sample
        yield _gauge("database_up", "1 while the database answers.", float(sample.up))
        if not sample.up:
            return
        yield _gauge("log_position", "The position of the newest event.", sample.head)
        yield _gauge("read_models_position", "The position that the read models have reached.", sample.tracked)
        yield _gauge("read_models_lag_events", "How many positions they are behind.", sample.head - sample.tracked)
        yield _gauge("dead_letters_open", "Messages that were refused and not yet resolved.", sample.open_dead_letters)
        yield _gauge("webhook_deliveries_waiting", "What webhooks are yet to be told.", sample.webhooks_waiting)
        yield _gauge(
            "webhooks_failing", "Webhooks whose last attempt failed, and that are on.", sample.webhooks_failing
        )
        findings = GaugeMetricFamily(
            "commission_ledger_payout_findings_open",
            "What does not agree between payouts and their providers.",
            labels=("rail",),
        )
        for rail, count in sample.payout_findings.items():
            findings.add_metric((rail,), count)
        yield findings
        yield from self._intake()

    def _intake(self) -> Iterator[Metric]:
        position = GaugeMetricFamily(
            "commission_ledger_intake_position", "The last message that was read.", labels=_PARTITION
        )
        messages = CounterMetricFamily(
            "commission_ledger_intake_messages", "Messages by how they ended.", labels=(*_PARTITION, "outcome")
        )
        lag = GaugeMetricFamily(
            "commission_ledger_intake_lag_messages",
            "What the broker had and was not accounted for when a worker last looked.",
            labels=_PARTITION,
        )
        for row in self._sample.partitions:
            labels = (row.source, row.topic, str(row.partition))
            position.add_metric(labels, row.position)
            if row.lag is not None:
                lag.add_metric(labels, row.lag)
            for outcome, count in row.outcomes.items():
                messages.add_metric((*labels, outcome), count)
        yield position
        yield lag
        yield messages


def exposition(measures: Measures, sample: BooksSample) -> bytes:
    """Return everything in Prometheus' text format."""
    books = CollectorRegistry()
    books.register(_Books(sample))
    return generate_latest(measures.registry) + generate_latest(books)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"commission_ledger_{name}", help_text, value=value)
