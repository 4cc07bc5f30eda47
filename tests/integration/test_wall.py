"""The second wall between merchants: PostgreSQL shows the web's reads one merchant, whatever a query forgets."""

import inspect
import re
from datetime import UTC, date, datetime
from functools import partial
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from ledger import users
from ledger.access import Actor, once
from ledger.schema import migrate
from projections import wall
from projections.read import Reads
from projections.rebuild import rebuild
from projections.runner import Projector
from projections.schema import ensure
from tests.support.api import JANE, running
from tests.support.keys import key_of
from tests.support.postgres import in_database
from tests.support.read_models import execute, fill, ledger

# Tables of the four schemas that belong to merchants, and whether the reader may read them at all.
_TABLES = """
SELECT
    relnamespace::regnamespace || '.' || relname, relrowsecurity,
    has_any_column_privilege(%s, pg_class.oid, 'SELECT')
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE
    relnamespace::regnamespace::text IN ('ledger', 'read', 'people', 'access')
    AND relkind IN ('r', 'p') AND attname = 'merchant_id' AND NOT attisdropped
ORDER BY 1
"""


_OWN = re.compile(r"(\w+\.)?merchant_id = %\(merchant_id\)s(?=\W|$)")
NOW = datetime(2026, 6, 1, tzinfo=UTC)

# What the reads ask for: ids that the merchant does not have, but another does, or that both have.
ARGUMENTS = {
    "merchant_id": "shop", "now": NOW, "order_id": "theirs", "partner_id": "p1", "customer_id": "theirs",
    "user_id": "theirs", "dead_letter_id": "shop-b", "currency": "USD", "from_on": date(2026, 1, 1),
    "to_on": date(2026, 6, 1), "interval": "month", "states": ["pending", "approved", "held"],
    "before": None, "limit": 200,
}  # fmt: skip
# Reads that show another merchant's rows once they neither ask for a merchant nor stand behind the wall.
LEAKING = {
    "access_changes", "balances", "commission", "customer", "customers", "dead_letter", "dead_letters", "keys",
    "metrics", "partner_figures", "partners", "program_balances", "user", "users", "waiting",
}  # fmt: skip


_ROWS = """
INSERT INTO people.partners VALUES ('shop', 'p1', 'Jane', 'j@example.com'), ('shop-b', 'p1', 'June', 'u@example.com');
INSERT INTO ledger.dead_letters (
    dead_letter_id, merchant_id, source, topic, partition, position, code, path, reason, received_at
)
SELECT m, m, 's', 't', 0, length(m), 'c', '$', 'r', now() FROM unnest(ARRAY['shop', 'shop-b']) AS m;
UPDATE read.commissions SET order_id = 'theirs', customer_id = 'theirs' WHERE (merchant_id, order_id) = (
    SELECT merchant_id, min(order_id) FROM read.commissions WHERE merchant_id = 'shop-b' GROUP BY 1
);
UPDATE read.customers SET customer_id = 'theirs' WHERE (merchant_id, customer_id) = (
    SELECT merchant_id, min(customer_id) FROM read.customers WHERE merchant_id = 'shop-b' GROUP BY 1
);
UPDATE people.users SET user_id = 'theirs' WHERE merchant_id = 'shop-b';
UPDATE access.users SET user_id = 'theirs' WHERE merchant_id = 'shop-b';
"""


@pytest.fixture
def books(database_url):
    """Return the address of a database with a random log of several merchants, projected, and with people and keys."""
    fill(database_url, seed=9, orders=200)
    Projector(database_url).catch_up()
    with ledger(database_url) as opened:
        for merchant_id in ("shop", "shop-b"):
            key_of(opened, merchant_id)
            begin = partial(users.add, merchant_id=merchant_id, role="owner", name="U", email="u@example.com")
            once(opened, None, partial(begin, now=NOW, by=Actor("test")))
    execute(database_url, _ROWS)
    return database_url


def pool(url, max_size=2, **options):
    """Return connections, to be opened."""
    return AsyncConnectionPool(url, min_size=1, max_size=max_size, open=False, kwargs={"autocommit": True}, **options)


def reader(url):
    """Return a session of the reader's."""
    conn = psycopg.connect(url, autocommit=True)
    conn.execute(f"SET ROLE {wall.READER}")
    return conn


def seen(conn, table, merchant_id=None):
    """Return of which merchants the session sees rows of the table, with this merchant set."""
    with conn.transaction():
        if merchant_id is not None:
            conn.execute("SELECT " + wall.SET_MERCHANT, {"merchant_id": merchant_id})
        query = sql.SQL("SELECT DISTINCT merchant_id FROM {}").format(sql.SQL(table))
        return [row[0] for row in conn.execute(query)]


def readable(url):
    """Return the tables of merchants that the reader may read."""
    return [name for name, _, readable in execute(url, _TABLES, wall.READER) if readable]


def test_every_table_of_merchants_stands_behind_the_wall(books):
    """Row-level security is on for every table with a merchant's rows, also those that a rebuild has made anew."""
    before = execute(books, _TABLES, wall.READER)
    assert [name for name, walled, _ in before if not walled] == []
    assert {"read.commissions", "people.users", "access.api_keys", "ledger.dead_letters"} <= set(readable(books))
    rebuild(books)
    assert execute(books, _TABLES, wall.READER) == before
    with reader(books) as conn:
        assert seen(conn, "read.commissions", "shop") == ["shop"]


