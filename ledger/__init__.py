"""The write side: what happened, and what is decided from it."""

# Whatever of the ledger is loaded: the log holds events of payouts, and everybody can read them.
from ledger import payout_events as payout_events
