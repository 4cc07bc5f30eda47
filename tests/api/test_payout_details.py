"""How partners are paid, through the API: masked, cooling down, written about; what was requested stays as it is."""

import asyncio
from base64 import b64encode
from contextlib import asynccontextmanager

import msgspec
import psycopg
import pytest
import structlog
from psycopg import sql
from pydantic import SecretStr

from ledger.payout_details import rotate
from ledger.sealing import KeyRing
from schemas.payout_settings import PayoutSettings, key_of
from tests.support.api import NOW, PAYOUTS, running
from tests.support.doubles.faults import FAULTS
from tests.support.doubles.stripe import KEY, stripe_double
from tests.support.payouts import earn, run
from web.mail import Mailer, MailOptions

BANK = {"method": "bank", "address": "NL91 ABNA 0417 1643 00", "name": "Ada Lovelace", "routing": "ABNANL2A"}
MANUAL = {"method": "manual", "address": "by cheque"}
SECRETS = ("NL91ABNA0417164300", "NL91 ABNA 0417 1643 00", "Lovelace", "0417164300")
SETTINGS = PAYOUTS.model_copy(update={"paypal_client_id": "id", "paypal_client_secret": SecretStr("s")})


@pytest.fixture
async def api(database_url, tmp_path):
    """Yield the application, with payouts by bank and PayPal, and letters in a folder."""
    mail = Mailer(MailOptions("ledger@example.com", folder=tmp_path / "mail"), lambda: NOW)
    async with running(database_url, payouts=SETTINGS, mail=mail) as found:
        found.mail, found.letters = mail, tmp_path / "mail"
        yield found


async def letters(api):
    """Return the texts of the letters that were written so far, the oldest first."""
    await api.mail.settled()
    files = sorted(api.letters.glob("*.eml"), key=lambda file: file.stat().st_mtime_ns)
    return [file.read_text().replace("=\n", "") for file in files]


def place(partner, more=""):
    """Return the address of a partner's payout details."""
    return f"/partners/{partner['id']}/payout-details{more}"


async def test_details_are_masked_wherever_they_are_told(api) -> None:
    """Neither the answer nor any other, nor the log, the journal, the database nor the letter has them in full."""
    partner = await api.partner()
    with structlog.testing.capture_logs() as log:
        changed = await api.ask("PUT", place(partner), BANK)
    assert changed.status == 200, changed.text
    assert changed.json["method"] == {
        "method": "bank", "address": "NL91•••4300", "name": "A••• L•••", "routing": "ABNANL2A",
    }  # fmt: skip
    assert (changed.json["usable_at"], changed.json["is_cooling"]) == ("2026-11-22T12:00:00Z", False)
    assert (await api.get(place(partner))).json == changed.json
    await api.project()
    told = [changed.text, str(log), *(await letters(api))]
    told += [(await api.get(each)).text for each in ("/events", "/access-log", f"/partners/{partner['id']}")]
    with psycopg.connect(api.database_url) as conn:
        for table in ("ledger.events", "ledger.requests", "access.changes", "people.payout_details"):
            query = sql.SQL("SELECT string_agg(t::text, '') FROM {} AS t").format(sql.SQL(table))
            told.append(str(conn.execute(query).fetchone()))
    assert [secret for secret in SECRETS for text in told if secret in text] == []


async def test_a_change_is_on_record(api) -> None:
    """Who changed it, when, and to which method stands in the history, in the access log and in the feed."""
    partner = await api.partner()
    await api.ask("PUT", place(partner), BANK)
    await api.ask("PUT", place(partner), MANUAL)
    assert (await api.ask("DELETE", place(partner))).status == 204
    shown = (await api.get(place(partner))).json
    assert (shown["method"], [each["method"] for each in shown["history"]]) == (None, [None, None, None])
    assert {each["by"]["kind"] for each in shown["history"]} == {"key"}
    noted = [each for each in (await api.get("/access-log")).json["data"] if each["subject"] == partner["id"]]
    assert [(each["type"], each["details"]) for each in noted] == [
        ("partner.payout_details_removed", {}),
        ("partner.payout_details_changed", {"method": "manual"}),
        ("partner.payout_details_changed", {"method": "bank"}),
    ]
    await api.project()
    feed = await api.get("/events?types=partner.payout_details_changed,partner.payout_details_removed")
    assert [each["data"]["id"] for each in feed.json["data"]] == [partner["id"]] * 3


