"""The list by which a person pays: where money goes in clear, for whoever may pay, and with a record of who took it."""

import csv
import io
from datetime import timedelta

import pytest

from schemas.payout_settings import PayoutSettings
from tests.support.api import PAYOUTS, running
from tests.support.payouts import confirm, earn, payable_to, payouts, run, second_key

FILE = "/payouts/by-hand.csv"
TABLES = ("access.changes", "ledger.events", "ledger.requests", "people.payout_payees")
FORMULA = "=HYPERLINK(A1)"


@pytest.fixture
async def jane(api):
    """Return the id of a partner who is paid by hand, and was requested to be paid 10.00."""
    partner = (await api.partner())["id"]
    await payable_to(api, partner, address="Wise: jane@wise.example", name="Jane B. Doe")
    await earn(api, "100.00")
    await run(api)
    return partner


async def taken(api, **options):
    """Return the rows of the list."""
    answer = await api.get(FILE, **options)
    assert answer.status == 200, answer.text
    assert answer.text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def log(api):
    """Return what the access log tells of takings, the newest first."""
    rows = (await api.get("/access-log")).json["data"]
    return [(row["cause"].partition("@")[0], row["details"]) for row in rows if row["type"] == "payouts.by_hand_taken"]


async def test_a_line_says_all_that_it_takes_to_pay(api, jane):
    """Whom, how much, and where to, in clear; nobody keeps a copy, and the log tells who took how many."""
    (payout,) = await payouts(api)
    assert await taken(api) == [
        {
            "payout_id": payout["id"], "partner_id": jane, "partner_name": "Jane", "amount": "10.00",
            "currency": "USD", "name": "Jane B. Doe", "pay_to": "Wise: jane@wise.example",
            "requested_at": payout["requested_at"],
        }
    ]  # fmt: skip
    headers = (await api.get(FILE)).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Disposition"] == 'attachment; filename="by-hand.csv"'
    told = await log(api)
    assert [details for _, details in told] == [{"payouts": 1}] * 2
    assert {cause.partition("/")[0] for cause, _ in told} == {"api"}
    assert "X-Ledger-Position" not in headers


async def test_it_goes_where_the_payout_was_requested_to_go(api, jane):
    """What is changed later is for later payouts: this one keeps its own."""
    api.now += timedelta(days=30)
    await payable_to(api, jane, address="somewhere else")
    assert [row["pay_to"] for row in await taken(api)] == ["Wise: jane@wise.example"]


async def test_only_what_may_be_paid_now_is_in_it(api):
    """Not what waits for its approval, nobody whose payouts are held, not what was paid, and no other rail's."""
    await api.ask("PATCH", "/program", {"payout_approval": "second_person"})
    ids = []
    for name, method, address in (
        ("jane", "manual", "cash"), ("kim", "paypal", "k@mail.example"), ("lee", "manual", "cash")
    ):  # fmt: skip
        partner = await api.partner(name=name, email=f"{name}@p.example", coupon_code=name.upper())
        ids.append(partner["id"])
        await payable_to(api, partner["id"], method, address)
        await earn(api, "100.00", coupon_code=name.upper())
    await run(api)
    assert await taken(api) == []
    assert await log(api) == [], "who took nothing is of no interest"
    for payout in await payouts(api):
        assert (await api.post(f"/payouts/{payout['id']}/approve", headers=second_key(api))).status == 200
    assert sorted(row["partner_name"] for row in await taken(api)) == ["jane", "lee"]
    await api.post(f"/partners/{ids[2]}/hold-payouts", {"reason": "looking"})
    assert [row["partner_name"] for row in await taken(api)] == ["jane"]
    (payout,) = [each for each in await payouts(api) if each["partner_id"] == ids[0]]
    await confirm(api, payout, "WIRE-1")
    assert await taken(api) == []


async def test_a_spreadsheet_runs_nothing_of_it(api):
    """What a partner wrote and begins like a formula has an apostrophe in front, as in every file."""
    partner = (await api.partner(name=FORMULA))["id"]
    await payable_to(api, partner, address=FORMULA, name='+1"x",y')
    await earn(api, "100.00")
    await run(api)
    (row,) = await taken(api)
    assert (row["partner_name"], row["pay_to"], row["name"]) == (f"'{FORMULA}", f"'{FORMULA}", '\'+1"x",y')


async def test_whose_payee_was_erased_is_in_it_without(api, jane):
    """A line that says nothing of where is there all the same: it has to be called off, or asked for."""
    with api.ledger.connection() as conn:
        conn.execute("UPDATE people.payout_payees SET payee = NULL")
    assert [(row["partner_id"], row["name"], row["pay_to"]) for row in await taken(api)] == [(jane, "", "")]


async def test_where_nothing_may_be_paid_there_is_no_list(api, jane, database_url):
    """Switched off, or in a database that was restored, nobody is told to pay what may have been paid since."""
    api.paying.spending.switch_off("manual", reason="fraud", by="ops", now=api.now)
    assert ((await api.get(FILE)).status, (await api.get(FILE)).code) == (409, "rail_off")
    api.paying.spending.switch_on("manual")
    api.paying.home.look(api.now)
    with api.ledger.connection() as conn:
        conn.execute("UPDATE ledger.payout_home SET place = 'elsewhere'")
    assert (await api.get(FILE)).code == "rail_off"
    assert await log(api) == []


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (None, "payouts_not_set_up"),
        (PayoutSettings(payout_details_keys=PAYOUTS.payout_details_keys, payouts_off=True), "rail_off"),
    ],
)
async def test_it_needs_what_pays_partners(database_url, settings, code):
    """Without a key, or with all payouts off in this process, it is refused with the reason."""
    async with running(database_url, payouts=settings) as api:
        assert ((await api.get(FILE)).status, (await api.get(FILE)).code) == (409, code)


async def test_to_ask_for_its_headers_is_not_to_take_it(api, jane):
    """HEAD tells what kind of file it is, and nothing of what is in it."""
    answer = await api.ask("HEAD", FILE)
    assert (answer.status, answer.text, await log(api)) == (200, "", [])


async def test_it_is_the_only_place(api, jane):
    """No other answer has it, nor the database in clear; another merchant's list has nothing of it."""
    (payout,) = await payouts(api)
    places = ("/payouts", "/payouts.csv", f"/payouts/{payout['id']}", f"/partners/{jane}/payout-details", "/access-log")
    answers = [(await api.get(place)).text for place in places] + [(await api.get(FILE, of="zenith")).text]
    with api.ledger.connection() as conn:
        answers += [str(conn.execute(f"SELECT string_agg(t::text, '') FROM {each} AS t").fetchone()) for each in TABLES]  # noqa: S608
    assert [text for text in answers if "wise.example" in text] == []
    assert "wise.example" in (await api.get(FILE)).text
