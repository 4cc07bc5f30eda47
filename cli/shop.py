"""What the demo's storefront sells, and what goes wrong there: refunds, cancellations, disputes, sloppy messages."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import orjson

from cli.demo import MERCHANT_ID, PARTNERS

CUSTOMERS = 400
_FIRST_NAMES = ("Kim", "Sam", "Noa", "Ida", "Leo", "Mia", "Tom", "Eva", "Ben", "Zoe", "Ali", "Uma")
_LAST_NAMES = ("Park", "Silva", "Weber", "Okafor", "Rossi", "Novak", "Tanaka", "Larsen", "Moreau", "Khan")
_GOODS = (("mug", "Mug, blue", "12.50"), ("tee", "T-shirt", "24.00"), ("bag", "Tote bag", "18.90"),
          ("pot", "Tea pot", "49.00"), ("set", "Gift set", "89.00"), ("rug", "Small rug", "129.00"))  # fmt: skip
_TAX = Decimal("0.08")
_CENT = Decimal("0.01")

# What becomes of how many of 100 orders; the others just stand.
_REFUNDED, _RETURNED, _CANCELLED, _DISPUTED, _SENT_TWICE = 5, 3, 3, 1, 3
_WITH_CODE, _FOREIGN_CODE = 60, 5


class Post(NamedTuple):
    """A message, and when it is sent."""

    at: datetime
    key: bytes
    value: bytes


class Shop:
    """Plans the life of one order at a time. `run` makes the ids of one run different from those of all others."""

    def __init__(self, random: Random, run: str) -> None:
        self._random, self._run = random, run
        self._count = 0

    def order(self, at: datetime, later: timedelta) -> Iterator[Post]:
        """Yield the messages of a new order placed at that instant; what follows, follows within `later`."""
        self._count += 1
        order_id = f"{self._run}-{self._count:05}"
        placed = self._placed(order_id, at)
        yield _post(at, placed)
        if self._chance(1) and self._chance(50):
            yield Post(at, b"", orjson.dumps(placed)[: self._random.randrange(20, 120)])
        yield from self._afterwards(placed, at, later)

    def _placed(self, order_id: str, at: datetime) -> dict[str, Any]:
        goods = self._random.choices(_GOODS, k=self._random.randint(1, 3))
        net = sum((Decimal(price) for _, _, price in goods), Decimal(0))
        tax = (net * _TAX).quantize(_CENT)
        customer = self._random.randrange(CUSTOMERS)
        return {
            **_about("order.placed", f"{order_id}-placed", order_id, at),
            "currency": "USD",
            "total": str(net + tax),
            "tax": str(tax),
            "customer": _customer(customer),
            "items": [{"sku": sku, "name": name, "quantity": 1, "total": price} for sku, name, price in goods],
            **self._code(),
        }

    def _code(self) -> dict[str, str]:
        throw = self._random.randrange(100)
        if throw < _WITH_CODE:
            partner = self._random.choices(PARTNERS, weights=[partner.weight for partner in PARTNERS])[0]
            return {"coupon_code": partner.code if throw % 4 else partner.code.lower()}
        return {"coupon_code": "WELCOME"} if throw < _WITH_CODE + _FOREIGN_CODE else {}

    def _afterwards(self, placed: dict[str, Any], at: datetime, later: timedelta) -> Iterator[Post]:
        order_id, total = placed["order_id"], Decimal(placed["total"])
        when = at + later * self._random.uniform(0.05, 0.7)
        if self._chance(_SENT_TWICE):
            yield Post(at + later / 50, _key(order_id), orjson.dumps(placed))
        if self._chance(_REFUNDED):
            amount = (total * Decimal(self._random.randrange(10, 60)) / 100).quantize(_CENT)
            yield _refund(order_id, "r-1", when, amount, "one piece was broken")
        elif self._chance(_RETURNED):
            yield _refund(order_id, "r-1", when, total, "sent back")
        elif self._chance(_CANCELLED):
            yield _post(
                when, _about("order.cancelled", f"{order_id}-cancelled", order_id, when) | {"reason": "out of stock"}
            )
        elif self._chance(_DISPUTED):
            yield _post(
                when, _about("order.disputed", f"{order_id}-disputed", order_id, when) | {"reason": "not recognised"}
            )
            won = when + later * 0.25
            yield _post(won, _about("order.dispute_won", f"{order_id}-won", order_id, won))

    def _chance(self, per_cent: int) -> bool:
        return self._random.randrange(100) < per_cent


def _about(kind: str, event_id: str, order_id: str, at: datetime) -> dict[str, Any]:
    told = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return {"type": kind, "event_id": event_id, "merchant_id": MERCHANT_ID, "order_id": order_id, "occurred_at": told}


def _refund(order_id: str, refund_id: str, at: datetime, amount: Decimal, reason: str) -> Post:
    told = {"currency": "USD", "refund_id": refund_id, "amount": str(amount), "reason": reason}
    return _post(at, _about("order.refunded", f"{order_id}-{refund_id}", order_id, at) | told)


def _customer(number: int) -> dict[str, str]:
    first, last = _FIRST_NAMES[number % len(_FIRST_NAMES)], _LAST_NAMES[number % len(_LAST_NAMES)]
    return {"id": f"c-{number}", "email": f"customer{number}@shoppers.example", "name": f"{first} {last}"}


def _post(at: datetime, told: dict[str, Any]) -> Post:
    return Post(at, _key(told["order_id"]), orjson.dumps(told))


def _key(order_id: str) -> bytes:
    return f"{MERCHANT_ID}/{order_id}".encode()
