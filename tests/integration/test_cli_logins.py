"""The links that the commands print for people who are to log in, and what `web` sends mail by."""

import asyncio
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest

from cli.clock import now
from cli.data_folder import DataFolder
from cli.demo import EMAIL, prepare
from cli.failures import UsageError
from cli.serve_web import mailer
from ledger.application import Ledger
from ledger.passwords import Passwords
from schemas.settings import Settings
from tests.support.api import running
from tests.support.logins import log_in, set_password

CREATE = ("merchant", "create", "--slug", "shop", "--name", "Shop", "--currency", "USD", "--email", "a@shop.example")


async def test_the_first_owner_comes_in_by_the_link_that_is_printed(run, database_url):
    """`merchant create` prints a link, in words and as JSON, by which the owner sets a password and logs in."""
    run.environment["PUBLIC_URL"] = "https://ledger.example/"
    async with running(database_url) as api:
        done = await asyncio.to_thread(run, *CREATE, "--json")
        link = done.json["login_url"]
        assert (done.code, urlsplit(link).netloc) == (0, "ledger.example")
        with psycopg.connect(database_url) as conn:
            (kept,) = conn.execute("SELECT array_agg(t::text) FROM access.password_links AS t").fetchone()
        assert link.rpartition("/")[2] not in str(kept)
        api.now = now()
        assert (await set_password(api, urlsplit(link).path)).status == 303
        _, page = await log_in(api, email="a@shop.example")
        assert (page.status, page.location) == (303, "/overview")
        said = await asyncio.to_thread(run, *(word.replace("shop", "other") for word in CREATE))
        assert "log in    https://ledger.example/reset/" in said.out


async def test_an_operator_makes_a_link_for_whoever_lost_theirs(run, database_url):
    """`user link` prints a new link for a user by address or id, and those from before are worthless."""
    async with running(database_url) as api:
        first = (await asyncio.to_thread(run, *CREATE, "--json")).json["login_url"]
        done = await asyncio.to_thread(run, "user", "link", "--merchant", "shop", "A@shop.example")
        assert done.code == 0
        assert "72 hours" in done.err
        api.now = now()
        assert (await set_password(api, urlsplit(done.out.strip()).path)).status == 303
        with pytest.raises(AssertionError):
            await set_password(api, urlsplit(first).path)
        for wrong in (("shop", "nobody@shop.example"), ("nothing", "a@shop.example")):
            assert (await asyncio.to_thread(run, "user", "link", "--merchant", *wrong)).code == 1
        told = await asyncio.to_thread(run, "user", "link", "--merchant", "shop", "a@shop.example", "--json")
        assert set(told.json) == {"merchant_id", "login_url"}


class Found:
    """The books of the demo."""

    def __init__(self, database_url):
        self._url = database_url

    def ledger(self):
        """Lend the write side."""
        return closing(Ledger(self._url, hash_key=b"hash key of the tests"))


def test_the_demo_s_owner_has_a_password_of_each_folder_s_own(database_url, tmp_path):
    """The demo's password is made once, kept for its owner alone, and is the one that is stored as a hash."""
    folder = DataFolder(tmp_path / "data")
    folder.create()
    first, again = (prepare(Found(database_url), folder) for _ in range(2))
    assert first.password == again.password
    assert (folder.path / "demo.password").stat().st_mode & 0o777 == 0o600
    with psycopg.connect(database_url) as conn:
        ((email, hashed),) = conn.execute(
            "SELECT email, hash FROM access.passwords JOIN people.users USING (merchant_id, user_id)"
        ).fetchall()
    assert email == EMAIL
    assert Passwords().verify(hashed, first.password).right


def test_mail_goes_where_the_settings_say(tmp_path):
    """A server needs a sender; a folder does not; neither: no mail."""
    assert mailer(Settings(smtp_url=None, mail_folder=None)) is None
    assert mailer(Settings(mail_folder=tmp_path)).to_folder
    assert not mailer(Settings(smtp_url="smtps://user:p%40ss@mail.example:465", mail_from="a@b.example")).to_folder
    with pytest.raises(UsageError, match="MAIL_FROM"):
        mailer(Settings(smtp_url="smtp://mail.example"))
    for wrong in ("http://mail.example", "mail.example", "smtp://", "smtp://x:port", "smtp://[x"):
        with pytest.raises(ValueError, match="smtp") as refused:
            Settings(smtp_url=wrong)
        assert "port" not in str(refused.value).replace("PORT", "")
