"""Two who decide on one payout at the same moment: one of them does, the other one notices."""

import asyncio

import pytest

from ledger import payouts as decisions
from ledger.payout_books import PayoutBooks
from ledger.payouts import Act
from schemas.errors import IllegalMoveError
from tests.support import payouts
from tests.support.api import running


class Interrupted:
    """A store in which somebody else is faster, after the payout was read and before what it holds is."""

    def __init__(self, store, meanwhile):
        self._store, self._meanwhile = store, [meanwhile]

    def __getattr__(self, name):
        """Return what the store itself has."""
        return getattr(self._store, name)

    def reservations(self, names):
        """Let the other one do it first, once."""
        while self._meanwhile:
            self._meanwhile.pop()()
        return self._store.reservations(names)


@pytest.mark.parametrize("expects", [True, False])
async def test_who_is_slower_notices_it(database_url, expects):
    """What was decided of a payout as it no longer is, is dropped or decided anew, and never a fault of the books."""
    async with running(database_url) as api:
        jane = (await api.partner())["id"]
        await payouts.payable_to(api, jane)
        await payouts.earn(api, "100.00")
        await payouts.run(api)
        ((payout,), books) = (await payouts.payouts(api), api.paying.books)
        name, act = ("acme", payout["id"]), Act(api.now, "test")
        version = books.find(name).version

        def cancel(found):
            return decisions.cancel(found, act, "called off")

        slower = PayoutBooks(Interrupted(books.store, lambda: books.decide(name, cancel, act)), books.day_of)
        if expects:
            done = await asyncio.to_thread(slower.decide, name, cancel, act, expect=version)
            assert done.dropped
        else:
            with pytest.raises(IllegalMoveError, match="cannot cancel while cancelled"):
                await asyncio.to_thread(slower.decide, name, cancel, act)
        assert books.find(name).version == version + 1
