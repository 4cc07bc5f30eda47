"""The store of payouts in memory: (stream, version) is unique, a commit is all or nothing, as in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from ledger.events import decode, encode
from ledger.payout_commissions import Held
from ledger.payout_events import PayoutRequested, payout_stream
from ledger.payout_store import HintHandledError, PayoutOpenError
from ledger.payouts import AT_REST
from ledger.store import VersionConflictError
from schemas.errors import ConflictError


class MemoryPayoutStore:
    """What `ledger.payout_store.PayoutStore` promises, without any database."""

    def __init__(self):
        self.log, self.rows, self.kept_lines = [], {}, {}
        self._streams, self._places = {}, {}
        self.payees, self.bodies, self.freezes, self.kept_hints, self.confirmations = {}, {}, {}, {}, {}

    # --- streams ---

    def streams(self, names):
        """Return the events of each stream that exists."""
        return {name: list(self._streams[name]) for name in names if name in self._streams}

    def after(self, position):
        """Return the events behind the position, and where they stand."""
        return [(position + number, each.event) for number, each in enumerate(self.log[position:], 1)]

    def reservations(self, names):
        """Return what stands directly before each payout's request."""
        found = {}
        for name in names:
            at = self._places[payout_stream(*name)]
            request = self.log[at].event
            held = self.log[at - request.reservations : at]
            found[name] = [Held(each, len(self._streams[each.originator_id])) for each in held]
        return found

    # --- writing ---

    def commit(self, changes, *, now, others=(), lines=None, request=None, result=None):  # noqa: ARG002 - of the protocol
        """Append all events and write all rows, or nothing."""
        events = [*others, *(event for change in changes for event in change.events)]
        self._check(changes, events)
        for recorded in events:
            # As it would come back from the log.
            event = decode(type(recorded.event).__name__, encode(recorded.event))
            if isinstance(event, PayoutRequested):
                self._places[recorded.originator_id] = len(self.log)
            self.log.append(recorded._replace(event=event))
            self._streams.setdefault(recorded.originator_id, []).append(self.log[-1])
        for change in changes:
            self._write(change)
        if lines is not None:
            merchant_id, run_id, written = lines
            for line in written:
                self.kept_lines[merchant_id, run_id, line.partner_id, line.currency] = [line, False]
        return len(self.log) if events else None

    def _check(self, changes, events):
        heads = {}
        for recorded in events:
            head = heads.get(recorded.originator_id, len(self._streams.get(recorded.originator_id, ())))
            if recorded.originator_version != head + 1:
                assert recorded.originator_version <= head, "a version was left out"
                raise VersionConflictError("taken")
            heads[recorded.originator_id] = head + 1
        refused = [
            change.payout.opened.payout_id for change in changes if self._is_new(change) and self._opened(change)
        ]
        if refused:
            raise PayoutOpenError(refused)
        for change in changes:
            if change.hint is not None and self.kept_hints[change.hint]["handled"]:
                raise HintHandledError("handled")
            key = change.confirmed and (change.payout.opened.merchant_id, *change.confirmed)
            if key and key in self.confirmations:
                raise ConflictError("transaction_used", "used")

    @staticmethod
    def _is_new(change):
        return bool(change.events) and isinstance(change.events[-1].event, PayoutRequested)

    def _opened(self, change):
        opened = change.payout.opened
        owner = (opened.merchant_id, opened.partner_id, opened.currency)
        return any(
            (o.merchant_id, o.partner_id, o.currency) == owner and row["state"] not in AT_REST
            for row in self.rows.values()
            for o in (row["payout"].opened,)
        )

    def _write(self, change):
        payout = change.payout
        opened = payout.opened
        name = (opened.merchant_id, opened.payout_id)
        if self._is_new(change):
            self.payees[name] = change.payee
            line = self.kept_lines.get((opened.merchant_id, opened.run_id, opened.partner_id, opened.currency))
            if line is not None:
                line[:] = [line[0]._replace(amount_minor=opened.amount_minor), True]
        if name not in self.rows or self.rows[name]["payout"].version <= payout.version:
            self.rows[name] = {"payout": payout, "state": payout.state, "due_at": change.due_at}
        if change.body is not None:
            self.bodies[(*name, payout.attempt)] = change.body
        if change.frozen is not None:
            self.freezes.setdefault((opened.merchant_id, opened.partner_id), change.frozen)
        if change.confirmed is not None:
            self.confirmations[opened.merchant_id, *change.confirmed] = opened.payout_id
        if change.hint is not None:
            self.kept_hints[change.hint].update(handled=True, due_at=None)

    # --- work ---

    def due(self, now: datetime, lease: timedelta, limit: int):
        """Take the payouts whose time has come."""
        found = sorted((r["due_at"], name) for name, r in self.rows.items() if r["due_at"] and r["due_at"] <= now)
        for _, name in found[:limit]:
            self.rows[name]["due_at"] = now + lease
        return [name for _, name in found[:limit]]

    def postpone(self, name, version, due_at):
        """Look at the payout again at that time, if nothing happened to it."""
        if self.rows[name]["payout"].version == version:
            self.rows[name]["due_at"] = due_at

    def payee(self, name):
        """Return who is paid."""
        return self.payees.get(name)

    def body(self, name, attempt):
        """Return what the attempt sends."""
        return self.bodies.get((*name, attempt))

    def frozen(self, merchant_id, partner_ids: Sequence[str]):
        """Return those of the partners whose payouts are frozen."""
        return {p: self.freezes[merchant_id, p] for p in partner_ids if (merchant_id, p) in self.freezes}

    def unfreeze(self, merchant_id, partner_id):
        """Let the partner be paid again."""
        return self.freezes.pop((merchant_id, partner_id), None) is not None

    def keep_hint(self, hint, now):
        """Keep what a provider sent."""
        key = (hint.provider, hint.event_id)
        if key in self.kept_hints:
            return False
        self.kept_hints[key] = {"hint": hint, "due_at": now, "handled": False}
        return True

    def hints(self, now, lease, limit):
        """Take the hints whose time has come."""
        due = [row for row in self.kept_hints.values() if row["due_at"] and row["due_at"] <= now][:limit]
        for row in due:
            row["due_at"] = now + lease
        return [(row["hint"], self._name_of(row["hint"])) for row in due]

    def _name_of(self, hint):
        for name, row in self.rows.items():
            reference = row["payout"].reference
            if name[1] == hint.payout_id or (hint.payout_id is None and reference and reference == hint.reference):
                return name
        return None

    def drop_hint(self, hint, now):  # noqa: ARG002 - as above
        """Note that there is nothing more to do about the hint."""
        self.kept_hints[hint].update(handled=True, due_at=None)

    # --- runs ---

    def opened(self, merchant_id):
        """Return who has an open payout."""
        return frozenset(
            (opened.partner_id, opened.currency)
            for name, row in self.rows.items()
            if name[0] == merchant_id and row["state"] not in AT_REST
            for opened in (row["payout"].opened,)
        )

    def lines(self, merchant_id, run_id, *, waiting, limit=None):
        """Return the lines of a run."""
        found = sorted((key, line) for key, line in self.kept_lines.items() if key[:2] == (merchant_id, run_id))
        lines = [line for _, (line, requested) in found if not waiting or (line.included and not requested)]
        return lines[:limit]

    def of_run(self, merchant_id, run_id, states, limit=None):
        """Return the run's payouts that are in one of the states."""
        return [
            name
            for name, row in sorted(self.rows.items())
            if row["state"] in states and row["payout"].opened.run_id == run_id and name[0] == merchant_id
        ][:limit]
