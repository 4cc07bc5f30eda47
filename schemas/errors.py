"""The error tree: what went wrong decides what happens next (DESIGN section 10).

`RejectedError`: the input will never be right (dead letter, or a 4xx answer).
`RetryableError`: the world is busy (back off, or a 503 answer).
`CorruptionError`: an invariant is broken (stop and say so).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Fault(NamedTuple):
    """One thing wrong with an input: where (a JSON path such as `$.total`), a stable code, and a sentence."""

    path: str
    code: str
    message: str


class LedgerError(Exception):
    """Every error that the service raises on purpose. Never raised itself."""


class RejectedError(LedgerError):
    """The input will never be right.

    `code` is stable and meant for programs, the message is a sentence for people, `faults` name the fields.
    """

    def __init__(self, code: str, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.faults = tuple(faults)

    @classmethod
    def at(cls, path: str, code: str, message: str) -> "RejectedError":
        """Return a rejection with exactly one fault, whose code and message are those of the whole."""
        return cls(code, message, [Fault(path, code, message)])

    @property
    def path(self) -> str:
        """The JSON path of the first fault, `$` (the whole input) where none is named."""
        return self.faults[0].path if self.faults else "$"


class NotFoundError(RejectedError):
    """There is no such thing, or it belongs to somebody else: the two are never told apart."""

    def __init__(self, what: str, key: str) -> None:
        super().__init__("not_found", f"there is no {what} {key!r}")


class ConflictError(RejectedError):
    """The input contradicts what is already on the books."""


class IllegalMoveError(ConflictError):
    """A commission (or payout) cannot make this move from the state it is in."""

    def __init__(self, move: str, state: str, legal: Iterable[str]) -> None:
        self.state = state
        self.legal = tuple(sorted(legal))
        allowed = ", ".join(self.legal) or "none"
        super().__init__("illegal_move", f"cannot {move} while {state}; legal moves: {allowed}")


class UnauthorizedError(RejectedError):
    """No key, or one that is not (or no longer) valid."""


class ForbiddenError(RejectedError):
    """A valid key that may not do this."""


class RetryableError(LedgerError):
    """The world is busy or away (database, broker, provider): the same call may succeed later."""


class CorruptionError(LedgerError):
    """An invariant of the books is broken: nothing may be written on top of it."""
