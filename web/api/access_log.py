"""The access log: every change of users and keys."""

from projections import access
from schemas.api import Listing, Page
from schemas.api_access import AccessChange
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable

access_log = RouteTable("users and keys")


@access_log.get("/access-log", query=Listing, answer=Page[AccessChange], scope="admin")
async def list_access_changes(call: Call[None, Listing]) -> Reply:
    """List every change of the merchant's users and keys, newest first: who, when, what, and in which request.

    Also who took the list of payments by hand (`payouts.by_hand_taken`), and how many payouts were in it.
    """
    place = from_cursor(call.query.cursor, int)
    page = await call.services.reads.access_changes(
        call.merchant_id, before=place[0] if place else None, limit=call.query.limit
    )
    data = [_shown(row) for row in page.rows]
    return Reply(Page[AccessChange](data=data, next_cursor=cursor_of(page.next)))


def _shown(row: access.Change) -> AccessChange:
    return AccessChange(
        at=row.at, type=row.type, subject=row.subject, details=row.details, cause=row.cause, key_id=row.key_id,
        user_id=row.user_id,
    )  # fmt: skip
