"""A storefront that publishes orders from a seed: everything that real ones do, and every mistake that they make.

`Storefront(seed, program).take(n)` gives the next n messages. The life of an order is planned when it begins, and its
later messages are spread among those of other orders. One seed and program always give the same messages, byte for
byte, however they are taken; the oracle says what must come of them.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import IO, NamedTuple

from tests.support.oracle import Message
from tests.support.oracle_program import BEGINNING, Merchant, Partner, Rate, held_by
from tests.support.storefront_orders import PLANS, Order, Shop

# An order's next message comes after at most so many steps (a step begins one order).
SPREAD_STEPS = 300
# Plans of one message, whatever happens to others: only these may go to any partition without changing the books.
_LONELY = frozenset({"plain", "no_code", "foreign_code", "garbage", "unknown_merchant"})


class Outgoing(NamedTuple):
    """One message to publish."""

    key: bytes | None
    value: bytes


class Storefront:
    """The messages of a seed, without end. `counts` says how many orders led which life so far.

    `loose_keys` is the share of messages without a key among those whose partition cannot matter to the books.
    """

    def __init__(self, seed: int, program: Sequence[Merchant], *, loose_keys: float = 0.02) -> None:
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self._random = Random(f"storefront {seed}").random
        codes = [code for merchant in program for code in merchant.codes]
        self._shops = [Shop(merchant, codes) for merchant in program]
        self._lives = [plan for plan in PLANS for _ in range(plan.weight)]
        self._loose_keys = loose_keys
        self._step = 0
        self._ready: deque[Outgoing] = deque()
        self._later: defaultdict[int, list[Outgoing]] = defaultdict(list)

    def take(self, count: int) -> list[Outgoing]:
        """Return the next `count` messages."""
        ready, later = self._ready, self._later
        while len(ready) < count:
            self._step += 1
            if self._step in later:
                ready.extend(later.pop(self._step))
            self._begin()
        return [ready.popleft() for _ in range(count)]

    def rest(self) -> list[Outgoing]:
        """Return what is still to be told of the orders that were begun, so that each life is whole."""
        left = list(self._ready)
        for step in sorted(self._later):
            left += self._later[step]
        self._ready.clear()
        self._later.clear()
        return left

    def _begin(self) -> None:
        """Begin an order: its first message is ready, the others come later, in their order."""
        random = self._random
        shop = self._shops[int(random() * len(self._shops))]
        order = Order(shop, f"s{self.seed}-{self._step}", self._step, random)
        name, _, messages = self._lives[int(random() * len(self._lives))]
        self.counts[name] += 1
        key: bytes | None = f"{shop.merchant_id}/{order.order_id}".encode()
        if name in _LONELY and random() < self._loose_keys:
            key = None
        first, *others = messages(order)
        self._ready.append(Outgoing(key, first))
        step = self._step
        for value in others:
            step += 1 + int(random() * SPREAD_STEPS)
            self._later[step].append(Outgoing(key, value))


def lay_out(
    outgoing: Iterable[Outgoing], partitions: int, *, topic: str = "orders", source: str = "cluster"
) -> list[Message]:
    """Return the messages as they would lie in a topic of so many partitions, in the order of sending."""
    offsets = [0] * partitions
    messages = []
    for number, (key, value) in enumerate(outgoing):
        partition = (number if key is None else zlib.crc32(key)) % partitions
        messages.append(Message(topic, partition, offsets[partition], value, source))
        offsets[partition] += 1
    return messages


# --- a program to sell for --------------------------------------------------------------------------------------------


def sample_program() -> list[Merchant]:
    """Return four merchants that between them have every kind of terms, rate, standing and code."""
    return [
        _merchant("acme", "USD", approval="manual"),
        _merchant("bolt", "EUR", base="net_of_tax", approval="immediate", time_zone="Europe/Berlin"),
        _merchant("koi", "JPY", base="net_of_tax_and_shipping", approval="after_days", approve_after_days=14),
        _merchant("dune", "KWD", fixed_on_partial_refund="pro_rata", time_zone="Asia/Kuwait"),
    ]


def _merchant(merchant_id: str, currency: str, **terms: str | int) -> Merchant:
    spring, summer, autumn = (datetime(2026, month, 1, tzinfo=UTC) for month in (4, 7, 10))
    always = ((BEGINNING, "approved"),)
    ten = (Rate(BEGINNING, "percentage", "10"),)
    partners = (
        Partner("jane", ten, email="Jane@partners.example"),
        Partner("omar", (*ten, Rate(spring, "percentage", "12.5"), Rate(autumn, "percentage", "7.25"))),
        Partner("fixed", (Rate(BEGINNING, "fixed", "5"), Rate(summer, "percentage", "33.33"))),
        Partner("paused", ten, (*always, (spring, "paused"), (summer, "approved"))),
        Partner("banned", ten, (*always, (autumn, "banned"))),
        Partner("applied", ten, ((BEGINNING, "applied"), (summer, "approved"))),
        Partner("rejected", ten, ((BEGINNING, "rejected"),)),
    )
    codes = {f"{partner.partner_id.upper()}10": held_by(partner.partner_id) for partner in partners}
    codes["JANE-VIP"] = held_by("jane")
    codes["SHARED"] = ((spring, "jane"), (summer, "omar"), (autumn, None))
    return Merchant(merchant_id, currency, partners, codes, **terms)


# --- the history of what was sent -------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """One line of a history: what was sent, and where the broker said that it lies (None: no answer came)."""

    outgoing: Outgoing
    place: tuple[str, int, int] | None


class History:
    """A file of what a producer sent, written **before** it is sent, so that no crash can hide a message.

    It is flushed, not synced: the producer may be killed at any moment, the machine under it stays up.
    """

    def __init__(self, path: Path) -> None:
        _cut_torn_line(path)
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def sending(self, first: int, batch: Sequence[Outgoing]) -> None:
        """Note that the batch is about to be sent; its messages have the numbers `first`, `first + 1` and so on."""
        for number, (key, value) in enumerate(batch, start=first):
            text = None if key is None else key.decode("latin-1")
            self._file.write(json.dumps({"n": number, "key": text, "value": value.decode("latin-1")}) + "\n")
        self._file.flush()

    def acked(self, number: int, topic: str, partition: int, offset: int) -> None:
        """Note where the broker said that the message lies."""
        self._file.write(json.dumps({"n": number, "at": [topic, partition, offset]}) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _cut_torn_line(path: Path) -> None:
    """Take off a last line that a killed producer did not finish: its message was never sent."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def read_history(path: Path) -> dict[int, Sent]:
    """Return what was sent, by number. A last line that was cut off (its producer was killed) was never sent."""
    sent: dict[int, Sent] = {}
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        told = json.loads(line)
        if "at" in told:
            topic, partition, offset = told["at"]
            sent[told["n"]] = sent[told["n"]]._replace(place=(topic, partition, offset))
        else:
            key = None if told["key"] is None else told["key"].encode("latin-1")
            sent[told["n"]] = Sent(Outgoing(key, told["value"].encode("latin-1")), None)
    return sent
