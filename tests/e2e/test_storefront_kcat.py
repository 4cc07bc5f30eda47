"""A storefront that is not written in our code publishes with kcat, and what everybody is shown is the same."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ledger.application import Ledger
from tests.support import found, shown
from tests.support.checker import differences
from tests.support.kcat import Kcat, unpublished
from tests.support.keys import key_of
from tests.support.oracle import Books, Oracle
from tests.support.registration import register
from tests.support.service import HASH_KEY, Client, Service, in_path, until
from tests.support.storefront import Storefront, sample_program

MESSAGES = 4_000
CURRENCIES = ("EUR", "JPY", "KWD", "USD")
# From the first order to the last refund, dispute or win that the storefront can tell of.
DAYS = ("2026-01-01", "2027-02-28")
LISTS = ("/balances", "/commissions", "/customers", "/partners", "/dead-letters")


@pytest.fixture
def ledger(database_url):
    """Yield the write side, to make programs with a past and to read the log."""
    opened = Ledger(database_url, hash_key=HASH_KEY.encode())
    yield opened
    opened.close()


def key_to(service: Service, ledger: Ledger, merchant_id: str) -> Client:
    """Return the API for the holder of a new key of the merchant."""
    return service.client(key_of(ledger, merchant_id))


def fold(ledger: Ledger) -> dict:
    """Return what the events of all orders add up to."""
    with ledger.connection() as conn:
        names = conn.execute(
            "SELECT DISTINCT originator_id FROM ledger.events WHERE starts_with(originator_id, 'order/')"
        )
        streams = ledger.streams([row["originator_id"] for row in names])
    return found.tables([recorded.event for recorded in stream] for stream in streams.values())


def test_every_figure_is_the_same_wherever_it_is_read(service, kcat, ledger):
    """Balances, sums of all pages of commissions, the fold of the events and an independent model agree to the cent."""
    program = sample_program()
    register(ledger, program)
    clients = {merchant.merchant_id: key_to(service, ledger, merchant.merchant_id) for merchant in program}
    storefront = Storefront(5, program)
    outgoing = storefront.take(MESSAGES) + storefront.rest()
    kcat.publish(outgoing)
    lying = kcat.read()
    assert not unpublished(outgoing, lying)
    oracle = Oracle(program).take_all(lying)
    service.until_booked(len(lying))

    def balances() -> dict:
        return {key: row for each, client in clients.items() for key, row in shown.balances(client, each).items()}

    def settled() -> bool:
        # Orders become due while we look.
        oracle.approve_due(datetime.now(UTC))
        return not differences(oracle.books(), {"balances": balances()})

    until(settled, "the balances that are due")
    books = oracle.books()
    commissions = {key: row for each, client in clients.items() for key, row in shown.commissions(client, each).items()}
    assert differences(books, {"balances": shown.balances_of(commissions)}) == []
    assert differences(books, fold(ledger)) == []
    assert differences(books, {"commissions": commissions, "dead_letters": shown.dead_letters(service)}) == []
    assert differences(books, {"customers": joined(shown.customers, clients)}) == []
    revenue_is_the_same(books, clients, [partner.partner_id for partner in program[0].partners])
    assert {key[2] for key in books.balances} == set(CURRENCIES)
    pages_of_filters_are_whole(clients["acme"], shown.commissions(clients["acme"], "acme"))
    nobody_sees_another(service, clients, commissions)
    assert service.cli_json("verify")["ok"] is True


def joined(read, clients: dict[str, Client]) -> dict:
    """Return what each merchant is shown, together."""
    return {key: row for merchant_id, client in clients.items() for key, row in read(client, merchant_id).items()}


def revenue_is_the_same(books: Books, clients: dict[str, Client], partner_ids: list[str]) -> None:
    """Each merchant's days add up to what its partners sold, and for one of them each partner's days are shown, too."""
    acme = shown.revenue(clients["acme"], "acme", partner_ids, CURRENCIES, DAYS)
    of_acme = {key: row for key, row in books.revenue.items() if key[0] == "acme"}
    assert differences(replace(books, revenue=of_acme), {"revenue": acme}) == []
    of_all: defaultdict[tuple, Counter[str]] = defaultdict(Counter)
    for (merchant_id, _, currency, day), row in books.revenue.items():
        of_all[merchant_id, None, currency, day].update(row)
    everybody = joined(lambda client, each: shown.revenue(client, each, [None], CURRENCIES, DAYS), clients)
    assert differences(replace(books, revenue=dict(of_all)), {"revenue": everybody}) == []
    for merchant_id, client in clients.items():
        for currency in CURRENCIES:
            rows = [row for key, row in books.balances.items() if (key[0], key[2]) == (merchant_id, currency)]
            owed = sum(row[name] for row in rows for name in (*shown.BALANCES, "clawed_back"))
            assert shown.earned(client, currency, DAYS) == owed, (merchant_id, currency)


def pages_of_filters_are_whole(client: Client, everything: dict) -> None:
    """Each filter of the list of commissions shows exactly its part: the parts together are the whole."""
    for name, column in (("status", "state"), ("partner_id", "partner_id"), ("currency", "currency")):
        parts = {row[column] for row in everything.values()}
        assert len(parts) > 1
        for part in parts:
            expected = {key: row for key, row in everything.items() if row[column] == part}
            assert shown.commissions(client, "acme", **{name: part}) == expected, (name, part)


def nobody_sees_another(service: Service, clients: dict[str, Client], commissions: dict) -> None:
    """Another merchant's order is exactly like one that is not there, and no list shows anything of it."""
    created = service.cli_json(
        *("merchant", "create", "--slug", "new", "--name", "New", "--currency", "USD", "--email", "new@shop.example")
    )
    stranger = service.client(created["api_key"])
    service.until_read()
    for path in LISTS:
        assert stranger.get(path)["data"] == [], path
    merchant_id, order_id = next(key for key, row in commissions.items() if row["state"] == "pending")
    address = f"/commissions/{in_path(order_id)}"
    others = [client for name, client in clients.items() if name != merchant_id]
    for client in (*others, stranger):
        missing = without_ids(client.ask("GET", "/commissions/no-such-order").body, "no-such-order")
        for method, path, body in (("GET", address, None), ("POST", f"{address}/approve", {})):
            answer = client.ask(method, path, body)
            assert answer.status == 404, path
            assert without_ids(answer.body, order_id) == missing
    assert clients[merchant_id].get(address)["order_id"] == order_id
    letters = {name: {row["id"] for row in client.rows("/dead-letters")} for name, client in clients.items()}
    assert all(letters.values())
    assert len(set.union(*letters.values())) == sum(map(len, letters.values())), "a dead letter shown to two merchants"
    assert Client(service.web.port).ask("GET", "/balances").status == 401


