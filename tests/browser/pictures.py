"""The pictures of README: the demo's dashboards, and whom a run would pay. `make pictures` (needs Chromium).

Starts `commission-ledger up` in an empty folder, waits until its storefront has sold enough, logs in as its merchant
and as one of its partners, and looks.
"""

import asyncio
import json
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.async_api import Browser, Page

from tests.support.browser import Faults, launched, opened
from tests.support.service import Client, until

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
_ORDERS = 400
_SIZE = {"width": 1280, "height": 860}
_PARTNER = "Jane Doe"


@contextmanager
def demo() -> Iterator[dict[str, Any]]:
    """Yield what `up` says when it is ready; its storefront has sold by then."""
    with tempfile.TemporaryDirectory(prefix="cl-pictures-") as folder:
        options = ["--json", "--port", "0", "--kafka-port", "0", "--data", folder]
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up", *options], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            ready = next(said for line in process.stdout if (said := json.loads(line))["event"] == "ready")
            port = int(ready["web_url"].rpartition(":")[2])
            client = Client(port, ready["demo_api_key"])
            until(lambda: client.get("/metrics")["totals"]["conversions"] >= _ORDERS, "orders", timeout_s=180)
            until(lambda: client.get("/commissions", status="approved")["data"], "an approved commission")
            yield ready | {
                "partners": client.get("/partners")["data"],
                "order_id": client.get("/commissions", status="approved")["data"][0]["order_id"],
            }
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


async def take(url: str, ready: dict[str, Any]) -> None:
    """Take every picture."""
    FOLDER.mkdir(exist_ok=True)
    address = next(partner["dashboard_url"] for partner in ready["partners"] if partner["name"] == _PARTNER)
    async with launched() as browser:
        merchant = await _merchant(browser, url, ready)
        await _look(merchant, "/overview", "merchant")
        await _look(merchant, "/payouts/new", "payouts")
        await _look(merchant, f"/commissions/{quote(ready['order_id'], safe='')}", "commission")
        await _look(await _partner(browser, url, address), address, "partner")


async def _merchant(browser: Browser, url: str, ready: dict[str, Any]) -> Page:
    page = await opened(browser, url, Faults())
    await page.goto("/login")
    await page.get_by_label("E-mail address").fill(ready["demo_email"])
    await page.get_by_label("Password").fill(ready["demo_password"])
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/overview**")
    return page


async def _partner(browser: Browser, url: str, address: str) -> Page:
    page = await opened(browser, url, Faults())
    await page.goto(address)
    password = secrets.token_urlsafe(12)
    for field in await page.locator("input[type=password]").all():
        await field.fill(password)
    await page.locator("main button.primary").click()
    await page.get_by_role("heading", name="Your earnings").wait_for()
    return page


async def _look(page: Page, address: str, name: str) -> None:
    await page.set_viewport_size(_SIZE)  # type: ignore[arg-type]
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await page.goto(address)
        await page.wait_for_load_state("load")
        await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        await page.screenshot(path=FOLDER / f"{name}-{scheme}.png")


def main() -> None:
    """Start the demo and take the pictures."""
    with demo() as ready:
        asyncio.run(take(ready["web_url"], ready))
    print(*sorted(path.name for path in FOLDER.glob("*.png")))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
