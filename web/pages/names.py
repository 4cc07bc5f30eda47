"""The names of partners, for pages whose lists say ids."""

from collections.abc import Iterable, Mapping

from schemas.api import LIMIT_MAX
from web.api.partners import list_partners
from web.pages.visits import Visit


async def partner_names(visit: Visit, ids: Iterable[str | None]) -> Mapping[str, str]:
    """Return what each of the partners is called: the name, or the id of one whose name is not known (any more)."""
    wanted = sorted({each for each in ids if each})
    names = {each: each for each in wanted}
    for start in range(0, len(wanted), LIMIT_MAX):
        some = wanted[start : start + LIMIT_MAX]
        page = await visit.ask(list_partners, {"ids": ",".join(some), "limit": LIMIT_MAX})
        names |= {partner.id: partner.name or partner.id for partner in page.data}
    return names
