"""The running API against its own OpenAPI document, asked by a program that has read nothing else."""

import asyncio
import os
import sys
from pathlib import Path

import psycopg
import pytest

from projections.runner import Projector
from tests.support.api import Api, running
from tests.support.requirements import in_ci

# Per operation, of each kind; SCHEMATHESIS_EXAMPLES asks for more or fewer.
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "200" if in_ci() else "20"))

# The operations in three parts, so that two cores share them: those of these tags, and all others.
PAYING = ("payouts", "bank transfers", "payout details")
EARNING = ("partners", "coupon codes", "notes", "commissions", "customers", "orders", "imports")
PARTS = {
    "earning": [part for tag in EARNING for part in ("--include-tag", tag)],
    "paying": [part for tag in PAYING for part in ("--include-tag", tag)],
    "others": [part for tag in EARNING + PAYING for part in ("--exclude-tag", tag)],
}

# 422 is the answer to what a schema cannot say: that a currency exists, that a rate has the currency's decimals, that
# one day comes after another. Everything else that the document allows has to be taken.
# Where a name stands in the place of an id (an order may well be called "bulk"), the address takes the methods of both.
CONFIG = """
continue-on-failure = true
request-timeout = 30

[checks]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]

[generation]
deterministic = true
database = "none"

[[operations]]
include-path-regex = "/commissions/bulk$|/partners/(apply|invite)$"
checks.allow_header_conformance.enabled = false
"""

# The program tries every call with every id that it was shown, and would soon revoke the key with which it asks.
KEEP_KEY = """
CREATE FUNCTION access.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
CREATE TRIGGER keep BEFORE UPDATE ON access.api_keys FOR EACH ROW WHEN (OLD.key_id = %s) EXECUTE FUNCTION access.keep();
"""


async def some_books(api: Api) -> None:
    """Fill the books with something of everything, and see to it that the key stays good."""
    await api.partner()
    orders = [api.order(customer={"id": f"c-{number}"}) for number in range(5)]
    await api.post("/orders", [*orders, api.refund("o-1", "500.00"), api.refund("o-2", "40.00"), {"order_id": "bad"}])
    await api.post("/commissions/o-3/approve")
    await api.project()
    async with await psycopg.AsyncConnection.connect(api.database_url, autocommit=True) as conn:
        key_id = api.keys["acme"].split("_")[1]
        await conn.execute(KEEP_KEY.replace("%s", f"'{key_id}'"))


# A few minutes with 200 examples.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", PARTS)
async def test_the_api_is_what_its_document_says(database_url, tmp_path: Path, part: str):
    """No call answers with a 5xx or with what is not documented, and what is documented as wrong is refused."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    async with running(database_url) as api:
        await some_books(api)
        projector = Projector(database_url)
        following = asyncio.create_task(asyncio.to_thread(projector.run))
        address = str(api.client.make_url("/api/v1/openapi.json"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", address, *PARTS[part],
            "--header", f"Authorization: Bearer {api.keys['acme']}", "--max-examples", str(EXAMPLES),
            "--no-color", "--workers", "1",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path,
        )  # fmt: skip
        output, _ = await process.communicate()
        projector.stop()
        await following
        (tmp_path / "output.txt").write_bytes(output)
        assert process.returncode == 0, output.decode()[-20_000:]
        assert b"Authentication failed" not in output, "the key was lost on the way"
