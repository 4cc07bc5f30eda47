"""For how long, and for whom, a customer earns: limits per customer, and customers who are given to another partner."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from ledger import customers, merchants, partners
from ledger.application import Ledger
from ledger.events import Rate
from ledger.intake import Intake, Source
from ledger.store import VersionConflictError
from projections.verify import verify
from tests.integration.test_intake import placed, refunded, send
from tests.support.api import running
from tests.support.read_models import execute
from tests.support.registration import HASH_KEY

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WHEN = {"now": NOW, "cause": "test"}


@pytest.fixture
def ledger(database_url):
    """Yield a ledger with the merchant acme (in Berlin) and its partner with the code JANE10."""
    ledger = Ledger(database_url, hash_key=HASH_KEY)
    merchants.register(
        ledger, merchant_id="acme", name="Acme", currency="USD", email="o@acme.example", time_zone="Europe/Berlin",
        now=datetime(2025, 1, 1, tzinfo=UTC), cause="test",
    )  # fmt: skip
    partners.register(
        ledger, merchant_id="acme", name="Jane", email="jane@x.example", rate=Rate(type="percentage", bps=1000),
        coupon_code="JANE10", now=datetime(2025, 1, 1, tzinfo=UTC), cause="test",
    )  # fmt: skip
    yield ledger
    ledger.close()


def limit(ledger, at=datetime(2025, 1, 2, tzinfo=UTC), **limits):
    """Put limits in force, long before the orders."""
    merchants.change_terms(ledger, merchant_id="acme", changes=limits, now=at, cause="test")


def bought(order_id, customer="c-7", **changes):
    """Return an order of a customer."""
    return placed(order_id, customer={"id": customer} if customer else None, **changes)


def outcomes(ledger, taken):
    """Return the outcome of each message, or why it was skipped."""

    def of(result):
        first = ledger.stream(f"order/acme/{result.order_id}")[0].event if result.outcome == "skipped" else None
        return first.reason if first else result.outcome

    return [of(result) for result in taken.results]


def counted(ledger):
    """Return how many orders of each customer were counted."""
    with ledger.connection() as conn:
        return {row["customer_id"]: row["orders"] for row in conn.execute("SELECT * FROM ledger.customer_orders")}


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [True, False])
def test_only_the_first_orders_of_a_customer_earn(ledger, together):
    """Beyond the limit an order is skipped, in one batch or several; refunds and repetitions change no count."""
    limit(ledger, max_orders_per_customer=2)
    intake = Intake(ledger)
    messages = [
        bought("1"), refunded("1", amount="100.00"), bought("1"), bought("2", customer="c-8"), bought("3"),
        bought("4"), bought("5", customer=None), bought("6", total="0.00"),
    ]  # fmt: skip
    if together:
        told = outcomes(ledger, send(intake, *messages))
    else:
        told = [outcome for message in messages for outcome in outcomes(ledger, send(intake, message))]
    assert told == [
        "earned", "adjusted", "duplicate", "earned", "earned", "customer_order_limit", "earned", "zero_base"
    ]  # fmt: skip
    assert counted(ledger) == {"c-7": 2, "c-8": 1}


@pytest.mark.parametrize(
    ("at", "outcome"),
    [
        ("2026-02-28T22:30:00Z", "earned"),
        # 31 January in Berlin and a month are 28 February, 23:30 there.
        ("2026-02-28T22:30:01Z", "customer_time_limit"),
        ("2026-01-01T00:00:00Z", "earned"),
    ],
)
def test_a_customer_earns_for_so_many_months(ledger, at, outcome):
    """Calendar months in the program's time zone, cut to the month's end; to the second."""
    limit(ledger, max_months_per_customer=1)
    intake = Intake(ledger)
    send(intake, bought("1", occurred_at="2026-01-31T22:30:00Z"))
    assert outcomes(ledger, send(intake, bought("2", occurred_at=at))) == [outcome]


def test_what_was_bought_before_the_limit_counts(ledger):
    """When a limit is set for the first time the customers are counted from the log; the limit holds from then on."""
    intake = Intake(ledger)
    send(intake, bought("1"), bought("2"), bought("3", customer="c-8"), bought("4", customer=None))
    assert counted(ledger) == {}
    limit(ledger, at=NOW, max_orders_per_customer=2)
    assert counted(ledger) == {"c-7": 2, "c-8": 1}
    later = {"occurred_at": "2026-11-23T00:00:00Z"}
    messages = [bought("5"), bought("6", **later), bought("7", customer="c-8", **later), bought("8", "c-8", **later)]
    # The first was placed before the limit was in force.
    assert outcomes(ledger, send(intake, *messages)) == [
        "earned", "customer_order_limit", "earned", "customer_order_limit",
    ]  # fmt: skip
    assert counted(ledger) == {"c-7": 3, "c-8": 2}


def test_a_limit_that_was_taken_away_and_set_again_finds_everything_counted(ledger):
    """Counting goes on without a limit, so that the next one is right from its first moment."""
    intake = Intake(ledger)
    from msgspec import UNSET

    limit(ledger, max_orders_per_customer=1)
    limit(ledger, at=datetime(2025, 1, 3, tzinfo=UTC), max_orders_per_customer=UNSET)
    send(intake, bought("1"), bought("2"))
    limit(ledger, at=NOW, max_orders_per_customer=3)
    later = {"occurred_at": "2026-11-23T00:00:00Z"}
    assert outcomes(ledger, send(intake, bought("3", **later), bought("4", **later))) == [
        "earned", "customer_order_limit",
    ]  # fmt: skip


def test_two_workers_cannot_both_take_the_last_place(ledger):
    """Two partitions with orders of the same customers at the same time: exactly as many earn as the terms allow."""
    limit(ledger, max_orders_per_customer=3)
    begin = threading.Barrier(2)

    def work(partition):
        intake = Intake(ledger)
        begin.wait()
        for number in range(12):
            customer = f"c-{number % 3}"
            send(intake, bought(f"{partition}-{number}", customer), source=Source("cluster", "orders", partition))

    threads = [threading.Thread(target=work, args=(partition,)) for partition in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted(ledger) == {"c-0": 3, "c-1": 3, "c-2": 3}
    with ledger.connection() as conn:
        row = conn.execute("SELECT count(*) AS earned FROM ledger.events WHERE topic = 'CommissionEarned'").fetchone()
    assert row["earned"] == 9


def test_an_order_that_was_counted_meanwhile_makes_the_batch_decide_again(ledger, monkeypatch):
    """A batch that was decided on an old count is refused, whole, and decided on the new one."""
    limit(ledger, max_orders_per_customer=1)
    first, second = Intake(ledger), Intake(ledger)
    read, tries = Intake._bought, []

    def interrupted(self, told):
        found = read(self, told)
        tries.append(found)
        if len(tries) == 1:
            monkeypatch.setattr(Intake, "_bought", read)
            send(second, bought("2"), source=Source("cluster", "orders", 1))
            monkeypatch.setattr(Intake, "_bought", interrupted)
        return found

    monkeypatch.setattr(Intake, "_bought", interrupted)
    assert outcomes(ledger, send(first, bought("1"))) == ["customer_order_limit"]
    assert len(tries) == 2
    assert counted(ledger) == {"c-7": 1}


def test_programs_without_limits_pay_nothing(ledger, monkeypatch):
    """No customer is looked up and none is counted where no terms ever limited anything."""
    monkeypatch.setattr(Intake, "_bought", lambda *_: pytest.fail("asked for what customers bought"))
    assert outcomes(ledger, send(Intake(ledger), bought("1"))) == ["earned"]
    assert counted(ledger) == {}


def test_a_dead_letter_that_is_retried_counts(ledger):
    """An order that is booked from its dead letter takes a place like any other."""
    from ledger import dead_letters

    limit(ledger, max_orders_per_customer=1)
    intake = Intake(ledger)
    send(intake, bought("1", merchant_id="later"))
    merchants.register(
        ledger, merchant_id="later", name="L", currency="USD", email="o@l.example", **WHEN
    )  # fmt: skip
    merchants.change_terms(ledger, merchant_id="later", changes={"max_orders_per_customer": 1}, **WHEN)
    partners.register(
        ledger, merchant_id="later", name="J", email="j@x.example", rate=Rate(type="percentage", bps=1),
        coupon_code="JANE10", **WHEN,
    )  # fmt: skip
    with ledger.connection() as conn:
        letter = conn.execute("SELECT dead_letter_id FROM ledger.dead_letters").fetchone()["dead_letter_id"]
    assert dead_letters.retry(ledger, dead_letter_id=letter, **WHEN).outcome == "earned"
    assert counted(ledger) == {"c-7": 1}


def test_the_count_is_checked_under_the_lock(ledger):
    """Nobody's row may be other than it was read: a count that moved is a conflict, never an overwrite."""
    from ledger.rows import _count_customers

    class Decided:
        counted_before, counted = {}, {}

    from ledger.orders import CustomerOrders

    limit(ledger, max_orders_per_customer=9)
    send(Intake(ledger), bought("1"))
    Decided.counted = {("acme", "c-7"): CustomerOrders(1, NOW)}
    with ledger.connection() as conn, conn.cursor() as curs, pytest.raises(VersionConflictError):
        _count_customers(curs, Decided)
    Decided.counted_before = {("acme", "c-7"): CustomerOrders(5, NOW)}
    with ledger.connection() as conn, conn.cursor() as curs, pytest.raises(VersionConflictError):
        _count_customers(curs, Decided)


