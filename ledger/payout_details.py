"""How partners are paid: kept sealed, version after version, shown masked. A change has to cool down first.

A payout that was requested keeps what it was requested with: it has its own copy, which nothing here touches.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from psycopg import Cursor, sql
from psycopg.rows import DictRow

from ledger import partners, stripe_accounts
from ledger.access import Actor, note, once
from ledger.application import Ledger
from ledger.payout_runs import Payable
from ledger.requests import Request
from ledger.sealing import KeyRing, key_id
from ledger.stripe_accounts import Account
from schemas.errors import CorruptionError, NotFoundError
from schemas.payout_methods import PayoutMethod, checked_method, masked


class Details(NamedTuple):
    """How a partner is paid, as it is shown: masked. `usable_at` is when new payouts may go there."""

    partner_id: str
    number: int
    method: PayoutMethod
    changed_at: datetime
    changed_by: str
    usable_at: datetime
    position: None = None


class Change(NamedTuple):
    """One version of somebody's details: when and by whom, to which method (None: removed)."""

    number: int
    method: str | None
    changed_at: datetime
    changed_by: str


class PayoutDetails:
    """The details of all partners; thread-safe. Every call raises RetryableError where the database does not answer.

    `cool_down` is how long after a change nothing new is paid; the very first details need none.
    """

    def __init__(self, ledger: Ledger, keys: KeyRing, cool_down: timedelta) -> None:
        self._ledger, self._keys, self._cool_down = ledger, keys, cool_down

    def change(
        self,
        merchant_id: str,
        partner_id: str,
        told: PayoutMethod,
        *,
        by: Actor | str,
        now: datetime,
        request: Request | None = None,
    ) -> Details:
        """Keep how the partner wants to be paid, and return it masked; what is the same already changes nothing.

        A change is in the log of changes and in the feed: who, when, to which method, and never to what. `by` is who
        acts, or only the cause. Raises NotFoundError, RejectedError as `checked_method` does.
        """
        partners.find(self._ledger, merchant_id, partner_id)
        checked, who = checked_method(told), _actor(by)
        return once(self._ledger, request, lambda curs: self._keep(curs, merchant_id, partner_id, checked, who, now))

    def remove(self, merchant_id: str, partner_id: str, *, by: Actor | str, now: datetime, waits: bool = False) -> None:
        """Forget how the partner is paid: the versions stay, with nothing in them. Raises NotFoundError.

        `waits`: the partner's account at Stripe becomes it again once it can be paid.
        """

        def work(curs: Cursor[DictRow]) -> None:
            row = self._locked(curs, merchant_id, partner_id)
            if row is None or row["details"] is None:
                raise NotFoundError("payout details of partner", partner_id)
            self._insert(curs, merchant_id, partner_id, row["number"] + 1, None, _actor(by), now)
            stripe_accounts.want(curs, merchant_id, partner_id, wanted=waits)

        once(self._ledger, None, work)

    def adopt(self, account: Account, *, by: Actor, now: datetime) -> Details | None:
        """Make an account that Stripe can pay the way its partner is paid, where that is what is waited for.

        Returns the details, None where something else was chosen since.
        """
        told = checked_method(PayoutMethod(method="stripe", address=account.account_id))

        def work(curs: Cursor[DictRow]) -> Details | None:
            self._locked(curs, account.merchant_id, account.partner_id)
            if not stripe_accounts.is_wanted(curs, account.merchant_id, account.partner_id):
                return None
            return self._keep(curs, account.merchant_id, account.partner_id, told, by, now)

        return once(self._ledger, None, work)

    def find(self, merchant_id: str, partner_id: str) -> Details | None:
        """Return how the partner is paid, masked; None where that is not known. Raises CorruptionError."""
        rows = self._current(merchant_id, [partner_id])
        if not rows or rows[0]["details"] is None:
            return None
        (row,) = rows
        return self._shown(row, self._opened(merchant_id, row))

    def history(self, merchant_id: str, partner_id: str) -> list[Change]:
        """Return every change, the oldest first: who and when, never to what."""
        with self._ledger.connection() as conn:
            rows = conn.execute(
                "SELECT number, method, changed_at, changed_by FROM people.payout_details"
                " WHERE merchant_id = %s AND partner_id = %s ORDER BY number",
                (merchant_id, partner_id),
            ).fetchall()
        return [Change(**row) for row in rows]

    # --- for payout runs ---

    def payable(
        self, merchant_id: str, partner_ids: Sequence[str], now: datetime, on_hold: frozenset[str] = frozenset()
    ) -> dict[str, Payable]:
        """Return whether and on which rail each partner can be paid now, for `ledger.payout_runs.choose`."""
        found: dict[str, Payable] = {
            each: Payable(None, on_hold=each in on_hold, details="no_payout_details") for each in partner_ids
        }
        for row in self._current(merchant_id, partner_ids):
            if row["method"] is not None:
                cooling = "details_changed" if now < self._usable_at(row) else None
                partner_id = row["partner_id"]
                found[partner_id] = Payable(row["method"], on_hold=partner_id in on_hold, details=cooling)  # type: ignore[arg-type]
        return found

    def payees(
        self,
        merchant_id: str,
        partner_ids: Sequence[str],
        frozen: tuple[Mapping[str, str | None], datetime] | None = None,
    ) -> Mapping[str, bytes]:
        """Return the sealed payee (`consumers.rails.Payee`) of each partner who has one.

        With `frozen` (on which rail each is to be paid, and now) only of those who still are, and whose details have
        cooled down. Raises CorruptionError where what is stored is somebody else's.
        """
        found = {}
        for row in self._current(merchant_id, partner_ids):
            rail, now = (row["method"], None) if frozen is None else (frozen[0].get(row["partner_id"]), frozen[1])
            if rail != row["method"] or (now is not None and now < self._usable_at(row)):
                continue
            if row["details"] is not None:
                told = self._opened(merchant_id, row)
                payee = msgspec.json.encode((told.address, told.name, told.routing))
                found[row["partner_id"]] = self._keys.seal(payee)
        return found

    # --- parts ---

    def _keep(
        self, curs: Cursor[DictRow], merchant_id: str, partner_id: str, checked: PayoutMethod, by: Actor, now: datetime
    ) -> Details:
        row = self._locked(curs, merchant_id, partner_id)
        stripe_accounts.want(curs, merchant_id, partner_id, wanted=False)
        if row is None or row["details"] is None or self._opened(merchant_id, row) != checked:
            number = (row["number"] if row else 0) + 1
            self._insert(curs, merchant_id, partner_id, number, checked, by, now)
            row = {"partner_id": partner_id, "number": number, "changed_at": now, "changed_by": by.cause}
        return self._shown(row, checked)

    def _shown(self, row: DictRow, method: PayoutMethod) -> Details:
        return Details(
            row["partner_id"], row["number"], masked(method), row["changed_at"], row["changed_by"], self._usable_at(row)
        )

    @staticmethod
    def _locked(curs: Cursor[DictRow], merchant_id: str, partner_id: str) -> DictRow | None:
        # Of a partner without any details there is no row to lock yet.
        key = f"payout_details/{merchant_id}/{partner_id}"
        curs.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))
        return curs.execute(f"{_VERSIONS} ORDER BY number DESC LIMIT 1", (merchant_id, [partner_id])).fetchone()

    def _insert(
        self,
        curs: Cursor[DictRow],
        merchant_id: str,
        partner_id: str,
        number: int,
        checked: PayoutMethod | None,
        by: Actor,
        now: datetime,
    ) -> None:
        sealed = None
        if checked is not None:
            # With whose it is, so that a row that was put in another's place is found out.
            sealed = self._keys.seal(msgspec.json.encode((merchant_id, partner_id, checked.model_dump())))
        method = checked and checked.method
        curs.execute(
            "INSERT INTO people.payout_details (merchant_id, partner_id, number, method, details, changed_at,"
            " changed_by) VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (merchant_id, partner_id, number, method, sealed, now, by.cause),
        )
        # Of former versions only that they were stays: nobody is paid there any more.
        curs.execute(
            "UPDATE people.payout_details SET method = NULL, details = NULL"
            " WHERE merchant_id = %s AND partner_id = %s AND number < %s",
            (merchant_id, partner_id, number),
        )
        change = "partner.payout_details_removed" if method is None else "partner.payout_details_changed"
        note(curs, merchant_id, by, now, change, partner_id, **({} if method is None else {"method": method}))

    def _current(self, merchant_id: str, partner_ids: Sequence[str]) -> list[DictRow]:
        with self._ledger.connection() as conn:
            return conn.execute(_CURRENT, (merchant_id, list(partner_ids))).fetchall()

    def _opened(self, merchant_id: str, row: DictRow) -> PayoutMethod:
        whose, partner_id, told = msgspec.json.decode(self._keys.unseal(bytes(row["details"])))
        if (whose, partner_id) != (merchant_id, row["partner_id"]):
            raise CorruptionError(f"the payout details of {row['partner_id']} are somebody else's")
        return PayoutMethod.model_validate(told)

    def _usable_at(self, row: DictRow) -> datetime:
        changed_at: datetime = row["changed_at"]
        return changed_at if row["number"] == 1 else changed_at + self._cool_down


