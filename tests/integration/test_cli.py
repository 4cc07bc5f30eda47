"""The commands, as operators use them, on a real database."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import typer

from cli import main as cli_main
from ledger.application import Ledger
from ledger.intake import Intake, Message, Source
from projections.runner import Projector
from tests.support import oracle_program, registration
from tests.support.postgres import in_database

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SERVING = {"worker", "projector", "web", "storefront"}
CREATE = ("merchant", "create", "--slug", "acme", "--name", "Acme", "--currency", "USD", "--email", "a@acme.example")


@pytest.fixture
def ledger(run, database_url) -> Iterator[Ledger]:
    """Return the write side with the key that the commands have, and a merchant whose partner jane has a code."""
    ledger = Ledger(database_url, hash_key=run.environment["LEDGER_HASH_KEY"].encode())
    partner = oracle_program.Partner("jane", (oracle_program.Rate(oracle_program.BEGINNING, "percentage", "10"),))
    codes = {"JANE10": oracle_program.held_by("jane")}
    registration.register(ledger, [oracle_program.Merchant("acme", "USD", (partner,), codes)])
    yield ledger
    ledger.close()


def book(ledger: Ledger, *raw: bytes) -> None:
    """Book these messages as the first of a partition."""
    messages = [Message(number, value) for number, value in enumerate(raw)]
    Intake(ledger).take(Source("cluster", "orders", 0), messages, NOW, after=None)


def order(order_id: str = "1", **more: str) -> bytes:
    """Return a placed order of 100 dollars with jane's code."""
    told = {
        "type": "order.placed", "event_id": f"e-{order_id}", "merchant_id": "acme", "order_id": order_id,
        "currency": "USD", "occurred_at": "2026-11-22T10:00:00Z", "total": "100.00", "coupon_code": "JANE10", **more,
    }  # fmt: skip
    return repr(told).replace("'", '"').encode()


def test_a_new_merchants_key_opens_its_books(run, database_url) -> None:
    """`merchant create` prints a key whose hash, and not the key itself, is kept."""
    done = run(*CREATE, "--json")

    assert (done.code, done.err) == (0, "")
    key = done.json["api_key"]
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT merchant_id, key_id, key_sha256 FROM access.api_keys").fetchall()
    assert [(merchant, key.split("_")[1]) for merchant, _, _ in rows] == [("acme", rows[0][1])]
    assert key.split("_", 2)[2].encode() not in bytes(rows[0][2])


def test_a_merchant_is_created_once(run) -> None:
    """A slug that is taken is refused with exit code 1 and one line on stderr."""
    run(*CREATE)
    again = run(*CREATE)

    assert (again.code, again.out) == (1, "")
    assert again.err == "commission-ledger: there is a merchant 'acme' already (merchant_exists)\n"


def test_a_lost_key_is_replaced_by_another(run) -> None:
    """`merchant key` gives a merchant another key, and a merchant that does not exist none."""
    first = run(*CREATE, "--json").json["api_key"]

    assert run("merchant", "key", "--slug", "acme", "--json").json["api_key"] != first
    assert run("merchant", "key", "--slug", "nobody").code == 1


