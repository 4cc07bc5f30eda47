"""The types of events that the feed and webhooks tell of, and what each means."""

from collections.abc import Mapping

MEANINGS: Mapping[str, str] = {
    "program.opened": "the program was opened",
    "program.terms_changed": "the program has new terms",
    "partner.registered": "a partner joined, approved at once",
    "partner.applied": "a partner applied",
    "partner.invited": "a partner was invited",
    "partner.approved": "a partner may earn from now on",
    "partner.rejected": "an application was turned down",
    "partner.paused": "a partner's new orders earn nothing for now",
    "partner.reinstated": "a paused or banned partner earns again",
    "partner.banned": "a partner was shut out",
    "partner.details_changed": "a partner's name or e-mail address changed",
    "partner.rate_changed": "a partner has a new rate",
    "coupon.assigned": "a coupon code is a partner's",
    "coupon.rate_changed": "a coupon code has another rate of its own, or none any more",
    "coupon.revoked": "a coupon code is nobody's any more",
    "customer.reassigned": "a customer is another partner's from now on",
    "commission.earned": "an order earned a commission",
    "commission.skipped": "an order with a partner's code earned nothing, and why",
    "commission.entered": "somebody entered a commission by hand",
    "commission.adjusted": "a refund, cancellation or dispute changed a commission",
    "commission.reversed": "nothing of the order is left, nor of its commission",
    "commission.restored": "a dispute was won: a reversed commission is owed again",
    "commission.clawed_back": "a refund of a commission that is (being) paid: it stands beside it as a debt",
    "commission.clawback_returned": "a dispute was won: what was clawed back is given back",
    "commission.approved": "a commission is payable",
    "commission.held": "a commission waits for somebody's decision",
    "commission.released": "a held commission is where it was before",
    "commission.rejected": "a commission will not be paid",
    "commission.reopened": "a rejection was taken back",
    "commission.reserved": "a commission is part of a payout",
    "commission.unreserved": "a payout did not happen: its commission is payable again",
    "commission.paid": "a commission was paid",
    "commission.marked_unpaid": "a commission is owed again: its money came back, or never went",
    "order.refund_parked": "a refund came before its order, and waits for it",
    "order.cancellation_parked": "a cancellation came before its order, and waits for it",
    "order.dispute_parked": "a dispute came before its order, and waits for it",
    "order.dispute_won_parked": "a won dispute came before its order, and waits for it",
    "order.parked_refund_rejected": "the order of something parked came and showed that it cannot be right",
    "dead_letter.opened": "a message was refused",
    "dead_letter.retried": "a refused message was taken in after all",
    "dead_letter.discarded": "a refused message was put away",
    "webhook.created": "a webhook was created",
    "webhook.changed": "a webhook's address, types or description changed",
    "webhook.rotated": "a webhook has a new secret",
    "webhook.tested": "somebody asked for a test message; told to that webhook alone",
    "webhook.enabled": "a webhook was switched on again",
    "webhook.disabled": "a webhook was switched off: by somebody, by its receiver (410), or after days of failures",
    "webhook.deleted": "a webhook was deleted",
    "user.created": "somebody may work for the merchant",
    "user.invited": "a user has a new link that sets a password",
    "user.password_set": "a user set a password",
    "user.renamed": "a user has another name",
    "user.role_changed": "a user has another role",
    "user.disabled": "a user and the user's keys are shut out",
    "user.enabled": "a user may come in again",
    "partner.access_renewed": "a partner's dashboard has a new address, and a password is to be set anew",
    "partner.password_set": "a partner set the password of the dashboard",
    "key.created": "there is a new API key",
    "key.rotated": "an API key was exchanged for a new one",
    "key.revoked": "an API key is worthless from now on",
}
"""Every type of event, with what it means."""

# Mapped, for the log knows them, but nothing makes them before there are payouts.
NOT_SENT_YET = frozenset({"commission.reserved", "commission.unreserved"})


def matches(wanted: str, type_: str) -> bool:
    """Return whether the type is the one that is wanted, or of the kind that is (`partner.*`, or `*`: any)."""
    return wanted in ("*", type_) or (wanted.endswith(".*") and type_.startswith(wanted[:-1]))
