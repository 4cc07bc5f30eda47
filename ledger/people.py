"""Who partners are, as far as an import has to know: names and addresses are in schema `people`, and can be erased."""

from ledger.application import Ledger
from ledger.events import Stream
from ledger.hashes import partner_id


def name_of(ledger: Ledger, merchant_id: str, partner_id: str) -> str | None:
    """Return the name that a partner is known by, None where it is not known (any more)."""
    with ledger.connection() as conn:
        row = conn.execute(
            "SELECT name FROM people.partners WHERE merchant_id = %s AND partner_id = %s", (merchant_id, partner_id)
        ).fetchone()
    return None if row is None else row["name"]


def partner_of(ledger: Ledger, merchant_id: str, email: str) -> str | None:
    """Return the id of the partner who has this e-mail address, or registered with it; None where nobody has."""
    with ledger.connection() as conn:
        row = conn.execute(
            "SELECT partner_id FROM people.partners WHERE merchant_id = %s AND lower(email) = lower(%s)"
            " ORDER BY partner_id LIMIT 1",
            (merchant_id, email.strip()),
        ).fetchone()
    if row is not None:
        return str(row["partner_id"])
    known = partner_id(ledger.hash_key, merchant_id, email)
    return known if ledger.stream(Stream.partner(merchant_id, known)) else None
