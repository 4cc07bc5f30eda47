"""Lists that are asked for by an address that a person can edit."""

from collections.abc import Mapping
from typing import Any

from schemas.api import Page
from schemas.errors import RejectedError
from web.api.routes import Handler
from web.pages.forms import Refusal, fits
from web.pages.visits import Visit


async def listed(
    visit: Visit, handler: Handler, query: Mapping[str, Any] | None = None, *, path: Mapping[str, str] | None = None
) -> Page[Any]:
    """Return a page of one of the API's lists; an empty one where the address asks for what the list cannot answer.

    Then `visit.refusal` says why, and the page is shown with it (the layout does). Raises what `Visit.ask` raises
    beside that.
    """
    try:
        page: Page[Any] = await visit.ask(handler, visit.query if query is None else query, path=path)
    except RejectedError as error:
        refusal = Refusal.of(error)
        if not fits(refusal.status):
            raise
        visit.refusal = refusal
        return Page(data=[], next_cursor=None)
    return page
