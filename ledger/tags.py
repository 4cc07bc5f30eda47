"""Tags: what a merchant calls its partners. They may tell of people, so they are kept beside the events."""

from collections.abc import Mapping, Sequence

from psycopg import Cursor
from psycopg.rows import DictRow

from schemas.errors import RejectedError

TAGS_MAX = 20


def folded_tags(tags: Sequence[str]) -> dict[str, str]:
    """Return the tags by what makes them unique. Raises RejectedError `bad_tags`: too many, or one that is twice."""
    if len(tags) > TAGS_MAX:
        raise RejectedError.at("$.tags", "bad_tags", f"at most {TAGS_MAX} tags")
    folded: dict[str, str] = {}
    for number, tag in enumerate(tags):
        key = fold_tag(tag)
        if key in folded:
            raise RejectedError.at(f"$.tags[{number}]", "bad_tags", f"{tag!r} is there twice; case does not count")
        folded[key] = tag.strip()
    return folded


def fold_tag(tag: str) -> str:
    """Return the tag as it is compared: without surrounding space and case."""
    return tag.strip().casefold()


def write_tags(curs: Cursor[DictRow], merchant_id: str, partner_id: str, folded: Mapping[str, str]) -> None:
    """Put these tags in the place of those that the partner has; runs in the transaction of the event about it."""
    curs.execute(
        "DELETE FROM people.partner_tags WHERE merchant_id = %s AND partner_id = %s", (merchant_id, partner_id)
    )
    curs.execute(
        "INSERT INTO people.partner_tags (merchant_id, partner_id, folded, tag, number)"
        " SELECT %s, %s, folded, tag, number"
        " FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS t(folded, tag, number)"
        # Of two changes at the same time the partner's stream refuses one.
        " ON CONFLICT (merchant_id, partner_id, folded) DO NOTHING",
        (merchant_id, partner_id, list(folded), list(folded.values())),
    )