async def test_the_partner_is_written_to(api) -> None:
    """Each change is told to the partner, masked, with the time from which it counts; the same again is none."""
    partner = await api.partner()
    for body in (BANK, BANK, MANUAL):
        await api.ask("PUT", place(partner), body)
    await api.ask("DELETE", place(partner))
    first, second, third = await letters(api)
    assert "To: jane@example.com" in first
    assert "pays you by bank transfer" in first
    assert "before" not in first
    assert "2026-11-25 12:00 UTC" in second
    assert "removed" in third


async def test_a_change_never_touches_what_was_requested(api) -> None:
    """A payout keeps whom it was requested for; what is new waits until the change has cooled down."""
    partner = await api.partner()
    await api.ask("PUT", place(partner), MANUAL)
    await earn(api, "100.00")
    made = await run(api)
    (payout,) = (await api.get("/payouts", params={"run_id": made["id"]})).json["data"]
    before = api.paying.keys.unseal(api.paying.books.store.payee(("acme", payout["id"])))
    changed = await api.ask("PUT", place(partner), {"method": "paypal", "address": "jane@example.com"})
    assert changed.json["is_cooling"]
    assert api.paying.keys.unseal(api.paying.books.store.payee(("acme", payout["id"]))) == before
    assert msgspec.json.decode(before)[0] == "by cheque"
    assert (await api.get(f"/payouts/{payout['id']}")).json["rail"] == "manual"


BAD = [
    ({"address": "NL91ABNA0417164301"}, "$.address", "bad_iban"), ({"address": ""}, "$.address", "bad_iban"),
    ({"address": "BR1800360305000010009795493C1"}, "$.address", "not_sepa"),
    ({"address": "NL91\u0000ABNA"}, "$.address", "bad_iban"), ({"routing": "DEUTDEFF"}, "$.routing", "bad_bic"),
    ({"routing": "NOPE"}, "$.routing", "bad_bic"), ({"routing": "A" * 17}, "$.routing", "too_long"),
    ({"name": ""}, "$.name", "no_name"), ({"name": "x" * 71}, "$.name", "name_too_long"),
    ({"name": "x" * 128}, "$.name", "too_long"), ({"name": "Ada\u0007"}, "$.name", "control_characters"),
    ({"name": "Ada\u202eevil"}, "$.name", "control_characters"), ({"address": None}, "$.address", "not_a_string"),
    ({"method": "wire"}, "$.method", "not_one_of"), ({"iban": "x"}, "$.iban", "unknown_field"),
    ({"method": "paypal", "routing": "", "address": "nobody"}, "$.address", "bad_address"),
    ({"method": "paypal", "address": "a@b.example"}, "$.routing", "bad_routing"),
    ({"method": "manual", "routing": "", "address": "a\nb"}, "$.address", "bad_address"),
    ({"method": "stripe", "routing": "", "address": "acct_1"}, "$.method", "needs_onboarding"),
]  # fmt: skip


async def test_what_is_wrong_is_refused_with_its_field(api) -> None:
    """Each wrong detail is 422 with code, path and reason; none of it is repeated, and nothing is kept."""
    partner = await api.partner()
    for change, path, code in BAD:
        body = BANK | change
        answer = await api.ask("PUT", place(partner), body)
        assert answer.status == 422, (body, answer.text)
        assert [(each["path"], each["code"]) for each in answer.json["errors"]] == [(path, code)], (body, answer.text)
        assert answer.json["errors"][0]["message"]
        assert [secret for secret in SECRETS if secret in answer.text] == []
    assert (await api.get(place(partner))).json["history"] == []


async def test_a_rail_without_its_keys_cannot_be_chosen(database_url) -> None:
    """Nobody is paid by what the operator has not set up: the refusal names the variables, and so does the list."""
    none = PAYOUTS.model_copy(update={"bank_debtor_iban": None})
    async with running(database_url, payouts=none) as api:
        partner = await api.partner()
        answer = await api.ask("PUT", place(partner), BANK)
        assert (answer.status, answer.code) == (422, "rail_not_there")
        assert "BANK_DEBTOR_IBAN" in answer.text
        answer = await api.post(place(partner, "/stripe"))
        assert (answer.status, answer.code) == (422, "rail_not_there")
        rails = {each["name"]: each for each in (await api.get("/payout-rails")).json["data"]}
        assert {name: (each["usable"], each["missing"]) for name, each in rails.items()} == {
            "stripe": (False, ["STRIPE_API_KEY"]),
            "paypal": (False, ["PAYPAL_CLIENT_ID", "PAYPAL_CLIENT_SECRET"]),
            "bank": (False, ["BANK_DEBTOR_IBAN"]),
            "manual": (True, []),
        }


