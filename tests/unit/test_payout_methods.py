"""How a partner is paid: what is taken, how it is shown, and how it is sealed; the settings of payouts."""

import base64
import random

import pytest
from pydantic import ValidationError

from ledger.sealing import KeyRing, key_id
from schemas.errors import CorruptionError, RejectedError
from schemas.payout_methods import PayoutMethod, checked_method, masked
from schemas.payout_settings import PayoutSettings

BANK = {"method": "bank", "address": "nl91 abna 0417 1643 00", "name": "Ada Lovelace", "routing": "abnanl2a"}
KEYS = [("k1", b"1" * 32), ("k2", b"2" * 32)]


def told(**fields: str) -> PayoutMethod:
    """Return the method as somebody told it."""
    return PayoutMethod.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        (BANK, "NL91ABNA0417164300"), ({"method": "stripe", "address": "acct_1AbC"}, "acct_1AbC"),
        ({"method": "paypal", "address": " ada@example.com "}, "ada@example.com"),
        ({"method": "paypal", "address": "G83JXTJ5EHCQ2", "routing": "PAYPAL_ID"}, "G83JXTJ5EHCQ2"),
        ({"method": "manual", "address": "cash, at the counter"}, "cash, at the counter"),
    ],
)  # fmt: skip
def test_each_method_takes_its_own_address(fields: dict[str, str], address: str) -> None:
    """Each method takes addresses of its own kind, and keeps them as they are paid to."""
    checked = checked_method(told(**fields))
    assert checked.address == address
    assert checked_method(checked) == checked


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (BANK | {"address": "NL91ABNA0417164301"}, "bad_iban"), (BANK | {"routing": "DEUTDEFF"}, "bad_bic"),
        (BANK | {"name": ""}, "no_name"), (BANK | {"name": "Ada\x07"}, "control_characters"),
        ({"method": "stripe", "address": "ada@example.com"}, "bad_address"),
        ({"method": "paypal", "address": "ada"}, "bad_address"),
        ({"method": "paypal", "address": "a\x00da@example.com"}, "bad_address"),
        ({"method": "paypal", "address": "ada@example.com", "routing": "PHONE"}, "bad_routing"),
        ({"method": "stripe", "address": "acct_1", "routing": "DEUTDEFF"}, "bad_routing"),
        ({"method": "manual", "address": ""}, "bad_address"), ({"method": "manual", "address": "a\nb"}, "bad_address"),
        ({"method": "manual", "address": "a", "name": "a\u2028b"}, "control_characters"),
    ],
)  # fmt: skip
def test_what_cannot_be_paid_to_is_refused(fields: dict[str, str], code: str) -> None:
    """An address that the method does not pay to is refused, by its own code."""
    with pytest.raises(RejectedError) as caught:
        checked_method(told(**fields))
    assert caught.value.code == code


@pytest.mark.parametrize("fields", [{"method": "crypto", "address": "x"}, {"method": "bank"}, BANK | {"colour": "red"}])
def test_the_shape_is_checked(fields: dict[str, str]) -> None:
    """A method that there is not, a field too few or too many are refused, without the value in the message."""
    with pytest.raises(ValidationError) as caught:
        told(**fields)
    assert "ABNA" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "address", "name"),
    [
        (BANK | {"address": "NL91ABNA0417164300"}, "NL91•••4300", "A••• L•••"),
        ({"method": "stripe", "address": "acct_1AbCdEfGh"}, "acct_•••EfGh", ""),
        ({"method": "stripe", "address": "acct_12"}, "•••", ""),
        ({"method": "paypal", "address": "ada@example.com"}, "a•••@e•••.com", ""),
        ({"method": "paypal", "address": "a@b.co.uk"}, "•••@•••.co.uk", ""),
        ({"method": "paypal", "address": "G83JXTJ5EHCQ2", "routing": "PAYPAL_ID"}, "•••HCQ2", ""),
        ({"method": "manual", "address": "cash"}, "•••", ""),
    ],
)  # fmt: skip
def test_what_is_shown_is_masked(fields: dict[str, str], address: str, name: str) -> None:
    """What is shown is enough to recognise and too little to use; of a short one nothing is shown."""
    shown = masked(told(**fields))
    assert (shown.address, shown.name) == (address, name)


