"""The rails on which money leaves: one small interface. A rail never decides, it only tells what the provider said.

Whatever is not a definite answer is `Unknown`: a time-out, 5xx, 409, 429, HTML, a cut body, any foreign exception. A
rail raises nothing on purpose; what escapes it all the same is taken for `Unknown` as well (spec, section 1).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

State: TypeAlias = Literal["in_transit", "held", "processed", "failed", "returned"]
"""What the provider says of a payout. `held`: unclaimed, on hold. `returned`: all of it came back after it was sent."""


class Payee(NamedTuple):
    """Who is paid, in the words of the rail. Personal data: never in an event, never in a log line.

    `address` is the provider's account id, an e-mail address, an IBAN; `routing` a BIC, or the kind of the address.
    """

    address: str
    name: str = ""
    routing: str = ""


class Instruction(NamedTuple):
    """What one attempt is to do. `number` counts from 1; `key` is `payout-{payout_id}-{number}`, for ever."""

    merchant_id: str
    payout_id: str
    partner_id: str
    number: int
    key: str
    amount_minor: int
    currency: str
    payee: Payee


class Attempt(NamedTuple):
    """An attempt as it was written down before the provider was called: these bytes go out under this key, no others.

    `window_ends_at`: until then the provider takes the same key for the same payment.
    """

    instruction: Instruction
    body: bytes
    body_sha256: str
    started_at: datetime
    window_ends_at: datetime


class Found(NamedTuple):
    """A payment as the provider has it now: its state, not a change of it.

    `payee` is the address that it went to, None where the provider does not say. `returned_minor` is the running total
    of what came back, `code` says why it failed, is held or came back. `transaction_id` is the number that the payee
    sees, where that is not the reference.
    """

    state: State
    reference: str
    amount_minor: int
    currency: str
    payee: str | None = None
    returned_minor: int = 0
    code: str | None = None
    transaction_id: str | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the payee has something of it, or may still get it."""
        return self.state not in ("failed", "returned") and self.returned_minor < self.amount_minor


class Accepted(NamedTuple):
    """The provider took the payment (or had taken it before, under the same key)."""

    found: Found


class Rejected(NamedTuple):
    """A definite rejection from the closed list of the rail: nothing was sent, and nothing will be under this key."""

    code: str
    message: str = ""


class Missing(NamedTuple):
    """The provider shows nothing. No proof that nothing was sent: the same key and body may go again, no other."""


class Several(NamedTuple):
    """The provider has more than one payment for this payout: somebody has to look."""

    references: Sequence[str]


class Unknown(NamedTuple):
    """No definite answer. `then`: ask `again`; `stop` the rail (bad credentials); `review` (our own bug)."""

    reason: str
    then: Literal["again", "stop", "review"] = "again"


class Listed(NamedTuple):
    """A payment in a provider's list; `payout_id` is whose it says it is, None where it says nothing.

    `merchant_id` and `partner_id` are what was sent along with it, for books that know nothing of it (any more).
    """

    payout_id: str | None
    found: Found
    merchant_id: str | None = None
    partner_id: str | None = None


@runtime_checkable
class Lists(Protocol):
    """A rail whose provider can be asked for all payments of some time, to find those that we do not know of."""

    async def listed(self, since: datetime, until: datetime) -> Sequence[Listed] | Unknown:
        """Return the payments that were made from `since` to before `until`, the newest first."""


class Rail(Protocol):
    """One way of paying."""

    name: str
    window: timedelta
    """How long after its start the same key is surely taken for the same payment: less than what the provider says."""

    def refusal(self, instruction: Instruction, now: datetime) -> str | None:
        """Return why no attempt may begin now (switched off, a limit, no keys), None where it may. No I/O."""

    def compose(self, instruction: Instruction) -> bytes:
        """Return the body of the request, byte for byte the same for the same instruction; no I/O.

        Raises RejectedError for what the rail can never send (a currency, an amount, a payee).
        """

    async def submit(self, attempt: Attempt) -> Accepted | Rejected | Unknown:
        """Send the body under the key, exactly as they are, and return what the provider said."""

    async def look_up(self, attempt: Attempt) -> Found | Missing | Several | Unknown:
        """Return what the provider has for the attempt's payout. Sends nothing.

        `Missing` as well where the provider can only be asked by sending the same again (PayPal).
        """

    async def state(self, reference: str) -> Found | Missing | Unknown:
        """Return what the provider says of the payment with this reference."""