# --- customers who are given to another partner -----------------------------------------------------------------------


@pytest.fixture
async def api(database_url):
    """Yield the running application with Jane, Joe, and two orders of customer c-1 that came with Jane's code."""
    async with running(database_url) as app:
        app.jane = await app.partner()
        app.joe = await app.partner(
            name="Joe", email="joe@example.com", coupon_code="JOE", rate={"type": "percentage", "value": "20"}
        )
        await app.post("/orders", [app.order(customer={"id": "c-1"}), app.order(customer={"id": "c-2"})])
        await app.project()
        yield app


async def give(api, to, customer="c-1", **options):
    """Give the customer to a partner; return the answer."""
    body = {"partner_id": to["id"], "reason": "moved to Joe's region"}
    answer = await api.post(f"/customers/{customer}/reassign", body, **options)
    await api.project()
    return answer


async def test_from_then_on_orders_without_a_code_are_the_new_partners(api):
    """Without a partner's code an order earns for the new partner, at that partner's rate; else the code decides."""
    answer = await give(api, api.joe)
    assert (answer.status, answer.json) == (
        200,
        {
            "customer_id": "c-1", "partner_id": api.joe["id"], "assigned_at": "2026-11-22T12:00:00Z",
            "reason": "moved to Joe's region",
        },
    )  # fmt: skip
    customer, later = {"id": "c-1"}, "2026-11-22T12:00:00Z"
    plain = {"customer": customer, "occurred_at": later}
    orders = [
        api.order(**plain, coupon_code=None), api.order(**plain, coupon_code="NOBODY"), api.order(**plain),
        api.order(customer=customer, coupon_code=None, occurred_at="2026-11-22T11:59:59Z"),
        api.order(customer={"id": "c-2"}, coupon_code=None, occurred_at=later),
    ]  # fmt: skip
    told = await api.post("/orders", orders)
    assert [row["outcome"] for row in told.json["results"]] == ["earned", "earned", "earned", "ignored", "ignored"]
    again = await api.post("/orders", orders[:3])
    assert {row["outcome"] for row in again.json["results"]} == {"duplicate"}
    await api.project()
    shown = {row["order_id"]: row for row in (await api.get("/commissions?customer_id=c-1")).json["data"]}
    assert {
        name: (row["partner_id"], row["commission"]["amount"], row["coupon_code"]) for name, row in shown.items()
    } == {
        "o-1": (api.jane["id"], "10.00", "JANE10"),
        "o-3": (api.joe["id"], "20.00", None),
        "o-4": (api.joe["id"], "20.00", "NOBODY"),
        "o-5": (api.jane["id"], "10.00", "JANE10"),
    }
    story = (await api.get("/commissions/o-3")).json["history"][0]["summary"]
    assert "customer" in story
    assert "code" not in story
    assert verify(api.database_url).differences == []


