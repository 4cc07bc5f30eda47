"""Which passwords are taken, and what a comparison costs."""

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import CHEAPEST, RFC_9106_LOW_MEMORY

from ledger.passwords import LENGTH_MAX, Passwords, check_password
from schemas.errors import RejectedError
from web.services import WebOptions

ABOUT = ("kim.possible@acme.example", "Kim Possible", "Acme Shoes")


@pytest.fixture
def passwords():
    """Return what hashes at next to no cost."""
    return Passwords(CHEAPEST)


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("", "password_too_short"),
        ("x" * 11, "password_too_short"),
        ("ﷺ", "password_too_short"),
        ("correct horse battery staple" * 5, "password_too_long"),
        ("password1234", "password_weak"),
        ("123456789012", "password_weak"),
        ("qwertyuiopas", "password_weak"),
        ("iloveyou12345", "password_weak"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "password_weak"),
        ("P@ssw0rd!P@ssw0rd!", "password_weak"),
        ("kim.possible@acme.example", "password_weak"),
        ("KimPossible2026", "password_weak"),
        ("Acme Shoes Acme Shoes", "password_weak"),
        ("AcmeShoes123!", "password_weak"),
    ],
)
def test_what_is_guessed_first_is_refused(password, code):
    """Too short, too long, among the first guesses, or made of what is known of the person: refused."""
    with pytest.raises(RejectedError) as refused:
        check_password(password, ABOUT)
    assert (refused.value.code, refused.value.path) == (code, "$.password")
    assert not password or password not in str(refused.value)


@pytest.mark.parametrize(
    "password",
    [
        "lantern orbit pickle sedan",
        "q8Gz!kd72mXs",
        "žluťoučký kůň úpěl",
        "新しい自転車を買いました",
        "x7" * 5 + "k!Vq2#mZ",
    ],
)
def test_what_is_hard_to_guess_is_taken(password):
    """Words that have nothing to do with the person, chance, and other scripts are all good passwords."""
    check_password(password, (*ABOUT, None, ""))


def test_only_the_password_is_right_however_a_keyboard_writes_it(passwords):
    """The same characters are right in any Unicode form; others, and nobody's, are not."""
    stored = passwords.hash("žluťoučký kůň")
    assert passwords.verify(stored, "žluťoučký kůň") == (True, None)
    assert passwords.verify(stored, "z\u030clut\u030couc\u030cky\u0301 ku\u030an\u030c") == (True, None)
    for wrong in ("žluťoučký kůň ", "", "ž" * (LENGTH_MAX + 1)):
        assert not passwords.verify(stored, wrong).right
    assert not passwords.verify(None, "žluťoučký kůň").right
    assert passwords.hash("žluťoučký kůň") != stored


def test_nobody_s_password_costs_as_much_as_anybody_s(monkeypatch):
    """Whoever has no password is compared with a hash of the same cost as those that are stored, once."""
    compared, verify = [], PasswordHasher.verify

    def watched(self, stored, password):
        compared.append(extract_parameters(stored))
        return verify(self, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", watched)
    cheap = Passwords(CHEAPEST)
    cheap.verify(None, "lantern orbit pickle")
    cheap.verify(cheap.hash("lantern orbit pickle"), "another one of these")
    assert compared == [CHEAPEST, CHEAPEST]


def test_a_hash_of_yesterday_s_cost_is_made_anew(passwords):
    """A password that is right and was stored at another cost comes back with its hash at today's."""
    stored = passwords.hash("lantern orbit pickle")
    dearer = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)._parameters)
    right, fresh = dearer.verify(stored, "lantern orbit pickle")
    assert right
    assert extract_parameters(fresh).time_cost == 2
    assert dearer.verify(fresh, "lantern orbit pickle") == (True, None)
    assert dearer.verify(stored, "wrong") == (False, None)


def test_the_cost_in_earnest_is_the_standard_s():
    """Without other wishes a password costs what RFC 9106 asks of machines with little memory: argon2id, 64 MiB."""
    assert WebOptions(public_url="http://x", secret=b"x").password_cost is RFC_9106_LOW_MEMORY
    assert RFC_9106_LOW_MEMORY.memory_cost == 64 * 1024