def test_a_key_is_made_for_what_it_is_to_do(run, database_url) -> None:
    """`merchant key` makes keys of fewer scopes, of an expiry, and of a user, who is found by e-mail."""
    run(*CREATE)
    made = run(
        "merchant", "key", "--slug", "acme", "--scopes", "read,orders:write", "--expires", "2100-01-01T00:00:00Z"
    )
    owned = run("merchant", "key", "--slug", "acme", "--user", "A@acme.example")

    assert (made.code, owned.code) == (0, 0)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT scopes, expires_at, role, created_by FROM access.api_keys LEFT JOIN access.users"
            " USING (merchant_id, user_id) ORDER BY api_keys.sequence"
        ).fetchall()
    assert [(len(scopes), expires_at and expires_at.year, role) for scopes, expires_at, role, _ in rows] == [
        (1, None, None), (2, 2100, None), (5, None, "owner"),
    ]  # fmt: skip
    assert {cause for *_, cause in rows} == {"cli/merchant-create", "cli/merchant-key"}


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("--scopes", "reed"), 2, "--scopes"),
        (("--expires", "tomorrow"), 2, "--expires"),
        (("--expires", "2020-01-01T00:00:00Z"), 1, "not_in_the_future"),
        (("--user", "nobody@acme.example"), 1, "not_found"),
    ],
)
def test_a_key_that_cannot_be_is_refused(run, arguments, code, named) -> None:
    """Scopes, times and users that do not exist are refused in one line that names them."""
    run(*CREATE)
    done = run("merchant", "key", "--slug", "acme", *arguments)

    assert (done.code, done.out) == (code, "")
    assert named in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--slug", "Acme!", "--slug"),
        ("--currency", "usd", "--currency"),
        ("--email", "nobody", "--email"),
        ("--name", " ", "--name"),
    ],
)
def test_wrong_options_are_named(run, option, value, named) -> None:
    """A value that cannot be is wrong usage: exit code 2, and the option at fault is named."""
    arguments = [
        value if before == option else argument for before, argument in zip(("", *CREATE), CREATE, strict=False)
    ]
    done = run(*arguments)

    assert done.code == 2
    assert done.err.startswith(f"commission-ledger: {option}: ")
    assert done.err.count("\n") == 1


def test_an_unknown_currency_or_time_zone_is_refused(run) -> None:
    """What is well-formed and does not exist is refused with the field at fault."""
    assert "$.currency" in run(*CREATE[:6], "--currency", "ZZZ", *CREATE[8:]).err
    assert "$.time_zone" in run(*CREATE, "--time-zone", "Mars/Olympus").err


def test_wrong_settings_are_named_without_their_values(run) -> None:
    """Every variable at fault is named in one line; no value is repeated, for it may be a secret."""
    run.environment |= {"WEB_PORT": "99999", "LEDGER_HASH_KEY": "tooshort", "POSTGRES_ENABLE_DB_FUNCTIONS": "y"}
    done = run("intake")

    assert (done.code, done.out) == (2, "")
    assert all(name in done.err for name in ("WEB_PORT", "LEDGER_HASH_KEY", "POSTGRES_ENABLE_DB_FUNCTIONS"))
    assert "tooshort" not in done.err
    assert "99999" not in done.err


def test_without_a_database_it_says_how_to_name_one(run, tmp_path, monkeypatch) -> None:
    """No DATABASE_URL, no --data and no folder of `up`: wrong usage, and nothing is started."""
    monkeypatch.chdir(tmp_path)
    del run.environment["DATABASE_URL"]
    done = run("intake")

    assert done.code == 2
    assert "--data" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_malformed_address_is_not_repeated(run) -> None:
    """An address that cannot be read is wrong usage, and the password in it stays where it is."""
    run.environment["DATABASE_URL"] = "postgresql+odd://user:geheim@host/name"
    done = run("intake")

    assert done.code == 2
    assert "geheim" not in done.err


def test_a_database_that_is_away_is_said_in_one_line(run) -> None:
    """Nobody answers: exit code 3 and one line, whatever the command."""
    run.environment["DATABASE_URL"] = "postgresql://user:geheim@127.0.0.1:1/name"
    for command in (("intake",), ("verify",), ("rebuild",), ("migrate",), CREATE, ("dead-letters", "list")):
        done = run(*command)
        assert (done.code, done.out, done.err.count("\n")) == (3, "", 1), (command, done)
        assert "geheim" not in done.err


def test_a_missing_hash_key_is_wrong_usage(run) -> None:
    """Outside of the embedded stack there is no hash key but the one that is set."""
    del run.environment["LEDGER_HASH_KEY"]
    done = run(*CREATE)

    assert done.code == 2
    assert "LEDGER_HASH_KEY" in done.err