def test_what_is_sealed_opens_again() -> None:
    """What one key sealed opens with it, also when another has taken its place, and is never the same twice."""
    first = KeyRing(KEYS[:1])
    sealed = first.seal(b"secret")
    assert first.unseal(sealed) == b"secret"
    assert b"secret" not in sealed
    assert first.seal(b"secret") != sealed
    both = KeyRing(KEYS[::-1])
    assert both.unseal(sealed) == b"secret"
    assert (key_id(sealed), key_id(both.seal(b""))) == ("k1", "k2")


def test_what_was_changed_does_not_open() -> None:
    """A single changed bit anywhere, a missing end, another key, or what was never sealed is corruption."""
    ring = KeyRing(KEYS[:1])
    sealed = ring.seal(b"secret")
    chosen = random.Random(1)
    broken = [bytearray(sealed) for _ in sealed]
    for place, each in enumerate(broken):
        each[place] ^= 1 << chosen.randrange(8)
    for each in (*map(bytes, broken), sealed[:-1], sealed[:3], b"", b"\x01", b"\x01\xff", b"clear text"):
        with pytest.raises(CorruptionError):
            ring.unseal(each)
    with pytest.raises(CorruptionError):
        KeyRing([("k1", b"x" * 32)]).unseal(sealed)
    with pytest.raises(CorruptionError, match="k1"):
        KeyRing(KEYS[1:]).unseal(sealed)


def key(name: str, length: int = 32) -> str:
    """Return a key as it is written in the environment."""
    return f"{name}:{base64.b64encode(b'x' * length).decode()}"


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are amounts by currency, secrets are lists, and one switch stops all rails."""
    monkeypatch.setenv("STRIPE_PAYOUT_MAX", '{"EUR": "1000.00", "JPY": "500"}')
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRETS", "whsec_new whsec_old")
    monkeypatch.setenv("PAYOUT_DETAILS_KEYS", f"{key('b')} {key('a')}")
    monkeypatch.setenv("BANK_OFF", "true")
    settings = PayoutSettings()
    assert settings.limits_of("stripe") == {"payout": {"EUR": 100_000, "JPY": 500}, "partner_day": {}, "day": {}}
    assert [settings.is_off(rail) for rail in ("stripe", "bank", "manual")] == [False, True, False]
    assert [len(settings.stripe_webhook_secrets), len(settings.payout_details_keys)] == [2, 2]
    assert "whsec" not in repr(settings)
    assert all(PayoutSettings(payouts_off=True).is_off(rail) for rail in ("stripe", "paypal", "bank", "manual"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STRIPE_DAY_MAX", '{"EUR": "1.001"}'), ("STRIPE_DAY_MAX", '{"XXX": "1"}'), ("STRIPE_DAY_MAX", '{"EUR": "-1"}'),
        ("STRIPE_DAY_MAX", "[]"), ("STRIPE_DAY_MAX", "{"), ("PAYOUT_DETAILS_KEYS", key("a", 31)),
        ("PAYOUT_DETAILS_KEYS", key("a b")), ("PAYOUT_DETAILS_KEYS", f"{key('a')} {key('a')}"),
        ("PAYOUT_DETAILS_KEYS", "a:not-base64"), ("PAYPAL_API_BASE", "api.paypal.com"),
        ("STRIPE_API_BASE", "https://api.stripe.com/"), ("STRIPE_TIMEOUT_S", "600"),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A limit that is no amount, a key of another length, an address that is none are refused at the start."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        PayoutSettings()
    assert base64.b64encode(b"x" * 31).decode() not in str(caught.value)
