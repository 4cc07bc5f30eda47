"""The whole product once, as a new user: 69,659 real purchases by kcat, a killed worker, and books that are right.

Without the data set beside the repository (`tests.support.cdnow.data_file`) the committed extract of it is told.
"""

import json
from datetime import UTC, datetime
from random import Random

import psycopg

from tests.support import cdnow, shown
from tests.support.checker import differences, unaccounted
from tests.support.kcat import unpublished
from tests.support.oracle import Oracle
from tests.support.oracle_program import Merchant, with_partner_ids
from tests.support.service import Client, Service, until
from tests.support.storefront import Outgoing

MERCHANT_ID = cdnow.MERCHANT_ID
# The first purchase, and behind the last refund.
DAYS = ("1997-01-01", "1998-07-31")
# What no line of a file can be: these go between the others, with delimiters of several bytes.
GARBAGE = (b"\x00", b'{"type":\x00}', b"{\r\n", b"\t|\t", b"\xff\xfe\x00\x1e", b"", b'{"type":')
# The approval timer looks every 10 s, and takes 10,000 at a time.
APPROVED_S = 120
# Of the whole data set, half is more than a worker books between two looks.
FULL_HALF = 30_000


def open_program(service: Service) -> tuple[Client, Merchant]:
    """Open the merchant by the command line and register its partners by API; return the API, and the oracle's view."""
    created = service.cli_json(
        *("merchant", "create", "--slug", MERCHANT_ID, "--name", "CDNOW", "--currency", "USD"),
        *("--email", "shop@cdnow.example"),
    )
    client = service.client(created["api_key"])
    ids = {}
    for name, rate in cdnow.RATES.items():
        partner = {"name": name.title(), "email": f"{name}@partners.example", "coupon_code": f"{name}10"}
        registered = client.post("/partners", partner | {"rate": {"type": "percentage", "value": rate}})
        assert registered["coupon_codes"] == [f"{name.upper()}10"]
        ids[name] = registered["id"]
    # The terms that a new program has: what was sold in 1998 has long been due.
    program = Merchant(**vars(cdnow.program()) | {"approval": "after_days", "approve_after_days": 30})
    return client, with_partner_ids(program, ids)


def everything_to_publish() -> list[Outgoing]:
    """Return the messages of the purchases, with more garbage strewn among them."""
    outgoing = cdnow.messages(list(cdnow.purchases()))
    random = Random("garbage")
    for number, value in enumerate(GARBAGE * 5):
        outgoing.insert(random.randrange(len(outgoing)), Outgoing(f"{MERCHANT_ID}/garbage-{number}".encode(), value))
    return outgoing


def figures(service: Service, client: Client, program: Merchant) -> dict:
    """Return what the API shows, in the shape of the oracle's books."""
    partner_ids = [partner.partner_id for partner in program.partners]
    return {
        "balances": shown.balances(client, MERCHANT_ID),
        "commissions": shown.commissions(client, MERCHANT_ID),
        "customers": shown.customers(client, MERCHANT_ID),
        "revenue": shown.revenue(client, MERCHANT_ID, partner_ids, ["USD"], DAYS),
        "positions": shown.positions(client, service.topic),
    }


def pending(client: Client) -> int:
    """Return what is pending, of all partners together, in cents."""
    return sum(row["pending"] for row in shown.balances(client, MERCHANT_ID).values())


def test_cdnow_from_kcat_to_balances(service, kcat):
    """All figures equal an independent sum to the cent, through a kill -9 and a rebuild; and lies are found."""
    client, program = open_program(service)
    outgoing = everything_to_publish()
    half = len(outgoing) // 2

    kcat.publish(outgoing[:half])
    until(lambda: service.consumed() >= half // 2, "half of the first half")
    service.worker.kill()
    # A part of it is a handful of messages where there is only the extract: then it was between two batches.
    assert service.consumed() < half or half < FULL_HALF
    kcat.publish(outgoing[half:])
    assert unaccounted(shown.positions(client, service.topic)) == []
    service.worker.start()

    lying = kcat.read()
    assert not unpublished(outgoing, lying)
    oracle = Oracle([program]).take_all(lying)
    service.until_booked(len(lying), timeout_s=120)
    until(lambda: pending(client) == 0, "everything that is due approved", timeout_s=APPROVED_S)
    oracle.approve_due(datetime.now(UTC))
    books = oracle.books()
    assert sum(row["payable"] for row in books.balances.values()) > 0
    found = figures(service, client, program)
    assert differences(books, found | {"dead_letters": shown.dead_letters(service)}) == []

    rebuilt = service.cli_json("rebuild")
    assert "balances" in rebuilt["models"]
    assert service.cli_json("verify")["ok"] is True
    assert figures(service, client, program) == found
    lies_are_found(service)


def lies_are_found(service: Service) -> None:
    """Change a balance, then an event, behind the service's back: `verify` names each, until it is undone."""
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        row = connection.execute("SELECT partner_id FROM read.balances ORDER BY partner_id LIMIT 1").fetchone()
        change = "UPDATE read.balances SET approved_minor = approved_minor + %s, expense_minor = expense_minor - %s"
        connection.execute(change + " WHERE partner_id = %s", (1, 1, row[0]))
        lie = service.cli_json("verify", exits=1)
        assert [difference["model"] for difference in lie["differences"]] == ["balances"]
        assert row[0] in str(lie["differences"][0])
        service.cli("rebuild", "balances")

        name, state = connection.execute(
            "SELECT originator_id, state::text FROM ledger.events WHERE topic = 'CommissionEarned' ORDER BY 1 LIMIT 1"
        ).fetchone()
        edited = raised_by_a_cent(state)
        update = "UPDATE ledger.events SET state = %s WHERE originator_id = %s AND topic = 'CommissionEarned'"
        connection.execute(update, (edited, name))
        lie = service.cli_json("verify", exits=1)
        assert {"commissions", "balances"} <= {difference["model"] for difference in lie["differences"]}
        assert name.rpartition("/")[2] in str(lie["differences"])
        connection.execute(update, (state, name))
    assert service.cli_json("verify")["ok"] is True


def raised_by_a_cent(state: str) -> str:
    """Return the event's JSON with one minor unit more of commission."""
    told = json.loads(state)
    told["amount_minor"] += 1
    return json.dumps(told)