def test_migrate_makes_an_empty_database_ready(run, server_url) -> None:
    """On an empty database a command says what to do, `migrate` does it, and doing it again changes nothing."""
    name = f"empty_{datetime.now(UTC).timestamp():.6f}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            run.environment["DATABASE_URL"] = in_database(server_url, name)
            before = run("intake")
            assert before.code == 1
            assert "commission-ledger migrate" in before.err
            assert [run("migrate", "--json").json["migrated"] for _ in range(2)] == [True, True]
            assert run("intake").code == 0
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_verify_finds_what_was_changed_and_rebuild_mends_it(run, ledger, database_url) -> None:
    """`verify` exits 0 on books that are right, 1 on a changed figure, which it names; `rebuild` brings it back."""
    book(ledger, order())
    Projector(database_url).catch_up()
    assert run("verify", "--json").json["ok"] is True

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE read.balances SET pending_minor = pending_minor + 1, expense_minor = expense_minor - 1"
        )
    wrong = run("verify", "--json")
    assert wrong.code == 1
    (difference,) = wrong.json["differences"]
    assert (difference["model"], difference["expected"], difference["found"]) == ("balances", "1000", "1001")
    assert "pending" in run("verify").out

    assert run("rebuild", "balances").code == 0
    assert run("verify").code == 0


def test_rebuild_knows_its_models(run) -> None:
    """A name that is no read model is wrong usage, and those that are get listed."""
    done = run("rebuild", "balance")

    assert done.code == 2
    assert "balances" in done.err


def test_intake_accounts_for_every_message(run, ledger) -> None:
    """`intake` shows each partition with its counts, and they add up to what was consumed."""
    book(ledger, order(), order(), b"garbage")
    (partition,) = run("intake", "--json").json["partitions"]

    counts = [partition[name] for name in ("earned", "adjusted", "skipped", "ignored", "duplicate", "dead_lettered")]
    assert counts == [1, 0, 0, 0, 1, 1]
    assert partition["consumed"] == sum(counts)
    assert "orders" in run("intake").out


def test_dead_letters_are_listed_shown_retried_and_discarded(run, ledger) -> None:
    """A letter is found with its reason and its whole message; a retry that is refused again leaves it open."""
    book(ledger, b'{"no": "order"}', order(merchant_id="late"), b"garbage")
    listed = run("dead-letters", "list", "--json").lines
    assert [letter["code"] for letter in listed] == ["not_json", "unknown_merchant", "missing"]

    shown = run("dead-letters", "show", listed[2]["dead_letter_id"], "--json").json
    assert shown["raw"] == '{"no": "order"}'
    assert run("dead-letters", "list", "--code", "not_json", "--json").lines == [listed[0]]

    late = [oracle_program.Merchant("late", "USD", (), {})]
    registration.register(ledger, late)
    retried = run("dead-letters", "retry", "--all", "--json")
    assert retried.code == 1
    assert [told["status"] for told in retried.lines] == ["refused", "retried", "refused"]

    discarded = run("dead-letters", "discard", listed[0]["dead_letter_id"], "--reason", "a test", "--json")
    assert (discarded.code, discarded.json["status"]) == (0, "discarded")
    assert len(run("dead-letters", "list", "--json").lines) == 1
    assert len(run("dead-letters", "list", "--status", "all", "--json").lines) == 3


def test_dead_letters_are_resolved_by_name_or_all(run, ledger) -> None:
    """Neither ids nor --all is wrong usage, and so are both; an id that is none is refused."""
    del ledger
    assert run("dead-letters", "retry").code == 2
    assert run("dead-letters", "retry", "dl_x", "--all").code == 2
    assert run("dead-letters", "retry", "dl_x").code == 1
    assert run("dead-letters", "show", "dl_x").code == 1
    assert run("dead-letters", "list", "--status", "lost").code == 2


