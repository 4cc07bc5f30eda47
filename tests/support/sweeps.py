"""Carries out bans at once, as the worker's leader does it at its next tick."""

from datetime import UTC, datetime

from consumers.bans import Bans
from consumers.health import Health
from consumers.settings import WorkerSettings
from projections.read import Reads


async def carry_out(ledger, pool, *, page: int = 500, now: datetime | None = None) -> int:
    """Sweep what is on the list; returns how many sweeps ended: not those whose ban the read models do not know yet."""
    health = Health()
    at = now or datetime.now(UTC)
    ended = await Bans(
        WorkerSettings(ban_page=page), ledger, Reads(pool).swept_commissions, health, lambda: at
    ).carry_out()
    assert health.is_up("bans"), health.report()
    return ended