async def test_the_customer_is_listed_under_the_new_partner(api):
    """The customer's page and the lists say whose the customer is, and who brought the customer all the same."""
    await give(api, api.joe)
    page = (await api.get("/customers/c-1")).json
    assert (page["partner_id"], page["assigned_partner_id"]) == (api.jane["id"], api.joe["id"])
    assert (page["assigned_at"], page["assignment_reason"]) == ("2026-11-22T12:00:00Z", "moved to Joe's region")

    async def of(partner):
        return [row["id"] for row in (await api.get(f"/customers?partner_id={partner['id']}")).json["data"]]

    assert (await of(api.jane), await of(api.joe)) == (["c-2"], ["c-1"])
    await give(api, api.jane)
    assert (await of(api.jane), await of(api.joe)) == (["c-1", "c-2"], [])
    first = (await api.get(f"/customers?partner_id={api.jane['id']}&limit=1")).json
    rest = (await api.get(f"/customers?partner_id={api.jane['id']}&limit=1&cursor={first['next_cursor']}")).json
    assert [row["id"] for row in first["data"] + rest["data"]] == ["c-1", "c-2"]
    assert verify(api.database_url).differences == []


async def test_whom_a_customer_cannot_be_given_to(api):
    """An unknown customer or partner, or another merchant's, is 404; a partner who is not approved is 409."""
    await api.post(f"/partners/{api.joe['id']}/pause", {"reason": "holiday"})
    paused = await give(api, api.joe)
    assert (paused.status, paused.code, paused.json["errors"][0]["path"]) == (
        409, "partner_not_approved", "$.partner_id",
    )  # fmt: skip
    theirs = await api.partner(of="zenith")
    answers = [
        await give(api, theirs), await give(api, {"id": "nobody"}), await give(api, api.jane, customer="c-9"),
        await give(api, theirs, of="zenith"),
    ]  # fmt: skip
    assert [answer.status for answer in answers] == [404, 404, 404, 404]
    assert execute(api.database_url, "SELECT count(*) FROM read.assignments") == [(0,)]


