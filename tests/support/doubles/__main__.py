"""`python -m tests.support.doubles`: Stripe and PayPal on this machine, which pay nobody; see `docs/payouts.md`.

Prints what to put into the environment of `commission-ledger up` (or worker and web), and how the doubles are steered.
Everything is in memory, and gone when it ends.
"""

import argparse
import asyncio
import signal
from datetime import UTC, datetime
from pathlib import Path

from tests.support.doubles.control import application
from tests.support.doubles.paypal import CLIENT_ID, CLIENT_SECRET, WEBHOOK_ID, PayPalDouble
from tests.support.doubles.serving import listening
from tests.support.doubles.street import Street, street
from tests.support.doubles.stripe import KEY, WEBHOOK_SECRET, StripeDouble
from tests.support.fast_clock import FastClock


def environment(found: Street) -> dict[str, str]:
    """Return what a process of ours has to find in its environment to speak to these two."""
    stripe, paypal = found.stripe.double, found.paypal.double
    assert isinstance(stripe, StripeDouble)
    assert isinstance(paypal, PayPalDouble)
    return {
        "STRIPE_API_KEY": KEY,
        "STRIPE_API_BASE": stripe.url,
        "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "PAYPAL_CLIENT_ID": CLIENT_ID,
        "PAYPAL_CLIENT_SECRET": CLIENT_SECRET,
        "PAYPAL_API_BASE": paypal.url,
        "PAYPAL_WEBHOOK_ID": WEBHOOK_ID,
        # Of nobody: with them payouts by bank transfer can be tried as well.
        "BANK_DEBTOR_NAME": "Double GmbH",
        "BANK_DEBTOR_IBAN": "DE89370400440532013000",
    }


async def run(told: argparse.Namespace, stop: asyncio.Event) -> None:
    """Run until `stop`."""
    clock = FastClock(told.clock).now if told.clock else lambda: datetime.now(UTC)
    async with (
        street(told.stripe_port, told.paypal_port, clock, told.seed) as found,
        listening(application(found), told.control_port) as control,
    ):
        told_to_others = environment(found) | {"DOUBLES_CONTROL": control}
        lines = [f"export {name}='{value}'" for name, value in told_to_others.items()]
        if told.env_file:
            told.env_file.write_text("\n".join(lines) + "\n")
        print("\n".join([*lines, "", f"# `curl {control}` says how they are steered; Ctrl-C ends them."]), flush=True)  # noqa: T201
        await stop.wait()


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.doubles", description=__doc__)
    parser.add_argument("--stripe-port", type=int, default=12111)
    parser.add_argument("--paypal-port", type=int, default=12112)
    parser.add_argument("--control-port", type=int, default=12113)
    parser.add_argument("--env-file", type=Path, help="write the lines of the environment to this file as well")
    parser.add_argument("--clock", type=Path, help="go by the clock in this file (tests.support.fast_clock)")
    parser.add_argument("--seed", type=int, default=0, help="decides about what is left to chance")
    asyncio.run(_until_a_signal(parser.parse_args()))


async def _until_a_signal(told: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(told, stop)


if __name__ == "__main__":
    main()