async def test_without_a_key_nobody_is_paid(database_url) -> None:
    """Where nothing seals payout details every call of them says so, and the rails name the variable."""
    async with running(database_url, payouts=None) as api:
        partner = await api.partner()
        calls = [("GET", "", None), ("PUT", "", MANUAL), ("DELETE", "", None), ("POST", "/stripe", None)]
        for method, more, body in calls:
            answer = await api.ask(method, place(partner, more), body)
            assert (answer.status, answer.code) == (409, "payouts_not_set_up")
        rails = (await api.get("/payout-rails")).json["data"]
        assert {tuple(each["missing"]) for each in rails} == {("PAYOUT_DETAILS_KEYS",)}
        assert not any(each["usable"] for each in rails)
        answer = await api.post("//hooks/stripe", of=None, data=b"{}")
        assert (answer.status, answer.code) == (404, "not_found")


async def test_switches_and_limits_are_told(database_url) -> None:
    """A rail that is off says so, and why, where somebody said; limits are amounts by currency."""
    settings = SETTINGS.model_copy(update={"paypal_off": True, "bank_payout_max": {"EUR": 100_000, "JPY": 5}})
    async with running(database_url, payouts=settings) as api:
        await asyncio.to_thread(api.paying.spending.switch_off, "bank", reason="a drill", by="ops", now=NOW)
        rails = {each["name"]: each for each in (await api.get("/payout-rails")).json["data"]}
        assert (rails["paypal"]["off"], rails["paypal"]["usable"], rails["paypal"]["reason"]) == (True, False, None)
        assert (rails["bank"]["off"], rails["bank"]["usable"], rails["bank"]["reason"]) == (True, False, "a drill")
        assert rails["bank"]["limits"] == {"payout": {"EUR": "1000.00", "JPY": "5"}, "partner_day": {}, "day": {}}


def key(number: int) -> str:
    """Return a key as it is written in the environment."""
    return f"k{number}:" + b64encode(bytes([number]) * 32).decode()


@asynccontextmanager
async def with_keys(database_url, *numbers):
    """Yield an application on the same books with these keys."""
    settings = PAYOUTS.model_copy(update={"payout_details_keys": tuple(SecretStr(key(each)) for each in numbers)})
    async with running(database_url, payouts=settings) as found:
        yield found


async def test_a_missing_key_is_an_error_and_never_other_details(database_url) -> None:
    """Without the key that sealed them details are a 500 that repeats nothing, and the log names the key's id."""
    async with with_keys(database_url, 1) as api:
        partner = await api.partner()
        await api.ask("PUT", place(partner), MANUAL)
        wrong = PAYOUTS.model_copy(update={"payout_details_keys": (SecretStr("k1:" + b64encode(b"x" * 32).decode()),)})
        for settings, word in ((PAYOUTS, "'k1'"), (wrong, "not what was sealed")):
            details = api.paying.details
            ring = KeyRing([own_key(settings)])
            details._keys = ring  # as after a start with other keys
            with structlog.testing.capture_logs() as log:
                answer = await api.get(place(partner))
            assert (answer.status, answer.code) == (500, "internal_error")
            assert any(word in str(entry.get("exc_info")) for entry in log)
            assert "cheque" not in answer.text + str(log)


def own_key(settings: PayoutSettings) -> tuple[str, bytes]:
    """Return the first key of the settings."""
    return key_of(settings.payout_details_keys[0].get_secret_value())


# --- Stripe ---


@pytest.fixture
async def double():
    """Yield Stripe on the loopback."""
    async with stripe_double() as found:
        yield found


@pytest.fixture
async def at_stripe(database_url, double, tmp_path):
    """Yield the application with a rail to that Stripe."""
    settings = SETTINGS.model_copy(
        update={"stripe_api_key": SecretStr(KEY), "stripe_api_base": double.url, "stripe_timeout_s": 1.0}
    )
    mail = Mailer(MailOptions("ledger@example.com", folder=tmp_path / "mail"), lambda: NOW)
    async with running(database_url, payouts=settings, mail=mail) as found:
        found.mail, found.letters = mail, tmp_path / "mail"
        yield found


async def test_onboarding_ends_with_what_stripe_says(at_stripe, double) -> None:
    """One account, a new link for each call; only transfers that are active make it the way the partner is paid."""
    api = at_stripe
    partner = await api.partner()
    links = [(await api.post(place(partner, "/stripe"))).json["url"] for _ in range(2)]
    assert len(set(links)) == 2
    (account,) = double.accounts
    asked = await api.post(place(partner, "/stripe/check"))
    assert (asked.json["payable"], asked.json["transfers"], asked.json["details"]["method"]) == (
        False,
        "inactive",
        None,
    )
    double.account(account)
    asked = await api.post(place(partner, "/stripe/check"))
    assert (asked.json["payable"], asked.json["details"]["method"]["method"]) == (True, "stripe")
    assert account not in asked.text
    assert "pays you by Stripe" in (await letters(api))[-1]
    with psycopg.connect(api.database_url) as conn:
        assert account.encode() not in bytes(conn.execute("SELECT account FROM people.stripe_accounts").fetchone()[0])


