"""`up`: everything on this machine, with one command."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.connection import read_settings
from cli.data_folder import DataFolder
from cli.demo import EMAIL, MERCHANT_ID, Demo
from cli.embedded.broker import binary
from cli.embedded.postgres import binaries
from cli.embedded_stack import TOPIC_PARTITIONS, Addresses, EmbeddedStack, Ports, StoppedError
from cli.failures import explain
from cli.options import DEFAULT_DATA, Json
from cli.output import complain, print_json, say, spinner
from cli.stopping import stop_signals

app = typer.Typer(rich_markup_mode="markdown", add_completion=False)

_NAME = "commission-ledger"
_ORDER = (
    '{"type":"order.placed","event_id":"try-1","merchant_id":"demo","order_id":"try-1","occurred_at":"2026-11-22T10:00:00Z",'
    '"currency":"USD","total":"100.00","coupon_code":"JANE10"}'
)


@app.command()
def up(
    *,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", file_okay=False, help="Where everything is kept.")
    ] = DEFAULT_DATA,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Of the API; 0: any that is free.")] = 8000,
    kafka_port: Annotated[
        int, typer.Option("--kafka-port", min=0, max=65_535, help="Of the broker; 0: any that is free.")
    ] = 9092,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="Without the demo merchant and its storefront.")] = False,
    as_json: Json = False,
) -> None:
    """Start everything on this machine: PostgreSQL, a Kafka broker, worker, projector, web, and a demo merchant.

    Everything listens on 127.0.0.1. Ctrl-C stops it; the books stay in the data folder.
    """
    binary(), binaries()  # the reason, before anything is touched
    settings = read_settings()
    with stop_signals() as stop:
        stack = EmbeddedStack(DataFolder(data), Ports(port, kafka_port), settings, stop, _teller(as_json=as_json))
        try:
            with spinner("starting") as step:
                demo = stack.start(step, demo=not no_demo)
            _show(stack.addresses, demo, as_json=as_json)
            stack.watch()
        except StoppedError:
            pass
        except BaseException as error:
            complain(f"commission-ledger: {explain(error)[1]}")
            raise typer.Exit(explain(error)[0]) from error
        finally:
            if not as_json:
                complain("stopping")
            stack.close()
    if as_json:
        print_json({"event": "stopped"})
    else:
        say("stopped; the books are kept")


def _teller(*, as_json: bool) -> Any:
    def tell(part: str, sentence: str) -> None:
        if as_json:
            print_json({"event": "notice", "part": part, "told": sentence})
        else:
            complain(f"{part}: {sentence}")

    return tell


def _show(addresses: Addresses, demo: Demo | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"event": "ready", **addresses._asdict(), **(_told_of_demo(demo) if demo else {})})
        return
    url, data = addresses.web_url, shlex.quote(addresses.data)
    say("")
    say("Commission Ledger runs.")
    say("")
    for name, value in (
        ("Dashboard", f"{url}/"),
        ("API", f"{url}/api/v1"),
        ("API docs", f"{url}/api/docs"),
        ("Ready", f"{url}/readyz"),
        ("Metrics", f"{url}/metrics"),
        ("Kafka", f"{addresses.bootstrap_servers}, topic {addresses.topic}, {TOPIC_PARTITIONS} partitions"),
        ("", "(kept in memory: empty after each start; what was booked stays booked)"),
        ("Data", f"{addresses.data} (logs in logs/)"),
        ("Mail", "by SMTP_URL" if addresses.mail_folder is None else f"{addresses.mail_folder} (sent to nobody)"),
    ):
        say(f"  {name:12}{value}")
    say("")
    if demo is not None:
        _show_demo(addresses, demo)
    say("A merchant of your own:")
    options = f"--data {data} --slug acme --name Acme --currency USD --email you@example.com"
    say(f"  {_program()} merchant create {options}")
    say("")
    say("Ctrl-C stops everything.")


def _program() -> str:
    """Return how to call us from here: by name where a shell finds it, else by the path that we were called by."""
    called, known = Path(sys.argv[0]), shutil.which(_NAME)
    if called.name != _NAME or (known is not None and called.resolve() == Path(known).resolve()):
        return _NAME
    return shlex.quote(os.path.relpath(called) if called.is_relative_to(Path.cwd()) else str(called))


def _told_of_demo(demo: Demo) -> dict[str, str]:
    return {
        "demo_merchant": MERCHANT_ID, "demo_api_key": demo.api_key, "demo_email": EMAIL, "demo_password": demo.password
    }  # fmt: skip


def _show_demo(addresses: Addresses, demo: Demo) -> None:
    say("The demo merchant's storefront publishes a few orders a second.")
    for name, value in (
        ("Log in", f"{addresses.web_url}/login"),
        ("E-mail", EMAIL),
        ("Password", demo.password),
        ("API key", demo.api_key),
    ):
        say(f"  {name:12}{value}")
    say("")
    say("Try:")
    say(f"  curl -H 'Authorization: Bearer {demo.api_key}' {addresses.web_url}/api/v1/balances")
    say(f"  echo '{_ORDER}' \\\n    | kcat -P -b {addresses.bootstrap_servers} -t {addresses.topic} -k demo/try-1")
    say("")