def test_without_a_merchant_there_are_no_rows(books):
    """A session that was told no merchant sees nothing; one that was sees that merchant's rows for a transaction."""
    with reader(books) as conn:
        for table in readable(books):
            assert seen(conn, table) == [], table
            assert seen(conn, table, "shop") in ([], ["shop"]), table
            assert seen(conn, table) == [], table
        for table in ("read.commissions", "read.balances", "read.customers", "read.coupons", "people.partners"):
            assert seen(conn, table, "shop") == ["shop"]
            assert seen(conn, table, "shop-b") == ["shop-b"]
            assert seen(conn, table, "' OR true --") == []
    assert len(execute(books, "SELECT DISTINCT merchant_id FROM read.commissions")) > 1, "nothing would prove nothing"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT key_sha256 FROM access.api_keys",
        "SELECT hash FROM access.passwords",
        "SELECT hash FROM access.partner_logins",
        "SELECT session_sha256 FROM access.sessions",
        "SELECT token_sha256 FROM access.password_links",
        "SELECT name_mac FROM access.login_failures",
        "SELECT state FROM ledger.events",
        "SELECT * FROM ledger.requests",
        "INSERT INTO people.merchants VALUES ('shop', 'x')",
        "UPDATE read.commissions SET amount_minor = 0",
        "DELETE FROM access.users",
    ],
)
def test_the_reader_reads_what_it_must_and_writes_nothing(books, query):
    """What no list shows (hashes of keys, events, kept answers) cannot be read, and nothing can be written."""
    with reader(books) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(query)


class Forgetful(Reads):
    """Reads whose queries do not ask for a merchant any more: whatever they still find, the wall let through."""

    async def _ask(self, query, params):
        return await super()._ask(_OWN.sub("true", query), params)

    async def _rows(self, query, params, *args):
        return await super()._rows(_OWN.sub("true", query), params, *args)


async def answers(reads):
    """Return what each read of one merchant answers; a read that is not known here is an error."""
    asked = {
        name: method
        for name, method in inspect.getmembers(reads, inspect.iscoroutinefunction)
        if not name.startswith("_") and "merchant_id" in inspect.signature(method).parameters
    }
    found = {}
    for name, method in asked.items():
        wanted = inspect.signature(method).parameters.values()
        needed = [each.name for each in wanted if each.default is inspect.Parameter.empty]
        told = {each: ARGUMENTS[each] for each in needed} | (
            {"limit": 200} if "limit" in {w.name for w in wanted} else {}
        )
        found[name] = await method(**told)
    return found


async def test_a_forgotten_filter_shows_nothing_of_another(books):
    """With the condition on the merchant taken out of every query, each answers with the merchant's rows alone."""
    async with pool(books, configure=wall.stand_behind) as walled, pool(books) as unwalled:
        expected = await answers(Reads(walled))
        assert await answers(Forgetful(walled)) == expected
        leaking = await answers(Forgetful(unwalled))
    others = {name for name, answer in leaking.items() if answer != expected[name]}
    assert others >= LEAKING, "where no wall stands these have to differ, or this test proves nothing"


async def test_a_connection_takes_nothing_along(books):
    """After a read for one merchant, the connection that goes back to the pool sees no merchant's rows."""
    async with pool(books, configure=wall.stand_behind, max_size=1) as connections:
        reads = Reads(connections)
        assert (await reads.balances("shop")).rows
        async with reads.moment("shop") as conn:
            assert await (await conn.execute("SELECT 1 FROM read.balances LIMIT 1")).fetchone()
        async with connections.connection() as conn:
            assert await (await conn.execute("SELECT 1 FROM read.balances LIMIT 1")).fetchone() is None


def plain_user(url, name, *options):
    """Make a user without a superuser's rights, with a database of its own; returns its address."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret' {' '.join(options)}")
        conn.execute(f"CREATE DATABASE {name} OWNER {name}")
    return (
        urlsplit(in_database(url, name))
        ._replace(netloc=f"{name}:secret@{urlsplit(url).netloc.rpartition('@')[2]}")
        .geturl()
    )


async def test_a_database_without_a_superuser_will_do(own_postgres):
    """An owner who may create roles migrates and serves; one who may not is told what to have run, and then may."""
    weak, strong = plain_user(own_postgres.url, "weak"), plain_user(own_postgres.url, "strong", "CREATEROLE")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="CREATE ROLE ledger_reader"):
        migrate(weak)
    await _serves(strong)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="GRANT ledger_reader TO weak"):
        migrate(weak)
    execute(own_postgres.url, "GRANT ledger_reader TO weak")
    await _serves(weak)


async def _serves(url):
    migrate(url)
    with psycopg.connect(url, autocommit=True) as conn:
        ensure(conn)
    async with running(url) as api:
        assert (await api.post("/partners", JANE)).status == 201
        await api.project()
        assert [each["name"] for each in (await api.get("/partners")).json["data"]] == ["Jane"]
        assert (await api.get("/partners", of="zenith")).json["data"] == []
