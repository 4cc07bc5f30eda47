"""Hashing passwords without holding anybody up: in threads, two at a time, for each takes 64 MiB and 120 ms."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from aiohttp import web

from ledger.passwords import Passwords, Verdict, check_password
from schemas.errors import RetryableError

_AT_ONCE = 2
# Some ten seconds of waiting; whoever comes then is told to come back.
_WAITING_MAX = 100

_Result = TypeVar("_Result")


class Hashing:
    """The passwords' work, in turns."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def hash_new(self, password: str, about: Iterable[str | None]) -> str:
        """Return what is stored of a new password. Raises RejectedError where it would soon be guessed."""

        def work() -> str:
            check_password(password, about)
            return self._passwords.hash(password)

        return await self._run(work)

    async def verify(self, stored: str | None, password: str) -> Verdict:
        """Return whether it is the password that was stored; None is nobody's, and takes as long."""
        return await self._run(lambda: self._passwords.verify(stored, password))

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        if self._waiting >= _WAITING_MAX:
            raise RetryableError("too many passwords are being hashed")
        self._waiting += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


HASHING = web.AppKey("hashing", Hashing)