def without_ids(problem: dict, order_id: str) -> str:
    """Return a problem without what differs in every answer."""
    return json.dumps({name: value for name, value in problem.items() if name != "request_id"}).replace(order_id, "ID")


def order(number: int, **change: object) -> dict:
    """Return an order of 100.00 USD with Jane's code, which earns 10.00."""
    return {
        "type": "order.placed",
        "event_id": f"e-{number}",
        "merchant_id": "acme",
        "order_id": f"o-{number}",
        "occurred_at": "2026-11-22T10:00:00Z",
        "currency": "USD",
        "total": "100.00",
        "coupon_code": "JANE10",
        **change,
    }


def test_storefronts_may_publish_as_they_like(service, kcat):
    """Any compression, any key or none, and CloudEvents in both modes are booked; a tombstone is a dead letter."""
    created = service.cli_json(
        *("merchant", "create", "--slug", "acme", "--name", "Acme", "--currency", "USD", "--email", "you@example.com")
    )
    client = service.client(created["api_key"])
    jane = {"name": "Jane", "email": "jane@example.com", "coupon_code": "JANE10"}
    client.post("/partners", jane | {"rate": {"type": "percentage", "value": "10"}})
    published = say_it_in_every_way(kcat)
    service.until_booked(published + 1)
    booked = shown.commissions(client, "acme")
    assert {key[1] for key in booked} == {f"o-{number}" for number in range(published)}
    assert {row["commission_minor"] for row in booked.values()} == {10_00}
    assert [letter[4] for letter in shown.dead_letters(service)] == ["empty"]


def say_it_in_every_way(kcat: Kcat) -> int:
    """Publish one order in each way there is, and a tombstone; return the number of orders."""
    ways = [
        *(("-z", codec, "-k", "acme/o") for codec in ("none", "gzip", "snappy", "lz4", "zstd")),
        (),
        ("-k", "a key that says nothing"),
        ("-p", "3", "-k", "in a partition of its own choice"),
        ("-H", "traceparent=00-1", "-H", "empty="),
    ]
    for number, options in enumerate(ways):
        kcat.publish_plain(json.dumps(order(number), indent=2).encode(), *options)
    envelope = {"specversion": "1.0", "type": "order.placed", "source": "/shop", "id": "ce-1"}
    binary = [option for name, value in envelope.items() for option in ("-H", f"ce_{name}={value}")]
    kcat.publish_plain(json.dumps(order(len(ways))).encode(), *binary, "-H", "content-type=application/json")
    structured = json.dumps({**envelope, "data": order(len(ways) + 1)}).encode()
    kcat.publish_plain(structured, "-H", "content-type=application/cloudevents+json; charset=UTF-8")
    kcat.publish_tombstone(b"acme/o-0")
    return len(ways) + 2