async def test_a_link_is_not_given_twice(at_stripe) -> None:
    """The same Idempotency-Key opens nothing again and repeats no link, which works once."""
    partner = await at_stripe.partner()
    headers = {"Idempotency-Key": "link"}
    first = await at_stripe.post(place(partner, "/stripe"), headers=headers)
    again = await at_stripe.post(place(partner, "/stripe"), headers=headers)
    assert first.json["url"]
    assert (again.json, again.headers["Idempotency-Replayed"]) == ({"url": None}, "true")


async def test_an_account_that_cannot_be_paid_any_more_waits(at_stripe, double) -> None:
    """Once Stripe says no, nobody is paid there; once it says yes again, it is a change that has to cool down."""
    api = at_stripe
    partner = await api.partner()
    await api.post(place(partner, "/stripe"))
    (account,) = double.accounts
    double.account(account)
    await api.post(place(partner, "/stripe/check"))
    double.account(account, "inactive")
    asked = await api.post(place(partner, "/stripe/check"))
    assert (asked.json["details"]["method"], asked.json["blocked_by"]) == (None, "requirements.past_due")
    double.account(account)
    asked = await api.post(place(partner, "/stripe/check"))
    assert asked.json["details"]["method"]["method"] == "stripe"
    assert asked.json["details"]["is_cooling"]


async def test_what_was_chosen_since_stays(at_stripe, double) -> None:
    """Whoever chose another way while Stripe was still looking is not taken to Stripe by its answer."""
    api = at_stripe
    partner = await api.partner()
    await api.post(place(partner, "/stripe"))
    (account,) = double.accounts
    await api.ask("PUT", place(partner), BANK)
    double.account(account)
    asked = await api.post(place(partner, "/stripe/check"))
    assert (asked.json["payable"], asked.json["details"]["method"]["method"]) == (True, "bank")


async def test_where_stripe_does_not_answer_it_is_503(at_stripe, double) -> None:
    """No definite answer is 503, and makes no second account; an account that Stripe refuses is 422."""
    api = at_stripe
    partner = await api.partner()
    double.faults.append(FAULTS["500"])
    assert (await api.post(place(partner, "/stripe"))).status == 503
    assert (await api.post(place(partner, "/stripe"))).status == 200
    assert len(double.accounts) == 1
    double.faults.append(FAULTS["time-out"])
    assert (await api.post(place(partner, "/stripe/check"))).status == 503
    double.accounts.clear()
    answer = await api.post(place(partner, "/stripe/check"))
    assert (answer.status, answer.code) == (422, "provider_refused")


async def test_no_account_is_as_no_partner(at_stripe) -> None:
    """A partner without an account, another merchant's and none at all are the same 404."""
    mine, theirs = await at_stripe.partner(), await at_stripe.partner(of="zenith")
    for partner in (mine, theirs, {"id": "p_none"}):
        answer = await at_stripe.post(place(partner, "/stripe/check"))
        assert (answer.status, answer.code) == (404, "not_found")
    for method, body in (("GET", None), ("PUT", MANUAL), ("DELETE", None)):
        assert (await at_stripe.ask(method, place(theirs), body)).status == 404


async def test_a_new_key_seals_accounts_too(at_stripe, double) -> None:
    """After the rotation nothing needs the former key: neither details nor accounts at Stripe."""
    api = at_stripe
    partner = await api.partner()
    await api.post(place(partner, "/stripe"))
    (account,) = double.accounts
    double.account(account)
    await api.post(place(partner, "/stripe/check"))
    old, new = api.paying.keys, ("k9", b"9" * 32)
    both = KeyRing([new, own_key(SETTINGS)])
    assert await asyncio.to_thread(rotate, api.ledger, both) == 2
    assert await asyncio.to_thread(rotate, api.ledger, both) == 0
    assert old.current != both.current
    # Every part that opens something got the ring when it was made.
    alone = KeyRing([new])
    with psycopg.connect(api.database_url) as conn:
        sealed = conn.execute("SELECT account FROM people.stripe_accounts").fetchone()[0]
    assert alone.unseal(bytes(sealed)).decode() == account