_VERSIONS = (
    "SELECT partner_id, number, method, details, changed_at, changed_by FROM people.payout_details"
    " WHERE merchant_id = %s AND partner_id = ANY(%s)"
)
_CURRENT = f"SELECT DISTINCT ON (partner_id) * FROM ({_VERSIONS}) AS versions ORDER BY partner_id, number DESC"  # noqa: S608


def _actor(by: Actor | str) -> Actor:
    return Actor(by) if isinstance(by, str) else by


SEALED = {
    "people.payout_details": ("merchant_id, partner_id, number", ("details",)),
    "people.payout_payees": ("merchant_id, payout_id", ("payee",)),
    "people.payout_attempts": ("merchant_id, payout_id, attempt", ("body",)),
    "people.stripe_accounts": ("merchant_id, partner_id", ("account",)),
    "people.bank_orders": ("end_to_end_id", ("body",)),
    "people.bank_batches": ("batch_id", ("xml", "csv")),
}
"""Everything that is sealed: the key of each table, and its sealed columns."""


def rotate(ledger: Ledger, keys: KeyRing, limit: int = 1_000) -> int:
    """Seal anew what another key than the current one sealed, up to `limit` values, and return how many those were.

    Call it until it returns 0; the former key may go then. What others write meanwhile is not overwritten. Raises
    CorruptionError, RetryableError.
    """
    done = 0
    for table, (key, columns) in SEALED.items():
        for column in columns:
            if done < limit:
                done += _rotate(ledger, keys, table, key, column, limit - done)
    return done


