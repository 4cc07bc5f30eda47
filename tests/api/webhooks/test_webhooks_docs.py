"""docs/webhooks.md as it stands: its list of types, and its receivers, which are run against what is really sent."""

import asyncio
import re
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.embedded.process import free_port
from schemas.feed_types import MEANINGS, NOT_SENT_YET
from tests.support.api import running
from tests.support.receivers import sending
from tests.support.requirements import require

PAGE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text(encoding="utf-8")


def test_the_page_lists_every_type_that_is_sent():
    """The table of types is the list that the service has, with its words, and nothing that is never sent."""
    listed = re.findall(r"^\| `([a-z_.]+)` \| (.+) \|$", PAGE.partition("## Types")[2], re.MULTILINE)
    assert dict(listed) == {type_: means for type_, means in MEANINGS.items() if type_ not in NOT_SENT_YET}


@pytest.mark.parametrize("language", ["python", "js"])
async def test_the_receiver_of_the_page_tells_genuine_from_forged(database_url, tmp_path, language):
    """A receiver copied from the page takes what is signed with its secret, once, and refuses everything else."""
    program = sys.executable if language == "python" else shutil.which("node")
    require(program is not None, "Node")
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / f"receiver.{language}").write_text(code)
    port = free_port()
    async with running(database_url, webhook_allow_private=True) as api:
        body = {"url": f"http://127.0.0.1:{port}/", "types": ["partner.*"]}
        ours, forged = [(await api.post("/webhooks", body)).json for _ in range(2)]
        await api.partner()
        receiver = await asyncio.create_subprocess_exec(
            str(program), str(tmp_path / f"receiver.{language}"), stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, env={"WEBHOOK_SECRET": ours["secret"], "PORT": str(port)},
        )  # fmt: skip
        try:
            await listening(port)
            async with sending(api.ledger, datetime.now(UTC)) as sender:
                await sender.all()
                (delivery,) = (await api.get(f"/webhooks/{ours['id']}/deliveries")).json["data"]
                await api.post(f"/webhooks/{ours['id']}/deliveries/{delivery['id']}/redeliver")
                await sender.all()
        finally:
            receiver.kill()
        printed, _ = await receiver.communicate()
        assert re.fullmatch(r"partner\.registered partner/p_\w+\n", printed.decode())
        assert await statuses(api, ours) == [204, 204]
        assert await statuses(api, forged) == [401]


async def statuses(api, webhook):
    """Return what each attempt of the only delivery was answered."""
    (delivery,) = (await api.get(f"/webhooks/{webhook['id']}/deliveries")).json["data"]
    return [attempt["status"] for attempt in delivery["attempts"]]


async def listening(port):
    """Wait until somebody listens."""
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise AssertionError
