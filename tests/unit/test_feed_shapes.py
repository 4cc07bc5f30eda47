"""The mapping from our events to the feed's: complete, total, and without what is nobody's business."""

from datetime import UTC, date, datetime

import msgspec
import pytest
from pydantic import TypeAdapter

from ledger import events
from ledger.events import EVENT_TYPES, Rate, encode, topic_of
from ledger.feed import TYPES_OF_TOPIC, FeedRow, entry_of, subject_of, topics_of
from ledger.terms import Terms
from schemas.api_feed import AnyEntry, FeedEntry, types_of
from schemas.errors import CorruptionError
from schemas.feed_types import MEANINGS, NOT_SENT_YET, matches

AT = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)

# What has to be one of a few words; everything else may be any text.
WORDS = {
    "standing": ["approved", "applied", "invited"],
    "kind": ["refund", "cancellation", "dispute", "dispute_won"],
    "base": ["net_of_tax"],
}
CHANGES = {
    "WebhookChanged": ["created", "changed", "rotated", "tested", "enabled", "disabled", "deleted"],
    "AccessChanged": [
        *("user.created", "user.invited", "user.password_set", "user.renamed", "user.role_changed", "user.disabled"),
        *("user.enabled", "partner.access_renewed", "partner.password_set"),
        *("partner.payout_details_changed", "partner.payout_details_removed"),
        *("key.created", "key.rotated", "key.revoked"),
    ],
}
STATES = [("pending", "pending"), ("pending", "reversed"), ("reversed", "approved"), ("paid", "paid")]
VALUES = {
    "str": "secret-text", "int": 1234, "bool": True, "datetime": AT, "date": date(2026, 11, 22),
    "Rate": Rate(type="percentage", bps=1250), "Terms": Terms(version=2), "tuple": ("name",), "dict": {"USD": 5000},
}  # fmt: skip


def examples(kind):
    """Yield events of the shape that cover every type that it can be told as."""
    plain = {field.name: value_of(field) for field in msgspec.inspect.type_info(kind).fields}
    if "currency" in plain:
        plain["currency"] = "USD"
    plain["merchant_id"] = "acme"
    if "role" in plain:
        plain["role"] = "finance"
    for name, words in (WORDS | {"change": CHANGES.get(kind.__name__, [])}).items():
        if name in plain:
            for word in words:
                yield from moved(kind, plain | {name: word})
            return
    yield from moved(kind, plain)


def moved(kind, fields):
    """Yield the event with every pair of states, and with money of both signs, where it has any."""
    if "from_state" not in fields:
        yield kind(**fields)
        return
    for before, after in STATES:
        for amount in (100, -100):
            yield kind(**fields | {"from_state": before, "to_state": after, "amount_minor": amount})


def value_of(field):
    """Return an example of the field's type."""
    kind = type(field.type).__name__.removesuffix("Type").lower()
    types = [each for each in getattr(field.type, "types", [field.type]) if type(each).__name__ != "NoneType"]
    kind = type(types[0]).__name__.removesuffix("Type").lower()
    return VALUES[types[0].cls.__name__ if kind == "struct" else "tuple" if kind == "vartuple" else kind]


def told(event):
    """Return the event as an entry of the feed."""
    return entry_of(FeedRow(7, "order/acme/o-1", topic_of(event), encode(event)), "acme", "USD")


@pytest.mark.parametrize("topic", sorted(EVENT_TYPES))
def test_every_event_is_told_as_the_types_that_are_listed_for_it(topic):
    """Each shape of event becomes exactly the types of its topic, and each entry is one of the documented union."""
    entries = [told(event) for event in examples(EVENT_TYPES[topic])]
    assert {entry.type for entry in entries} == set(TYPES_OF_TOPIC[topic])
    for entry in entries:
        assert TypeAdapter(AnyEntry).validate_json(entry.model_dump_json()) == entry


def test_the_types_are_those_that_are_documented_and_at_least_45_are_sent():
    """The mapping, the shapes and the list with the meanings know the same types, of which at least 45 can be sent."""
    mapped = [type_ for types in TYPES_OF_TOPIC.values() for type_ in types]
    shaped = [type_ for shape in FeedEntry.__subclasses__() for type_ in types_of(shape)]
    assert sorted(mapped) == sorted(shaped) == sorted(MEANINGS)
    assert set(MEANINGS) >= NOT_SENT_YET
    assert len(set(mapped) - NOT_SENT_YET) >= 45


def test_what_is_ours_alone_is_not_told():
    """No entry has the hash of an address, the digest of the items, or any member with minor units."""
    for kind in EVENT_TYPES.values():
        for event in examples(kind):
            text = told(event).model_dump_json()
            assert not any(word in text for word in ("email_hash", "items_digest", "_minor", "merchant_id")), text


def test_another_merchants_event_is_never_told():
    """An event that a query found by mistake is a fault of ours, and is not shown."""
    event = events.PartnerApproved(merchant_id="zenith", occurred_at=AT, recorded_at=AT, cause="test", partner_id="p")
    row = FeedRow(7, "partner/zenith/p", topic_of(event), encode(event))
    with pytest.raises(CorruptionError):
        entry_of(row, "acme", "USD")


@pytest.mark.parametrize(
    ("stream", "subject"),
    [
        ("merchant/acme", "program"),
        ("partner/acme/p_1", "partner/p_1"),
        ("order/acme/2026/11/o-1", "order/2026/11/o-1"),
        ("notice/acme/dead-letter/dl_1", "dead-letter/dl_1"),
    ],
)
def test_subjects_name_what_it_happened_to(stream, subject):
    """A subject is the stream's name without what the merchant knows anyway: that it is its own."""
    assert subject_of(stream) == subject


def test_types_are_asked_for_by_name_or_by_kind():
    """`partner.*` is every type of partners, `*` is every type, and topics are found by their types."""
    assert matches("*", "partner.banned")
    assert matches("partner.*", "partner.banned")
    assert not matches("partner.*", "partners.banned")
    assert not matches("partner.banned", "partner.paused")
    assert topics_of(["partner.banned"]) == ["PartnerBanned"]
    assert topics_of(["commission.reversed"]) == ["CommissionAdjusted"]
    assert set(topics_of(["*"])) == set(EVENT_TYPES)
