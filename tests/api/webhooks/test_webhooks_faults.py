"""Webhooks in a bad world: receivers that hang and lie, names that lead inside, workers that are killed and frozen."""

import asyncio
import shutil
import socket
import ssl
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from aiohttp import web

from ledger import deliveries
from ledger.feed import FeedRow
from tests.support.commands import PROGRAM, bare, for_database
from tests.support.keys import key_of
from tests.support.receivers import Receiver, never, receiving, sending
from tests.support.requirements import require
from tests.support.waiting import until
from tests.support.webhooks import hook, log_of, orders


async def test_redirects_are_not_followed_and_lies_are_survived(api, receiver, sender):
    """A redirect, a broken answer and nonsense are failures, an endless answer is cut off; the next one is sent."""
    async with receiving() as elsewhere:

        async def redirect(_, __):
            return web.Response(status=302, headers={"Location": elsewhere.url})

        async def endless(_, request):
            response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
            await response.prepare(request)
            while True:
                await response.write(b"a" * 65_536)

        async def broken(_, request):
            request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort")
            request.transport.close()
            return web.Response()

        async def nonsense(_, request):
            request.transport.write(b"\x00\xff" * 500)
            request.transport.close()
            return web.Response()

        await api.partner()
        webhook = await hook(api, receiver, "commission.*")
        for number, behaviour in enumerate((redirect, endless, broken, nonsense)):
            receiver.answer = behaviour
            await orders(api, f"o-{number}")
            await sender.all()
        redirected, streamed, cut, gibberish = [row["attempts"][0] for row in await log_of(api, webhook)]
        assert (redirected["status"], elsewhere.got) == (302, [])
        assert (streamed["status"], len(streamed["answer"])) == (200, 1024)
        assert (cut["status"], gibberish["status"]) == (None, None)
        assert "Payload" in cut["error"]
        assert gibberish["error"]
        states = [row["status"] for row in await log_of(api, webhook)]
        assert states == ["waiting", "delivered", "waiting", "waiting"]


async def test_a_receiver_that_hangs_holds_up_nobody_else(api, receiver):
    """While one receiver keeps all that it is sent, another one gets all of its own, and the hanging one times out."""
    await api.partner()
    async with receiving(never) as stuck, sending(api.ledger, api.now, webhook_timeout_s=0.5) as sender:
        slow = await hook(api, stuck, "commission.*")
        await hook(api, receiver, "commission.*")
        await orders(api, *(f"o-{n}" for n in range(12)))
        while len(receiver.got) < 12:
            await sender.service.work()
            await asyncio.sleep(0)
        assert len(set(receiver.subjects())) == 12
        assert stuck.busy_max <= 4
        await sender.service.settled()
        attempts = [row["attempts"] for row in await log_of(api, slow)]
        assert [each[0]["error"] for each in attempts if each] == ["no whole answer within 0.5 s"] * stuck.busy_max


async def test_two_senders_share_the_work_and_never_send_the_same_at_once(api, receiver, sender):
    """What one has taken another leaves alone; together they send everything once, each subject in order."""
    await api.partner()
    await hook(api, receiver, "commission.*")
    names = [f"o-{n}" for n in range(15)]
    await orders(api, *names)
    for name in names:
        await api.post(f"/commissions/{name}/approve")
    async with sending(api.ledger, api.now) as other:

        async def drain(each):
            while len(receiver.got) < 30:
                await each.service.work()
                await asyncio.sleep(0.005)

        await asyncio.gather(drain(sender), drain(other))
        await asyncio.gather(sender.service.settled(), other.service.settled())
    assert len({m.id for m in receiver.got}) == len(receiver.got) == 30
    for name in names:
        mine = [m.json["type"] for m in receiver.got if m.json["subject"] == f"order/{name}"]
        assert mine == ["commission.earned", "commission.approved"]


async def test_what_is_recorded_while_the_log_is_looked_at_is_told_the_next_time(api, receiver, monkeypatch):
    """What another process commits between two looks at the log is behind the webhook's position, not before."""
    await api.partner()
    webhook = await hook(api, receiver, "key.*")
    made = []

    def look(*told):
        if not made:
            made.append(key_of(api.ledger, "acme"))
        return FeedRow(*told)

    monkeypatch.setattr(deliveries, "FeedRow", look)
    key_of(api.ledger, "acme")
    for _ in range(2):
        await asyncio.to_thread(deliveries.fill, api.ledger, webhook["id"], api.now)
    assert made
    assert [row["type"] for row in await log_of(api, webhook)] == ["key.created", "key.created"]


async def test_what_a_dead_sender_had_taken_is_sent_when_its_lease_is_over(api, receiver, sender):
    """A sender that dies before it wrote down the answer costs a repetition under the same id, and nothing else."""
    await api.partner()
    webhook = await hook(api, receiver, "commission.*")
    await orders(api, "o-1")
    deliveries.fill(api.ledger, webhook["id"], api.now)
    (dead,) = deliveries.claim(api.ledger, [(webhook["id"], 5)], api.now, timedelta(seconds=60))
    await sender.after(seconds=59)
    assert receiver.got == []
    await sender.after(seconds=2)
    assert [m.id for m in receiver.got] == [dead.delivery_id]
    # It was only frozen, and comes back: what it has to say is about an attempt that is not its own any more.
    late = deliveries.Outcome(5, 500)
    assert deliveries.finish(api.ledger, dead, late, sender.now, Random(1), deliveries.Patience()) is None
    await sender.after(days=1)
    (row,) = await log_of(api, webhook)
    assert (row["status"], [attempt["number"] for attempt in row["attempts"]]) == ("delivered", [2])
    assert len(receiver.got) == 1


