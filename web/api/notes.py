"""Notes about a partner: for people of the merchant, never shown to the partner."""

from functools import partial
from http import HTTPStatus

from ledger import notes as kept
from projections import partner_lists
from schemas.api import Listing, NewNote, Page, Query
from schemas.api_answers import Note
from schemas.api_stories import ActedBy
from schemas.errors import NotFoundError
from web.api.actors import actors_of
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable

notes = RouteTable("notes")

_NOTES = "/partners/{partner_id:[^/]+}/notes"


@notes.get(_NOTES, query=Listing, answer=Page[Note])
async def list_notes(call: Call[None, Listing]) -> Reply:
    """List the notes about a partner, newest first."""
    partner_id, reads = call.path["partner_id"], call.services.reads
    place = from_cursor(call.query.cursor, int)
    if (await reads.partner(call.merchant_id, partner_id, now=call.now)).row is None:
        raise NotFoundError("partner", partner_id)
    page = await reads.partner_notes(
        call.merchant_id, partner_id, before=place[0] if place else None, limit=call.query.limit
    )
    actors = await actors_of(call, {row.author for row in page.rows})
    data = [_shown(row, actors[row.author]) for row in page.rows]
    return Reply(Page[Note](data=data, next_cursor=cursor_of(page.next)), page.position)


@notes.post(_NOTES, body=NewNote, answer=Note, status=HTTPStatus.CREATED, scope="partners")
async def add_note(call: Call[NewNote, Query]) -> Reply:
    """Note something about a partner."""
    run = partial(
        kept.add, call.services.ledger, merchant_id=call.merchant_id, partner_id=call.path["partner_id"],
        note=call.body.note, now=call.now, cause=call.cause,
    )  # fmt: skip
    by = (await actors_of(call, [call.cause]))[call.cause]
    return await call.write(lambda request: run(request=request), lambda note: _shown(note, by))


@notes.delete(_NOTES + "/{note_id:[^/]+}", scope="partners")
async def remove_note(call: Call[None, Query]) -> Reply:
    """Blot a note out."""
    await call.run(
        lambda: kept.remove(
            call.services.ledger, merchant_id=call.merchant_id, partner_id=call.path["partner_id"],
            note_id=call.path["note_id"],
        )
    )  # fmt: skip
    return Reply(None)


def _shown(note: kept.Note | partner_lists.Note, by: ActedBy) -> Note:
    return Note(id=note.note_id, note=note.note, author=note.author, by=by, at=note.at)
