"""What a storefront's orders say: their messages, and the lives that orders lead (`PLANS`), mistakes included.

Strings are put together by hand instead of by `json`: benches and chaos tests must not wait for their storefront.
No message holds a line break, so that `kcat` can publish them line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from tests.support.oracle_program import Merchant
from tests.support.oracle_reading import BYTES_MAX, EXPONENTS

T = TypeVar("T")

STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
DAY_S = 86_400
SPAN_S = 365 * DAY_S
CUSTOMERS = 5_000

_DAYS = [(STARTED_AT + timedelta(days=day)).date().isoformat() for day in range(2 * 365)]
_MINUTES = [f"T{minute // 60:02d}:{minute % 60:02d}:" for minute in range(1440)]
_EXTRAS = (
    ',"metadata":{"channel":"web","note":"gift \\u2013 wrapped"}',
    ',"items":[{"sku":"cd-1","name":"Caf\\u00e9 del Mar","quantity":1,"total":3},{"sku":"cd-2"}]',
    ',"loyalty_points":12.5,"future":{"nested":[1,2,null]}',
)


def money(minor: int, currency: str) -> str:
    """Return the amount as storefronts write it: `(1000, "USD")` is `10.00`."""
    digits = EXPONENTS[currency]
    if not digits:
        return str(minor)
    whole, fraction = divmod(minor, 10**digits)
    return f"{whole}.{fraction:0{digits}d}"


def instant(at_s: int) -> str:
    """Return the instant so many seconds after STARTED_AT, as storefronts write it."""
    day, second = divmod(at_s, DAY_S)
    minute, second = divmod(second, 60)
    return f"{_DAYS[day]}{_MINUTES[minute]}{second:02d}Z"


def elsewhere(at_s: int) -> str:
    """Return the same instant as a storefront two hours east of Greenwich writes it."""
    return f"{instant(at_s + 7200)[:-1]}+02:00"


class Shop:
    """A merchant as its storefront sees it, with everything that can be written down beforehand."""

    def __init__(self, merchant: Merchant, all_codes: Iterable[str]) -> None:
        self.merchant_id = merchant.merchant_id
        others = sorted({"USD", "EUR", "JPY", "KWD"} - {merchant.currency})
        self.currencies = (merchant.currency,) * 17 + tuple(others)
        self.codes = [spelt for code in merchant.codes for spelt in (code, code, code.lower(), f"  {code.title()} ")]
        self.foreign_codes = ["NOSUCH", *sorted(set(all_codes) - set(merchant.codes))]
        self.customers = [_customer(self.merchant_id, number) for number in range(CUSTOMERS)]
        emails = {partner.partner_id: partner.email for partner in merchant.partners if partner.email}
        self.own_orders = [
            (code, f',"customer":{{"id":"own-{code}","email":"  {emails[holder].upper()}"}}')
            for code, history in merchant.codes.items()
            for _, holder in history
            if holder in emails
        ]
        self.edges = _edges(merchant)


def _customer(merchant_id: str, number: int) -> str:
    email = f"kim{number}@{merchant_id}.example"
    return f',"customer":{{"id":"c-{number}","email":"{email}","name":"Kim \\u00d8 {number}"}}'


def _edges(merchant: Merchant) -> list[int]:
    """Return the seconds right before, at and after each change of a rate, a standing or a code's holder."""
    histories: list[tuple] = list(merchant.codes.values())
    for partner in merchant.partners:
        histories += [partner.rates, partner.standings]
    changes = [entry[0] for history in histories for entry in history if entry[0] > STARTED_AT]
    return [int((at - STARTED_AT).total_seconds()) + nudge for at in changes for nudge in (-1, 0, 1)]


