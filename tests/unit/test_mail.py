"""Letters: to one person, in one piece, sent in the background; and what is told of those that fail."""

import asyncio
import socket
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import SMTP

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import SecretStr
from structlog.testing import capture_logs

from web import letters
from web import mail as mails
from web.mail import Letter, Mailer, MailOptions, message_of

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LETTER = Letter("kim@example.com", "Your password", "Set it here:\n\nhttps://ledger.example/reset/abc\n")


class Inbox:
    """An SMTP server that keeps what it is sent, refuses one address, and knows one password."""

    def __init__(self):
        self.letters = []

    async def handle_RCPT(self, _server, _session, envelope, address, _options):  # noqa: N802 - the library's name
        """Take a recipient, or not; called by the library."""
        if address.startswith("refused"):
            return f"550 no mailbox {address} here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, session, envelope):  # noqa: N802 - the library's name
        """Keep a letter; called by the library."""
        message = message_from_bytes(envelope.content, policy=SMTP)
        self.letters.append((session.authenticated, envelope.mail_from, envelope.rcpt_tos, message))
        return "250 OK"


def knows(_server, _session, _envelope, _mechanism, told):
    """Return whether it is the password."""
    return AuthResult(success=told.password == b"p@ss", handled=False)


@pytest.fixture
def inbox():
    """Yield an inbox and its address."""
    kept = Inbox()
    controller = Controller(kept, hostname="127.0.0.1", port=_free_port(), authenticator=knows, auth_require_tls=False)
    controller.start()
    yield kept, f"127.0.0.1:{controller.port}"
    controller.stop()


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def mailer(url):
    """Return what sends by this server."""
    return Mailer(MailOptions("ledger@example.com", SecretStr(url)), lambda: AT)


async def sent(mail, *told):
    """Let the letters be sent, and return the counts by outcome and the log."""

    async def write():
        return told

    with capture_logs() as log:
        mail.soon(write)
        await mail.settled()
    registry = CollectorRegistry()
    registry.register(mail)
    lines = generate_latest(registry).decode().splitlines()
    counts = {
        line.split('"')[1]: float(line.split()[-1])
        for line in lines
        if line.startswith("commission_ledger_mails_total")
    }
    return counts, log


async def test_a_letter_goes_by_the_server_that_is_named(inbox):
    """The letter arrives whole, from the sender that is set, after the login that the address holds."""
    kept, place = inbox
    counts, log = await sent(mailer(f"smtp://user:p%40ss@{place}"), LETTER)
    assert (counts, log) == ({"sent": 1, "failed": 0, "dropped": 0}, [])
    ((authenticated, sender, to, message),) = kept.letters
    assert (authenticated, sender, to) == (True, "ledger@example.com", ["kim@example.com"])
    assert (message["To"], message["Subject"]) == ("kim@example.com", "Your password")
    assert message.get_content() == LETTER.text.replace("\n", "\r\n") or message.get_content() == LETTER.text
    assert message["Date"].datetime == AT


async def test_what_fails_is_counted_and_told_without_whose_it_was(inbox, monkeypatch):
    """A refused address, a wrong password or nobody there: counted, and logged with nothing but the reason."""
    _, place = inbox
    monkeypatch.setattr(mails, "_ATTEMPTS", 1)
    refused = LETTER._replace(to="refused@example.com")
    for url, letter, reason in (
        (f"smtp://{place}", refused, "SMTPRecipientsRefused"),
        (f"smtp://user:wrong@{place}", LETTER, "SMTPAuthenticationError"),
        (f"smtp://127.0.0.1:{_free_port()}", LETTER, "SMTPConnectError"),
        (f"smtp://{place}", LETTER._replace(to="a@b@c"), "ValueError"),
    ):
        counts, log = await sent(mailer(url), letter)
        assert counts == {"sent": 0, "failed": 1, "dropped": 0}, url
        (line,) = [each for each in log if each["event"] == "mail was not sent"]
        assert line["reason"].endswith(reason) or reason == "ValueError", line
        assert not any(word in str(log) for word in ("refused@", "kim@", "/reset/", "wrong", "Your password")), log


async def test_one_letter_that_fails_does_not_hold_up_the_next(inbox):
    """Of several letters each is sent or fails on its own."""
    kept, place = inbox
    counts, _ = await sent(mailer(f"smtp://{place}"), LETTER._replace(to="refused@example.com"), LETTER)
    assert counts == {"sent": 1, "failed": 1, "dropped": 0}
    assert [to for _, _, to, _ in kept.letters] == [["kim@example.com"]]


async def test_whoever_floods_the_queue_waits_for_nobody():
    """More letters than can wait are dropped and counted; the process ends without waiting for a server that hangs."""
    mail, began = mailer("smtp://127.0.0.1:1"), asyncio.Event()

    async def hang():
        began.set()
        await asyncio.Event().wait()
        return ()

    for _ in range(mails._WAITING_MAX + 3):
        mail.soon(hang)
    await began.wait()
    assert mail._outcomes["dropped"] == 3
    for task in list(mail._tasks):
        task.cancel()
    await mail.close()


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        (LETTER._replace(to="a@example.com\r\nBcc: evil@example.com"), "a second line"),
        (LETTER._replace(to="a@example.com, evil@example.com"), "two addresses"),
        (LETTER._replace(to="a,b@example.com"), "two addresses in the eyes of some"),
        (LETTER._replace(to="Kim <a@example.com>"), "more than an address"),
        (LETTER._replace(subject="Hello\r\nBcc: evil@example.com"), "a second line in the subject"),
    ],
)
def test_a_letter_goes_to_one_person_and_has_the_headers_that_we_write(letter, why):
    """Whatever stands in an address or a subject, nobody else gets the letter and no header is added."""
    with pytest.raises(ValueError, match=r"."):
        message_of(letter, "ledger@example.com", AT)
    assert why


def test_a_program_s_name_writes_no_lines_of_a_letter():
    """A name with line breaks and marks stays on its line, in subject and text, and is not marked up."""
    name = "Acme\r\nBcc: evil@example.com\n\n<b>& Sons</b>"
    for letter in (
        letters.invitation("kim@example.com", name, "https://ledger.example/reset/a"),
        letters.reset("kim@example.com", name, "https://ledger.example/reset/a"),
    ):
        message = message_of(letter, "ledger@example.com", AT)
        assert message["Bcc"] is None
        assert "Acme Bcc: evil@example.com <b>& Sons</b>" in letter.subject
        assert "https://ledger.example/reset/a\n" in letter.text
        assert "\nBcc" not in letter.text
