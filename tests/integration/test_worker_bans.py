"""The worker's leader carries bans through, whoever recorded them, and tells where it cannot."""

import asyncio
import threading

from psycopg_pool import AsyncConnectionPool

from ledger import partners
from ledger.application import Ledger
from projections.read import Reads
from projections.runner import Projector
from tests.integration.test_commands import NOW
from tests.support.books import until_consumed
from tests.support.order_messages import placed
from tests.support.publishing import publish
from tests.support.read_models import execute
from tests.support.registration import HASH_KEY, register
from tests.support.running_worker import ready, running, worker_settings
from tests.support.storefront import sample_program
from tests.support.waiting import until

COUNT = 30
ORDERS = [placed(f"b-{n}") for n in range(COUNT)]
STATES = "SELECT state, count(*) FROM read.commissions WHERE partner_id = 'jane' GROUP BY state"


async def test_a_ban_is_carried_out_by_the_leader(database_url, broker, topic):
    """Banned beside a running worker, all of a partner's open commissions are rejected; reinstated, they are back."""
    ledger = Ledger(database_url, hash_key=HASH_KEY)
    register(ledger, sample_program())
    settings = worker_settings(broker.bootstrap, topic, ban_interval_s=0.1, ban_page=7)
    projector = Projector(database_url, poll_s=0.1)
    thread = threading.Thread(target=projector.run)
    thread.start()
    options = {"open": False, "min_size": 1, "max_size": 1, "kwargs": {"autocommit": True}}
    try:
        async with AsyncConnectionPool(database_url, **options) as pool:
            reads, away = Reads(pool), [OSError("the read side is away")]

            async def swept(*asked):
                if away:
                    raise away[0]
                return await reads.swept_commissions(*asked)

            await publish(broker.bootstrap, topic, ORDERS)
            async with running(database_url, settings, swept=swept) as health:
                await until_consumed(database_url, COUNT)
                await _move(ledger, partners.ban, reason="fraud")
                reason = await until(lambda: health.report()["checks"].get("bans"), "the sweep failing")
                assert "the read side is away" in reason
                away.clear()
                await until(lambda: execute(database_url, STATES) == [("rejected", COUNT)], "the ban being carried out")
                await ready(health)
                await _move(ledger, partners.reinstate)
                await until(lambda: execute(database_url, STATES) == [("pending", COUNT)], "its end being carried out")
    finally:
        projector.stop()
        thread.join()
        ledger.close()


async def _move(ledger, move, **details):
    told = {"merchant_id": "acme", "partner_id": "jane", "now": NOW, "cause": "test", **details}
    await asyncio.to_thread(lambda: move(ledger, **told))
