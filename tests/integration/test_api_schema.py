"""The running API against its own OpenAPI document, asked by a program that has read nothing else."""

import asyncio
import sys
from pathlib import Path

from projections.runner import Projector
from tests.support.api import running

EXAMPLES = 8

# 422 is the answer to what a schema cannot say: that a currency exists, that a rate has the currency's decimals, that
# one day comes after another. Everything else that the document allows has to be taken.
CONFIG = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
"""


async def test_the_api_is_what_its_document_says(database_url, tmp_path: Path):
    """No call answers with a 5xx or with what is not documented, and what is documented as wrong is refused."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    async with running(database_url) as api:
        partner = await api.partner()
        await api.post("/orders", [api.order(customer={"id": "c-1"}), api.refund("o-1", "500.00")])
        await api.project()
        projector = Projector(database_url)
        following = asyncio.create_task(asyncio.to_thread(projector.run))
        address = str(api.client.make_url("/api/v1/openapi.json"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", address,
            "--header", f"Authorization: Bearer {api.keys['acme']}", "--max-examples", str(EXAMPLES), "--seed", "7",
            "--no-color", "--generation-database", "none", "--workers", "1",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path,
        )  # fmt: skip
        output, _ = await process.communicate()
        projector.stop()
        await following
        assert process.returncode == 0, output.decode()[-20_000:]
        assert (await api.get(f"/partners/{partner['id']}")).status == 200