def commands(command=None, path=()) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Yield every command with the options that it has."""
    command = command or typer.main.get_command(cli_main.app)
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from commands(command.get_command(None, name), (*path, name))
    else:
        yield path, {option for parameter in command.params for option in parameter.opts}


def test_every_command_can_be_told_where_the_books_are() -> None:
    """Every command takes --data, and every one that ends by itself takes --json."""
    found = dict(commands())
    assert len(found) >= 15
    assert [path for path, options in found.items() if "--data" not in options] == []
    assert [path for path, options in found.items() if "--json" not in options and path[0] not in SERVING] == []


def test_as_a_program_it_keeps_its_streams_apart(run) -> None:
    """Run as a process, results go to stdout, one line of trouble to stderr, and --debug shows where it came from."""
    run.environment["DATABASE_URL"] = "postgresql://user@127.0.0.1:1/name"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    plain, debug = (run.start("intake", *more, **streams) for more in ((), ("--debug",)))
    plain_out, plain_err = plain.communicate(timeout=60)
    debug_out, debug_err = debug.communicate(timeout=60)

    assert (plain.returncode, plain_out, plain_err.count("\n")) == (3, "", 1)
    assert (debug.returncode, debug_out) == (3, "")
    assert "Traceback" in debug_err
    assert "Traceback" not in plain_err


def test_the_embedded_database_is_started_for_one_command(run, tmp_path) -> None:
    """With --data and nothing running, a command starts PostgreSQL, works, and leaves nothing running."""
    data = tmp_path / "data"
    assert run(*CREATE, "--data", data).code == 0
    assert run("intake", "--data", data, "--json").json == {"partitions": []}
    assert not (Path(data) / "postgres" / "postmaster.pid").exists()
    assert (data / "hash.key").stat().st_mode & 0o777 == 0o600


def test_books_without_their_hash_key_are_not_opened(run, tmp_path) -> None:
    """A data folder whose hash key is gone is refused: with another key, known addresses would be strangers."""
    data = tmp_path / "data"
    run(*CREATE, "--data", data)
    (data / "hash.key").unlink()
    done = run("merchant", "key", "--slug", "acme", "--data", data)

    assert done.code == 1
    assert "hash.key" in done.err
    assert not (data / "hash.key").exists()


@pytest.mark.parametrize("command", sorted(SERVING - {"storefront"}))
def test_a_process_waits_for_its_servers(run, command) -> None:
    """With database and broker away a process goes on trying, logs JSON without secrets, and ends on SIGTERM with 0."""
    run.environment |= {
        "DATABASE_URL": "postgresql://user:geheim@127.0.0.1:1/name",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "WEB_PORT": "0",
    }
    with run.start(command, stderr=subprocess.PIPE) as process:
        lines = [json.loads(process.stderr.readline())]
        assert lines[0]["event"] == f"{command} started"
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    lines += [json.loads(line) for line in rest.splitlines()]

    assert process.returncode == 0
    assert lines[-1]["event"] == f"{command} stopped"
    assert "geheim" not in rest


def test_a_web_port_that_is_taken_is_said_in_one_line(run) -> None:
    """Where somebody listens at WEB_PORT already, `web` is refused and names the variable."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run.environment |= {"WEB_PORT": str(taken.getsockname()[1])}
        with run.start("web", stderr=subprocess.PIPE) as process:
            told = process.stderr.read()

    assert process.returncode == 1
    assert told.count("\n") == 1
    assert "WEB_PORT" in told


def test_a_worker_needs_a_broker(run, tmp_path) -> None:
    """Without KAFKA_BOOTSTRAP_SERVERS it is wrong usage; on a data folder where no `up` runs, the broker is away."""
    assert run("worker").code == 2
    data = tmp_path / "data"
    run(*CREATE, "--data", data)
    done = run("worker", "--data", data)
    assert done.code == 3
    assert "up --data" in done.err