async def test_giving_a_customer_twice_is_one_assignment(api):
    """To the same partner again changes nothing; the same request again gets the first answer."""
    first = await give(api, api.joe, headers={"Idempotency-Key": "k"})
    api.now += timedelta(days=1)
    again = await give(api, api.joe, headers={"Idempotency-Key": "k"})
    assert (again.json, again.headers["Idempotency-Replayed"]) == (first.json, "true")
    assert (await give(api, api.joe)).json == first.json
    assert len(api.ledger.stream("customer/acme/c-1")) == 1


async def test_an_assigned_customers_order_follows_the_partners_standing(api):
    """The assigned partner's standing decides as ever: paused, the order is skipped and says so."""
    await give(api, api.joe)
    await api.post(f"/partners/{api.joe['id']}/pause", {"reason": "holiday"})
    order = api.order(customer={"id": "c-1"}, coupon_code=None, occurred_at="2026-11-22T13:00:00Z")
    told = await api.post("/orders", order)
    assert told.json["results"][0]["outcome"] == "skipped"
    await api.project()
    shown = (await api.get(f"/commissions/{order['order_id']}")).json
    assert (shown["reason"], shown["partner_id"]) == ("partner_paused", api.joe["id"])
    summary = shown["history"][0]["summary"]
    assert "code" not in summary


def test_an_earlier_assignment_reaches_back_no_further_than_its_day(ledger):
    """Before the first assignment a customer is nobody's, whenever the order is told."""
    joe = partners.register(
        ledger, merchant_id="acme", name="Joe", email="joe@x.example", rate=Rate(type="percentage", bps=2000), **WHEN
    )
    told = {"merchant_id": "acme", "customer_id": "c-7", "partner_id": joe.partner_id, "reason": "r", "cause": "test"}
    customers.reassign(ledger, **told, now=NOW)
    times = ("2026-11-21T23:59:59Z", "2026-11-22T00:00:00Z")
    messages = [bought(str(n), coupon_code=None, occurred_at=at) for n, at in enumerate(times)]
    assert outcomes(ledger, send(Intake(ledger), *messages)) == ["ignored", "earned"]
    event = ledger.stream("order/acme/1")[0].event
    assert (event.partner_id, event.coupon_code, event.assigned) == (joe.partner_id, "", True)
