"""Letters about payouts: to the partner, as the program wants it, once for each thing that happened, whoever dies."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from email import message_from_bytes
from email.policy import SMTP

import pytest
from aiosmtpd.controller import Controller
from pydantic import SecretStr
from structlog.testing import capture_logs

from consumers.payout_letters import PayoutLetters
from consumers.payout_runs import PayoutRuns
from ledger import payouts
from ledger.payouts import Seen
from tests.support.payout_program import MAKER, NOW, payout_program
from web.mail import Mailer, MailOptions
from web.payout_letters import PayoutPost
from web.services import WebOptions

OPTIONS = WebOptions(public_url="https://ledger.example", secret=b"s" * 32)


class Inbox:
    """An SMTP server that keeps what it is sent, and refuses one address for good and another for now."""

    def __init__(self):
        self.letters = []

    async def handle_RCPT(self, _server, _session, envelope, address, _options):  # noqa: N802 - the library's name
        """Take a recipient, or not; called by the library."""
        if address.startswith("refused"):
            return f"550 no mailbox {address} here"
        if address.startswith("later"):
            return f"450 {address} is busy"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802 - the library's name
        """Keep a letter; called by the library."""
        self.letters.append(message_from_bytes(envelope.content, policy=SMTP))
        return "250 OK"


def free_port():
    """Return a port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
async def program(database_url):
    """Yield a program on a database of its own."""
    async with payout_program(database_url) as program:
        yield program


async def requested(program, **told):
    """Request a payout of 1,234.50 USD to Jane, and return her id."""
    jane = program.partner("jane", **told)
    program.commission("o1", jane, 123_450)
    program.look()
    program.prepare()
    program.look()
    await PayoutRuns(*program.parts()).work()
    return jane


def letters(program, post):
    """Return a service that sends with this post."""
    paying, ledger, _, health, now = program.parts()
    return PayoutLetters(paying, ledger, post, health, now)


def by_folder(program, folder):
    """Return a post that writes into the folder."""
    return PayoutPost(Mailer(MailOptions("ledger@example.com", folder=folder), program.clock), OPTIONS)


def by_smtp(program, port):
    """Return a post that sends to a server on this port."""
    return PayoutPost(
        Mailer(MailOptions("ledger@example.com", SecretStr(f"smtp://127.0.0.1:{port}")), program.clock), OPTIONS
    )


def read(folder):
    """Return the letters of a folder, the oldest first."""
    return [message_from_bytes(path.read_bytes(), policy=SMTP) for path in sorted(folder.glob("*.eml"))]


def decide(program, what):
    """Decide on the only payout."""
    act = MAKER._replace(at=program.now)
    program.paying.books.decide(program.only(), lambda payout: what(payout, act), act)


async def test_a_partner_is_told_what_was_sent_and_what_came_back(program, tmp_path):
    """Amount, means and number stand in the letter, with the way to the dashboard; each thing is told once."""
    await requested(program)
    program.confirm("wire-1")
    service = letters(program, by_folder(program, tmp_path))
    assert await service.work() == 1
    program.now += timedelta(days=1)
    decide(program, lambda payout, act: payouts.returned(payout, act, 23_450))
    program.now += timedelta(days=1)
    decide(program, lambda payout, act: payouts.returned(payout, act, 123_450))
    assert await service.work() == 2
    assert await service.work() == 0
    sent, *back = read(tmp_path)
    assert sent["To"] == "jane@partners.example"
    assert sent["Subject"] == "Acme has paid you $1,234.50"
    text = sent.get_content()
    assert "Hello Jane," in text
    assert "Transaction: wire-1" in text
    assert "https://ledger.example/dashboard/p_" in text
    assert "words" not in text  # how a partner is paid by hand is nobody's to read
    assert ["$234.50 that Acme" in back[0].get_content(), "$1,000.00 that Acme" in back[1].get_content()] == [True] * 2
    assert program.outcomes() == [("sent", "sent"), ("returned", "sent"), ("returned", "sent")]


async def test_a_payout_that_failed_is_told_and_where_it_was_to_go_is_masked(program, tmp_path):
    """The letter says that nothing is lost, and shows of the account what every page shows."""
    jane = program.partner("jane", paid=False)
    program.pay_by(jane, "jane@secret.example", "paypal")
    program.commission("o1", jane)
    program.look()
    rails = program.paying.rails
    rails.rails["paypal"] = rails.rails["manual"]
    program.prepare()
    program.look()
    # No such rail is set up: the list leaves the partner out, so it is put in by hand.
    program.asked("UPDATE ledger.payout_lines SET included = true, reason = 'payable' RETURNING partner_id")
    await PayoutRuns(*program.parts()).work()
    decide(program, lambda payout, act: payouts.start(payout, act, "sha", timedelta(hours=1)))
    decide(program, lambda payout, act: payouts.rejected(payout, act, "account_closed"))
    await letters(program, by_folder(program, tmp_path)).work()
    (letter,) = read(tmp_path)
    assert letter["Subject"] == "A payout of Acme to you could not be made"
    assert "By PayPal to j•••@s•••.example" in letter.get_content()
    assert "secret" not in letter.as_string()