async def test_what_is_being_sent_when_the_sender_stops_is_given_back(api, receiver):
    """A sender that is asked to stop gives back what it had no answer to, and the next one sends it at once."""
    await api.partner()
    receiver.answer = never
    async with sending(api.ledger, api.now) as sender:
        await hook(api, receiver, "commission.*")
        await orders(api, "o-1")
        running_ = asyncio.create_task(sender.service.run())
        await until(lambda: receiver.got, "the message being sent")
        running_.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running_
    receiver.answer = 204
    async with sending(api.ledger, api.now) as sender:
        await sender.all()
    assert len(receiver.got) == 2
    assert receiver.got[0].id == receiver.got[1].id


async def test_no_request_goes_into_the_operators_own_network(api, receiver):
    """Without the operator's leave an address on the loopback gets nothing, also where it was taken before."""
    await api.partner()
    webhook = await hook(api, receiver, "commission.*")
    named = await api.post("/webhooks", {"url": receiver.url.replace("127.0.0.1", "localhost"), "types": ["*"]})
    await orders(api, "o-1")
    async with sending(api.ledger, api.now, webhook_allow_private=False) as sender:
        await sender.all()
    assert receiver.got == []
    for each in (webhook, named.json):
        errors = [row["attempts"][0]["error"] for row in await log_of(api, each)]
        assert errors
        assert all(error == "must begin with https://" for error in errors)


def resolving_to(monkeypatch, *addresses):
    """Let every name resolve to these addresses, one after the other; returns the names that were asked for."""
    asked = []

    async def getaddrinfo(host, port, **_):
        address = addresses[min(len(asked), len(addresses) - 1)]
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


async def test_a_name_that_leads_inside_is_found_out_when_it_is_connected_to(api, receiver, monkeypatch):
    """A host may change its mind: a socket is made for a public address or not at all."""
    port = receiver.url.split(":")[2].split("/")[0]
    await api.partner()
    rebinding = await hook(api, Receiver(f"https://rebind.example.com:{port}/hook"), "commission.*")
    await orders(api, "o-1")
    asked = resolving_to(monkeypatch, "127.0.0.1")
    connected = []
    monkeypatch.setattr(socket.socket, "connect", lambda *_: connected.append(1))
    async with sending(api.ledger, api.now, webhook_allow_private=False) as sender:
        await sender.all()
    monkeypatch.undo()
    assert asked == ["rebind.example.com"]
    assert (receiver.got, connected) == ([], [])
    (row,) = await log_of(api, rebinding)
    assert "127.0.0.1 is not on the public internet" in row["attempts"][0]["error"]


async def test_a_name_is_asked_for_once_and_stays_the_host(api, receiver, sender, monkeypatch):
    """The address that was looked at is the one that is connected to, under the name that the merchant told."""
    port = receiver.url.split(":")[2].split("/")[0]
    await api.partner()
    await hook(api, Receiver(f"http://shop.example.com:{port}/hook"), "commission.*")
    await orders(api, "o-1")
    asked = resolving_to(monkeypatch, "127.0.0.1", "203.0.113.9")
    await sender.all()
    assert asked == ["shop.example.com"]
    assert [message.headers["host"] for message in receiver.got] == [f"shop.example.com:{port}"]


async def test_a_certificate_that_nobody_vouches_for_is_refused(api, sender, tmp_path):
    """Nothing is told to a server that cannot prove its name."""
    require(shutil.which("openssl"), "openssl")
    made = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout",
        str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"), stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await made.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    await api.partner()
    async with receiving(tls=context) as receiver:
        webhook = await hook(api, receiver, "commission.*")
        await orders(api, "o-1")
        await sender.all()
        assert receiver.got == []
    (row,) = await log_of(api, webhook)
    assert "certificate" in row["attempts"][0]["error"].lower()


async def test_a_killed_worker_loses_nothing(api, receiver):
    """A worker that is killed while it sends, and has no broker either, leaves all of it to others."""
    receiver.answer = never
    await api.partner()
    await hook(api, receiver, "commission.*")
    names = [f"o-{n}" for n in range(8)]
    await orders(api, *names)
    environment = for_database(
        api.database_url, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", WEBHOOK_ALLOW_PRIVATE="true",
        LEDGER_HASH_KEY=api.ledger.hash_key.decode().ljust(32, "."),
    )  # fmt: skip
    quiet = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
    worker = await asyncio.create_subprocess_exec(*PROGRAM, "worker", env=bare() | environment, **quiet)
    try:
        await until(lambda: receiver.busy >= 4, "the worker sending")
    finally:
        worker.kill()
        await worker.wait()
    under_way = {message.id for message in receiver.got}
    receiver.answer = 204
    async with sending(api.ledger, datetime.now(UTC) + timedelta(minutes=2)) as sender:
        await sender.all()
    after = [message for message in receiver.got if message.json["subject"]][4:]
    assert {message.json["subject"] for message in after} == {f"order/{name}" for name in names}
    assert under_way <= {message.id for message in after}
