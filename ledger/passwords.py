"""Passwords: which ones are taken, how they are hashed, and a comparison that costs the same whoever it is for."""

import re
import secrets
import unicodedata
from base64 import b64encode
from collections.abc import Iterable
from threading import Lock
from typing import NamedTuple

from argon2 import Parameters, PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY
from zxcvbn import zxcvbn

from schemas.errors import RejectedError

LENGTH_MIN = 12
LENGTH_MAX = 128

# How many guesses an attacker needs who knows which passwords people choose. 12 characters alone are no measure:
# `password1234` is among the first that are tried.
_GUESSES_MIN = 10**8
# What is looked at for that; it takes time in the square of it (30 ms for so many).
_LOOKED_AT = 72
_WORD = re.compile(r"\w{3,}")
# zxcvbn keeps what it is told about the person in a table of its own.
_ONE_AT_A_TIME = Lock()


class Verdict(NamedTuple):
    """Whether the password was right, and where it was: its hash by today's cost, if that is another."""

    right: bool
    fresh: str | None


class Passwords:
    """Hashes passwords with argon2id; takes some 120 ms and 64 MiB each time, so never call it on an event loop."""

    def __init__(self, cost: Parameters = RFC_9106_LOW_MEMORY) -> None:
        self._hasher = PasswordHasher.from_parameters(cost)
        self._nobody = _impossible(cost)

    def hash(self, password: str) -> str:
        """Return what is stored of the password."""
        return self._hasher.hash(_plain(password))

    def verify(self, stored: str | None, password: str) -> Verdict:
        """Return whether it is the password that was stored. Where there is none (None), no password is, as slowly."""
        if len(password) > LENGTH_MAX:
            password = ""  # refused when it was set, so it is nobody's; as long ones cost more, they could tell
        try:
            self._hasher.verify(self._nobody if stored is None else stored, _plain(password))
        except (VerificationError, InvalidHashError):
            return Verdict(right=False, fresh=None)
        assert stored is not None  # noqa: S101 - what is nobody's was compared with chance
        return Verdict(right=True, fresh=self.hash(password) if self._hasher.check_needs_rehash(stored) else None)


def check_password(password: str, about: Iterable[str | None]) -> None:
    """Refuse a password that would soon be guessed, also by what is known `about` the person (address, name, program).

    Raises RejectedError `password_too_short`, `password_too_long`, `password_weak`, at `$.password`.
    """
    plain = _plain(password)
    # Both as it was typed and in its one form: some characters are written out as many.
    if min(len(plain), len(password)) < LENGTH_MIN:
        raise _refused("password_too_short", f"must have at least {LENGTH_MIN} characters")
    if max(len(plain), len(password)) > LENGTH_MAX:
        raise _refused("password_too_long", f"must have at most {LENGTH_MAX} characters")
    words = _words(about)
    if _guesses(_without(plain, words), words) < _GUESSES_MIN or _guesses(plain, words) < _GUESSES_MIN:
        raise _refused("password_weak", "too easy to guess: take three or four words that have nothing to do with you")


def _words(about: Iterable[str | None]) -> list[str]:
    told = [each.casefold() for each in about if each]
    return list(dict.fromkeys([*told, *(word for each in told for word in _WORD.findall(each))]))


def _without(plain: str, words: Iterable[str]) -> str:
    """Return the password without what is known of the person: what is left has to do on its own."""
    folded = plain.casefold()
    for word in sorted(words, key=len, reverse=True):
        folded = folded.replace(word, "")
    return plain if folded == plain.casefold() else folded


def _guesses(plain: str, words: list[str]) -> int:
    if not plain:
        return 0
    with _ONE_AT_A_TIME:
        return int(zxcvbn(plain[:_LOOKED_AT], user_inputs=words)["guesses"])


def _plain(password: str) -> str:
    """Return the password in one form: keyboards write the same character in different ways."""
    return unicodedata.normalize("NFKC", password)


def _impossible(cost: Parameters) -> str:
    """Return the hash of no password, which takes as long to compare with as any other."""
    salt, hashed = (
        b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (cost.salt_len, cost.hash_len)
    )
    return f"$argon2id$v={cost.version}$m={cost.memory_cost},t={cost.time_cost},p={cost.parallelism}${salt}${hashed}"


def _refused(code: str, message: str) -> RejectedError:
    return RejectedError.at("$.password", code, message)