async def test_a_program_sends_the_letters_that_it_wants(program, tmp_path):
    """What the terms leave out is not sent, and does not come later."""
    await requested(program)
    program.terms(payout_letters=("failed",))
    program.confirm()
    service = letters(program, by_folder(program, tmp_path))
    await service.work()
    program.terms(payout_letters=("sent", "failed"))
    await service.work()
    assert read(tmp_path) == []
    assert program.outcomes() == [("sent", "unwanted")]


async def test_nobody_writes_to_who_was_erased(program, tmp_path):
    """A partner without an address is not written to, and the payout is none the worse for it."""
    jane = await requested(program)
    program.confirm()
    program.asked("UPDATE people.partners SET name = NULL, email = NULL WHERE partner_id = %s RETURNING 1", jane)
    await letters(program, by_folder(program, tmp_path)).work()
    assert program.outcomes() == [("sent", "nobody")]
    assert read(tmp_path) == []


async def test_without_mail_no_letter_waits(program):
    """An installation that sends no mail does not send a year's letters on the day on which it begins to."""
    await requested(program)
    program.confirm()
    await letters(program, None).work()
    assert program.outcomes() == [("sent", "no_mail")]


async def test_a_server_that_is_away_is_tried_again_for_three_days(program):
    """Later and later, without the address in the log; then it is given up; a server that is back gets it."""
    port = free_port()
    await requested(program)
    program.confirm()
    service = letters(program, by_smtp(program, port))
    with capture_logs() as log:
        assert await service.work() == 1
        assert await service.work() == 0
        program.now += timedelta(minutes=1)
        assert await service.work() == 1
    assert program.outcomes() == [("sent", None)]
    assert "jane" not in str(log)
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        program.now += timedelta(minutes=2)
        assert await service.work() == 1
    finally:
        controller.stop()
    assert [letter["To"] for letter in inbox.letters] == ["jane@partners.example"]
    assert program.outcomes() == [("sent", "sent")]
    program.asked("UPDATE people.payout_letters SET due_at = told_at, outcome = NULL RETURNING 1")
    program.now += timedelta(days=3)
    await service.work()
    assert program.outcomes() == [("sent", "too_late")]


@pytest.mark.parametrize(("email", "outcome"), [("refused@a.example", "refused"), ("later@a.example", None)])
async def test_an_address_that_is_refused_for_good_is_not_tried_again(program, email, outcome):
    """A mailbox that does not exist is given up at once; one that is busy is not."""
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        await requested(program, email=email)
        program.confirm()
        await letters(program, by_smtp(program, controller.port)).work()
    finally:
        controller.stop()
    assert program.outcomes() == [("sent", outcome)]


async def test_a_contradiction_sends_nothing_to_a_partner(program):
    """What the provider tells that cannot be is for people to look at first."""
    await requested(program)
    program.confirm()
    seen = Seen("processed", "tr_9", 123_450, "USD", None)
    decide(program, lambda payout, act: payouts.observe(payout, act, seen, None))
    assert [kind for kind, _ in program.outcomes()] == ["sent"]


_DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from consumers import payout_letters as service
from consumers.health import Health
from consumers.paying import paying
from ledger.application import Ledger
from pydantic import SecretStr
from schemas.payout_settings import PayoutSettings
from tests.support.payout_program import KEY, NOW
from tests.support.registration import HASH_KEY
from web.mail import Mailer, MailOptions
from web.payout_letters import PayoutPost
from web.services import WebOptions

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    ledger = Ledger(sys.argv[1], hash_key=HASH_KEY)
    mailer = Mailer(MailOptions("ledger@example.com", folder=Path(sys.argv[2])), lambda: NOW)
    post = PayoutPost(mailer, WebOptions(public_url="https://ledger.example", secret=b"s" * 32))
    if sys.argv[3] == "before":
        post.send = die
    else:
        service.finish_letter = die
    async with paying(ledger, PayoutSettings(payout_details_keys=(SecretStr(KEY),))) as pays:
        await service.PayoutLetters(pays, ledger, post, Health(), lambda: NOW).work()

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["before", "behind"])
async def test_a_worker_that_is_killed_leaves_one_letter(program, tmp_path, when):
    """Killed before it sent a letter or directly behind, it is followed by one that sends it: one it is."""
    await requested(program)
    program.confirm()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _DIES, program.url, str(tmp_path), when, stderr=subprocess.PIPE, env=dict(os.environ)
    )
    _, told = await process.communicate()
    assert process.returncode == -signal.SIGKILL, told.decode()
    first = read(tmp_path)
    assert len(first) == (0 if when == "before" else 1)
    service = letters(program, by_folder(program, tmp_path))
    assert await service.work() == 0
    program.now = NOW + timedelta(minutes=10)
    assert await service.work() == 1
    (letter,) = read(tmp_path)
    assert letter["Message-ID"] in [each["Message-ID"] for each in first or [letter]]
    assert program.outcomes() == [("sent", "sent")]