class Order:
    """An order that is being told: what its messages have in common."""

    def __init__(self, shop: Shop, order_id: str, number: int, random: Callable[[], float]) -> None:
        self.shop, self.order_id, self.number, self.random = shop, order_id, number, random
        self.currency = self.pick(shop.currencies)
        # At least four minor units, so that every plan can split it.
        self.total = 4 + int(random() ** 3 * 60_000)
        at_edge = shop.edges and random() < 0.03
        self.at_s = self.pick(shop.edges) if at_edge else int(random() * SPAN_S)
        self.at = instant(self.at_s)
        self.code: str | None = self.pick(shop.codes)
        self.customer = self.pick(shop.customers)
        self.extra = self.pick(_EXTRAS) if random() < 0.06 else ""
        self.taxed = random() < 0.12
        self.ids = f'","merchant_id":"{shop.merchant_id}","order_id":"{order_id}","occurred_at":"'

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices."""
        return choices[int(self.random() * len(choices))]

    def placed(self, telling: str = "p") -> bytes:
        """Return the message that the order was placed, as it stands now; `telling` makes its event id."""
        currency, total = self.currency, self.total
        code = f',"coupon_code":"{self.code}"' if self.code else ""
        taxes = ""
        if self.taxed:
            tax, shipping = money(total // 6, currency), money(total // 20, currency)
            taxes = f',"tax":"{tax}","shipping":"{shipping}","discount":0'
        return (
            f'{{"type":"order.placed","event_id":"{telling}-{self.order_id}{self.ids}{self.at}",'
            f'"currency":"{currency}","total":"{money(total, currency)}"{taxes}{code}{self.customer}{self.extra}}}'
        ).encode()

    def refunded(self, refund_id: str, minor: int, currency: str = "", days: int = 3) -> bytes:
        """Return the message that `minor` units were given back, so many days after the order."""
        currency = currency or self.currency
        given = f',"currency":"{currency}","refund_id":"{refund_id}","amount":"{money(minor, currency)}"}}'
        return self._fact("refunded", f"f-{refund_id}", days)[:-1] + given.encode()

    def cancelled(self, event_id: str = "x", days: int = 4) -> bytes:
        """Return the message that the order was cancelled."""
        return self._fact("cancelled", event_id, days)

    def disputed(self, event_id: str = "d", days: int = 20) -> bytes:
        """Return the message that the customer disputes the payment."""
        return self._fact("disputed", event_id, days)

    def dispute_won(self, event_id: str = "w", days: int = 30) -> bytes:
        """Return the message that the merchant won the dispute."""
        return self._fact("dispute_won", event_id, days)

    def _fact(self, kind: str, event_id: str, days: int) -> bytes:
        at = instant(self.at_s + days * DAY_S)
        return f'{{"type":"order.{kind}","event_id":"{event_id}-{self.order_id}{self.ids}{at}"}}'.encode()


# --- the lives that orders lead ---------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """A life: its weight (about how many of 1,000 orders lead it), and its messages in the order of sending."""

    name: str
    weight: int
    messages: Callable[[Order], list[bytes]]


PLANS: list[Plan] = []


def _plan(weight: int) -> Callable[[Callable[[Order], list[bytes]]], Callable[[Order], list[bytes]]]:
    def keep(function: Callable[[Order], list[bytes]]) -> Callable[[Order], list[bytes]]:
        PLANS.append(Plan(function.__name__.lstrip("_"), weight, function))
        return function

    return keep


@_plan(505)
def _plain(order: Order) -> list[bytes]:
    return [order.placed()]


@_plan(120)
def _no_code(order: Order) -> list[bytes]:
    order.code = None
    return [order.placed()]


@_plan(20)
def _foreign_code(order: Order) -> list[bytes]:
    order.code = order.pick(order.shop.foreign_codes)
    return [order.placed()]


@_plan(5)
def _no_code_and_refunded(order: Order) -> list[bytes]:
    order.code = None
    return [order.placed(), order.placed("again"), order.refunded("r1", order.total)]


@_plan(5)
def _zero_total(order: Order) -> list[bytes]:
    order.total = 0
    return [order.placed(), order.cancelled()]


@_plan(10)
def _self_referral(order: Order) -> list[bytes]:
    if order.shop.own_orders:
        order.code, order.customer = order.pick(order.shop.own_orders)
    return [order.placed(), order.refunded("r1", 1)]


@_plan(60)
def _partly_refunded(order: Order) -> list[bytes]:
    return [order.placed(), order.refunded("r1", 1 + int(order.random() * (order.total - 1)))]


@_plan(30)
def _fully_refunded(order: Order) -> list[bytes]:
    return [order.placed(), order.refunded("r1", order.total)]


@_plan(25)
def _refunded_in_three_parts(order: Order) -> list[bytes]:
    part = order.total // 3
    last = order.refunded("r3", order.total - 2 * part)
    return [order.placed(), order.refunded("r1", part), order.refunded("r2", part, days=9), last]


@_plan(10)
def _refund_told_twice(order: Order) -> list[bytes]:
    return [order.placed(), order.refunded("r1", 2), order.refunded("r1", 2, days=5)]


@_plan(5)
def _refund_contradicted(order: Order) -> list[bytes]:
    return [order.placed(), order.refunded("r1", 2), order.refunded("r1", 3)]


@_plan(8)
def _refunds_exceed(order: Order) -> list[bytes]:
    return [order.placed(), order.refunded("r1", order.total - 1), order.refunded("r2", 2), order.refunded("r3", 1)]


@_plan(4)
def _refund_in_other_currency(order: Order) -> list[bytes]:
    other = "EUR" if order.currency == "USD" else "USD"
    return [order.placed(), order.refunded("r1", 2, other)]


@_plan(30)
def _refund_first(order: Order) -> list[bytes]:
    return [order.refunded("r1", order.total // 2), order.placed(), order.refunded("r1", order.total // 2)]


@_plan(4)
def _parked_refund_is_wrong(order: Order) -> list[bytes]:
    too_much = order.refunded("r2", order.total)
    return [order.refunded("r1", 1), too_much, order.refunded("r3", 2, "GBP"), order.placed(), order.placed("again")]


@_plan(4)
def _refund_without_order(order: Order) -> list[bytes]:
    return [order.refunded("r1", 5), order.refunded("r1", 5), order.refunded("r1", 6)]


@_plan(25)
def _cancelled(order: Order) -> list[bytes]:
    return [order.placed(), order.cancelled(), order.cancelled("x2")][: 2 + (order.number & 1)]


@_plan(6)
def _cancelled_first(order: Order) -> list[bytes]:
    return [order.cancelled(), order.cancelled("x2"), order.placed()]


@_plan(12)
def _cancelled_and_refunded(order: Order) -> list[bytes]:
    facts = [order.cancelled(), order.refunded("r1", order.total // 2), order.refunded("r2", order.total // 4, days=8)]
    return [order.placed(), *(facts if order.number & 1 else reversed(facts))]


@_plan(15)
def _disputed(order: Order) -> list[bytes]:
    return [order.placed(), order.disputed(), order.disputed()]


@_plan(15)
def _dispute_won(order: Order) -> list[bytes]:
    return [order.placed(), order.refunded("r1", 1), order.disputed(), order.dispute_won()]


@_plan(5)
def _dispute_won_first(order: Order) -> list[bytes]:
    return [order.dispute_won(), order.placed(), order.disputed()]


@_plan(4)
def _disputed_twice(order: Order) -> list[bytes]:
    # The same instant as the win before it: won comes after disputed.
    return [order.placed(), order.dispute_won(), order.disputed(days=30), order.disputed("d2", days=31)]


@_plan(3)
def _dispute_contradicted(order: Order) -> list[bytes]:
    return [order.placed(), order.disputed(), order.disputed(days=21), order.dispute_won("d")]


@_plan(35)
def _told_twice(order: Order) -> list[bytes]:
    return [order.placed(), order.placed()]


@_plan(10)
def _told_again_in_other_words(order: Order) -> list[bytes]:
    first = order.placed()
    order.at = elsewhere(order.at_s)
    order.code = f" {order.code.swapcase()}"
    order.customer = order.customer.replace("Kim ", "K. ").replace("kim", "k")
    return [first, order.placed("other-words")]


@_plan(8)
def _contradicted(order: Order) -> list[bytes]:
    first = order.placed()
    change = order.number % 4
    if change == 0:
        order.total += 1
    elif change == 1:
        order.code = "OTHER-CODE"
    elif change == 2:
        order.customer = ',"customer":{"id":"somebody-else"}'
    else:
        order.at = instant(order.at_s + 1)
    return [first, order.placed("contradiction")]


@_plan(2)
def _unknown_merchant(order: Order) -> list[bytes]:
    order.ids = order.ids.replace(f'"{order.shop.merchant_id}"', '"no-such-merchant"')
    return [order.placed()]


# --- garbage ----------------------------------------------------------------------------------------------------------

GARBAGE: dict[str, Callable[[Order], bytes]] = {
    "bytes that are no UTF-8": lambda order: order.placed()[:-1] + b',"x":"\xff\xfe"}',
    "JSON that was cut off": lambda order: order.placed()[:-20],
    "nothing": lambda _: b"",
    "an array": lambda order: b"[" + order.placed() + b"]",
    "a NaN": lambda order: order.placed()[:-1] + b',"x":NaN}',
    "a field twice": lambda order: order.placed()[:-1] + b',"type":"order.placed"}',
    "more than 64 KiB": lambda order: order.placed()[:-1] + b',"x":"' + b"x" * BYTES_MAX + b'"}',
    "no order id": lambda order: order.placed().replace(b'"order_id"', b'"orderid"'),
    "no total": lambda order: order.placed().replace(b'","total":"', b'","sum":"'),
    "an unknown type": lambda order: order.placed().replace(b"order.placed", b"order.shipped"),
    "an order id with a null byte": lambda order: order.placed().replace(b'"order_id":"', b'"order_id":"\\u0000'),
    "an order id that is too long": lambda order: order.placed().replace(b'"order_id":"', b'"order_id":"' + b"x" * 128),
    "an empty event id": lambda order: order.placed().replace(f'"p-{order.order_id}"'.encode(), b'""'),
    "a merchant that is no slug": lambda order: order.placed().replace(b'"merchant_id":"', b'"merchant_id":"No '),
    "a time without offset": lambda order: order.placed().replace(b'Z","currency', b'","currency'),
    "a time in words": lambda order: order.placed().replace(order.at.encode(), b"yesterday"),
    "a time before 1970": lambda order: order.placed().replace(order.at.encode(), b"1969-12-31T23:59:59Z"),
    "no such currency": lambda order: order.placed().replace(f'"{order.currency}"'.encode(), b'"ZZZ"'),
    "a float for a total": lambda order: _total(order, b"12.5"),
    "a total in words": lambda order: _total(order, b'"ten"'),
    "a total with too many decimals": lambda order: _total(order, b'"1.%0*d"' % (EXPONENTS[order.currency] + 1, 1)),
    "a negative total": lambda order: _total(order, b'"-5"'),
    "a total beyond all bounds": lambda order: _total(order, b'"9999999999999999"'),
    "a refund of nothing": lambda order: order.refunded("r1", 0),
}


def _total(order: Order, value: bytes) -> bytes:
    told = f'"total":"{money(order.total, order.currency)}"'.encode()
    return order.placed().replace(told, b'"total":' + value, 1)


@_plan(15)
def _garbage(order: Order) -> list[bytes]:
    return [order.pick(list(GARBAGE.values()))(order)]