def _rotate(ledger: Ledger, keys: KeyRing, table: str, key: str, column: str, limit: int) -> int:
    schema, _, name = table.partition(".")
    names = {
        "table": sql.Identifier(schema, name),
        "column": sql.Identifier(column),
        "key": sql.SQL(", ").join(map(sql.Identifier, key.split(", "))),
    }
    # The id of the key stands in front of what it sealed: format, length, id.
    current = b"\x01" + bytes([len(keys.current)]) + keys.current.encode()
    old = sql.SQL("substring({column} FOR %s) <> %s").format(**names)
    query = sql.SQL("SELECT {key}, {column} AS sealed FROM {table} WHERE {column} IS NOT NULL AND ").format(**names)
    with ledger.connection() as conn:
        rows = conn.execute(query + old + sql.SQL(" LIMIT %s"), (len(current), current, limit)).fetchall()
        write = sql.SQL("UPDATE {table} SET {column} = %s WHERE {column} = %s AND ").format(**names)
        write += sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(each)) for each in key.split(", "))
        for row in rows:
            sealed = bytes(row.pop("sealed"))
            assert key_id(sealed) != keys.current  # noqa: S101 - the query says so
            conn.execute(write, (keys.seal(keys.unseal(sealed)), sealed, *row.values()))
    return len(rows)
