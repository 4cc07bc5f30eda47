"""Imports over HTTP: a result for every row, nothing dropped in silence, and the same file twice does nothing twice."""

import asyncio
import json

import pytest

from ledger.application import Ledger
from schemas.errors import RetryableError
from tests.support.api import JANE, running
from web.api import imports
from web.api.imports import TAKES
from web.api.partner_rows import PartnerImport

AT = "2026-11-22T10:00:00Z"
ORDERS = "order_id,occurred_at,currency,total,coupon_code,customer_id"
PARTNERS = "name,email,coupon_code,rate_type,rate_value,status"
BALANCES = "partner,currency,amount,as_of,reference"


async def send(api, kind, *lines, media_type="text/csv", of="acme", **options):
    """Send a file of these lines and return the answer."""
    body = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
    headers = {"Content-Type": media_type, **options.pop("headers", {})}
    return await api.post(f"/imports/{kind}", of=of, data=body, headers=headers, params=options)


def told(answer):
    """Return line, outcome and the fields at fault of every row of a report."""
    assert answer.status == 200, answer.text
    report = answer.json
    assert report["rows"] == len(report["results"]) == sum(report["outcomes"].values())
    assert report["refused"] == sum(not row["ok"] for row in report["results"]) == report["rows"] - report["accepted"]
    return [
        (row["line"], row["outcome"], *[(each["path"], each["code"]) for each in row["errors"] or []])
        for row in report["results"]
    ]


async def test_orders_are_booked_row_by_row(api):
    """Every row of a file of orders has its result, in order: what was booked, and why the others were refused."""
    await api.partner()
    answer = await send(
        api, "orders", ORDERS,
        f"1,{AT},USD,100.00,jane10,c1", f"2,{AT},USD,12.345,JANE10,", "", f"3,{AT},USD,5.00,,",
        f'4,{AT},USD,20.00,JANE10,"a\nb"', f"5,{AT},USD,20.00,JANE10,,more", f"1,{AT},USD,100.00,JANE10,c1",
    )  # fmt: skip
    assert told(answer) == [
        (2, "earned"),
        (3, "dead_lettered", ("$.total", "too_many_decimals")),
        (5, "ignored"),
        (6, "dead_lettered", ("$.customer.id", "control_character")),
        (8, "dead_lettered", ("$", "not_an_object")),
        (9, "duplicate"),
    ]
    assert [row["id"] for row in answer.json["results"]] == ["1", "2", "3", "4", None, "1"]
    assert int(answer.headers["X-Ledger-Position"]) == await api.project()
    assert (await api.get("/commissions/1")).json["commission"]["amount"] == "10.00"
    assert len((await api.get("/dead-letters")).json["data"]) == 3


async def test_the_same_orders_again_are_duplicates(api):
    """The same file again books nothing, counts every row, and names the same rows that were refused."""
    await api.partner()
    lines = (ORDERS, f"1,{AT},USD,100.00,JANE10,", f"2,{AT},USD,x,JANE10,")
    first, again = await send(api, "orders", *lines), await send(api, "orders", *lines)
    assert told(first) == [(2, "earned"), (3, "dead_lettered", ("$.total", "not_a_decimal"))]
    assert told(again) == [(2, "duplicate"), (3, "dead_lettered", ("$.total", "not_a_decimal"))]
    longer = await send(api, "orders", *lines, f"3,{AT},USD,100.00,JANE10,")
    assert [outcome for _, outcome, *_ in told(longer)] == ["duplicate", "dead_lettered", "earned"]
    await api.project()
    assert len((await api.get("/commissions")).json["data"]) == 2


@pytest.mark.parametrize("kind", ["orders", "partners", "balances"])
async def test_a_dry_run_tells_what_the_import_does(api, monkeypatch, kind):
    """A dry run writes nothing at all, and its report is the import's own, also where rows depend on earlier ones."""
    monkeypatch.setattr(imports, "_ORDERS", imports._ORDERS._replace(at_once=1))
    jane = await api.partner()
    refund = {"type": "order.refunded", "order_id": "1", "occurred_at": AT, "currency": "USD", "event_id": "e"}
    files = {
        "orders": [
            json.dumps(
                {"order_id": "1", "occurred_at": AT, "currency": "USD", "total": "9.00", "coupon_code": "JANE10"}
            ),
            json.dumps(refund | {"refund_id": "a", "amount": "5.00"}),
            json.dumps(refund | {"refund_id": "b", "amount": "5.00"}),
            json.dumps(
                {"order_id": "1", "occurred_at": AT, "currency": "USD", "total": "8.00", "coupon_code": "JANE10"}
            ),
        ],
        "partners": [
            json.dumps(JANE),
            json.dumps(JANE | {"email": "joe@example.com", "coupon_code": "JOE"}),
            json.dumps(JANE | {"email": "joe@example.com", "coupon_code": "JOE"}),
            json.dumps(JANE | {"email": "joe@example.com", "coupon_code": "JOE2"}),
            json.dumps(JANE | {"email": "eve@example.com", "coupon_code": "joe"}),
        ],
        "balances": [
            json.dumps({"partner": jane["id"], "currency": "USD", "amount": "5.00", "as_of": "2026-01-31"}),
            json.dumps({"partner": "jane@example.com", "currency": "USD", "amount": "5.00", "as_of": "2026-01-31"}),
            json.dumps({"partner": "nobody", "currency": "USD", "amount": "5.00", "as_of": "2026-01-31"}),
        ],
    }
    head = await asyncio.to_thread(api.ledger.head)
    rehearsed = await send(api, kind, *files[kind], media_type="application/jsonl", dry_run="true")
    assert await asyncio.to_thread(api.ledger.head) == head
    assert (rehearsed.json["dry_run"], "X-Ledger-Position" in rehearsed.headers) == (True, False)
    booked = await send(api, kind, *files[kind], media_type="application/jsonl", dry_run="false")
    outcomes = [
        [(row["line"], row["outcome"], row["id"]) for row in each.json["results"]] for each in (rehearsed, booked)
    ]
    assert outcomes[0] == outcomes[1]
    assert {row["outcome"] for row in booked.json["results"]} > {"duplicate"} or kind == "orders"
    assert [[e["code"] for e in r["errors"] or []] for r in booked.json["results"]][-1] in (
        ["conflicting_duplicate"], ["coupon_taken"], ["unknown_partner"],
    )  # fmt: skip


async def test_partners_are_registered_as_the_file_says(api):
    """Rows of partners are registered with their codes and standing; the same file again finds them all there."""
    lines = (
        "name;email;rate_type;rate_value;coupon_codes;status;colour;tags",
        "Jane;jane@example.com;percentage;10;JANE10|JANE\\|15;paused;red;big|blog",
        "Omar;omar@example.com;fixed;5.00;OMAR;banned;",
        "Ida;ida@example.com;percentage;12.5;;applied;",
        "Eve;eve@example.com;percentage;101;;;",
    )
    first, again = await send(api, "partners", *lines), await send(api, "partners", *lines)
    refused = (5, "refused", ("$.rate_value", "out_of_range"))
    assert told(first) == [(2, "registered"), (3, "registered"), (4, "registered"), refused]
    assert told(again) == [(2, "duplicate"), (3, "duplicate"), (4, "duplicate"), refused]
    assert first.json["ignored_columns"] == ["colour"]
    await api.project()
    listed = (await api.get("/partners")).json["data"]
    assert [(row["name"], row["status"], row["coupon_codes"], set(row["tags"])) for row in listed] == [
        ("Jane", "paused", ["JANE10", "JANE|15"], {"big", "blog"}),
        ("Omar", "banned", ["OMAR"], set()),
        ("Ida", "applied", [], set()),
    ]
    assert [row["id"] for row in first.json["results"][:3]] == [row["id"] for row in listed]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
async def test_exported_partners_can_be_imported(api, kind):
    """An export of partners makes the same partners in another program: name, address, rate, codes and standing."""
    await api.partner(name="=Jane", email="+jane@example.com", coupon_code="A|B", tags=["-1", "x"])
    paused = await api.partner(
        name="'Joe", email="joe@example.com", coupon_code="-5", rate={"type": "fixed", "value": "5.00"}
    )
    await api.post(f"/partners/{paused['id']}/coupons", {"code": "@6"})
    await api.post(f"/partners/{paused['id']}/pause", {"reason": "test"})
    await api.project()
    file = (await api.get(f"/partners.{kind}")).text
    media_type = next(media_type for media_type, of in TAKES.items() if of == kind)
    report = await send(api, "partners", file, media_type=media_type, of="zenith")
    assert told(report) == [(line, "registered") for line in ((2, 3) if kind == "csv" else (1, 2))]
    await api.project()
    ours, theirs = (await api.get("/partners")).json["data"], (await api.get("/partners", of="zenith")).json["data"]
    same = ("name", "email", "rate", "coupon_codes", "status", "tags")
    assert [[row[name] for name in same] for row in ours] == [[row[name] for name in same] for row in theirs]


async def test_an_import_that_broke_off_is_completed(api, monkeypatch):
    """A partner whose import broke off before the standing was set is not left to earn: the next one completes it."""
    line = "Omar,omar@example.com,OMAR,percentage,10,banned"
    with monkeypatch.context() as patched:
        patched.setattr(PartnerImport, "_complete", lambda *_, **__: None)
        await send(api, "partners", PARTNERS, line)
    assert told(await send(api, "partners", PARTNERS, line)) == [(2, "duplicate")]
    await api.project()
    (omar,) = (await api.get("/partners")).json["data"]
    assert omar["status"] == "banned"


async def test_opening_balances_are_owed(api):
    """An opening balance is payable, also a negative one, as of its day, and entered once however often it comes."""
    jane = await api.partner()
    lines = (
        BALANCES,
        f"{jane['id']},USD,120.50,2026-10-31,",
        "JANE@example.com,EUR,-3.00,2026-10-31T12:00:00Z,INV-7",
        "jane@example.com,EUR,-4.00,2026-10-31T12:00:00Z,INV-7",
        "jane@example.com,USD,0.00,2026-10-31,",
        "jane@example.com,USD,1.005,2026-10-31,",
        "nobody@example.com,USD,1.00,2026-10-31,",
        "jane@example.com,USD,1.00,2026-13-31,",
        "jane@example.com,USD,1.00,2027-01-01,",
        "jane@example.com,USD,,2026-10-31,",
    )
    first, again = await send(api, "balances", *lines), await send(api, "balances", *lines)
    refused = [
        (4, "refused", ("$.reference", "conflicting_duplicate")),
        (5, "refused", ("$.amount", "zero_amount")),
        (6, "refused", ("$.amount", "too_many_decimals")),
        (7, "refused", ("$.partner", "unknown_partner")),
        (8, "refused", ("$.as_of", "not_a_date")),
        (9, "refused", ("$.as_of", "in_the_future")),
        (10, "refused", ("$.amount", "missing")),
    ]
    assert told(first) == [(2, "entered"), (3, "entered"), *refused]
    assert told(again) == [(2, "duplicate"), (3, "duplicate"), *refused]
    await api.project()
    payable = {row["currency"]: row["payable"]["amount"] for row in (await api.get("/balances")).json["data"]}
    assert payable == {"USD": "120.50", "EUR": "-3.00"}
    entry = (await api.get(f"/commissions/{first.json['results'][0]['id']}")).json
    assert (entry["status"], entry["reason"], entry["occurred_at"]) == (
        "approved",
        "opening balance",
        "2026-10-31T00:00:00Z",
    )


UNREADABLE = [
    ((b"",), "missing_column"),
    ((b"name,email", b"Jane,jane@example.com"), "missing_column"),
    ((b"name,email,rate_type,rate_value,name", b"1,2,3,4,5"), "duplicate_column"),
    ((b"name,email,rate.type,rate_type,rate_value", b"1,2,3,4,5"), "duplicate_column"),
    (("name,email,rate_type,rate_value".encode("utf-16"),), "not_utf8"),
    (
        (PARTNERS, 'Jane,jane@example.com,,percentage,10,"applied', "Joe,joe@example.com,,percentage,10,"),
        "unclosed_quote",
    ),
    ((PARTNERS, 'Jane,"' + "x\n" * 40_000 + '",,percentage,10,'), "unclosed_quote"),
]


async def test_a_file_without_rows_that_can_be_told_is_refused(api):
    """A file of which nobody can tell the columns or where a row ends is refused whole; nothing of it is booked."""
    for lines, code in UNREADABLE:
        answer = await send(api, "partners", *lines)
        assert (answer.status, answer.code) == (422, code)
        assert answer.json["errors"]
    await api.project()
    assert (await api.get("/partners")).json["data"] == []


FAULTY_ROWS = [
    (b'Eve,"eve@example.com"x,,percentage,10,', ("$", "bad_quotes")),
    (b"Eve\xff,eve@example.com,,percentage,10,", ("$.name", "not_utf8")),
    (b"E\x00ve,eve@example.com,,percentage,10,", ("$.name", "malformed")),
    (b"E" * 201 + b",eve@example.com,,percentage,10,", ("$.name", "too_long")),
    (b"E" * 70_000 + b",eve@example.com,,percentage,10,", ("$", "too_large")),
    (b"Eve,eve@example.com,,percentage,10,,,7", ("$", "not_an_object")),
    (b"Eve,,,percentage,10,", ("$.email", "missing")),
    (b"Eve,eve@example.com,JOE,percentage,10,", ("$.coupon_code", "coupon_taken")),
    (b"Eve,eve@example.com,,percentage,10,sleeping", ("$.status", "not_one_of")),
]


async def test_a_row_at_fault_keeps_no_neighbour_from_being_taken(api):
    """A row that cannot be read or accepted is told with its line, column and code, and those around it are booked."""
    lines = (b"\xef\xbb\xbf" + PARTNERS.encode() + b"\r", b'"Jo ""J"" e",joe@example.com,JOE,percentage,10,\r')
    rows = [row for row, _ in FAULTY_ROWS]
    answer = await send(api, "partners", *lines, *rows, b"\r", b"Ida,ida@example.com,IDA,percentage,10,")
    last = len(rows) + 4
    refused = [(line, "refused", fault) for line, (_, fault) in enumerate(FAULTY_ROWS, 3)]
    assert told(answer) == [(2, "registered"), *refused, (last, "registered")]
    await api.project()
    assert [each["name"] for each in (await api.get("/partners")).json["data"]] == ['Jo "J" e', "Ida"]


FAULTY_LINES = [
    (b"{", ("$", "not_json")),
    (b"[1]", ("$", "not_an_object")),
    (b'{"name": "a", "name": "b"}', ("$.name", "duplicate_key")),
    (b'"' + b"x" * 70_000 + b'"', ("$", "too_large")),
    (b"\xff", ("$", "not_utf8")),
    (json.dumps(JANE | {"rate": {"type": "fixed", "value": 5}}).encode(), ("$.rate.value", "not_a_string")),
]


async def test_a_json_line_at_fault_is_told_with_its_path(api):
    """A line that is no JSON object, or no partner, is told with its number and path; its neighbour is taken."""
    lines = [line for line, _ in FAULTY_LINES]
    answer = await send(api, "partners", *lines, json.dumps(JANE), media_type="application/x-ndjson")
    refused = [(line, "refused", fault) for line, (_, fault) in enumerate(FAULTY_LINES, 1)]
    assert told(answer) == [*refused, (len(lines) + 1, "registered")]


async def test_what_is_no_file_is_refused(api):
    """Another media type or encoding, and a wrong query, are problems; nothing is booked."""
    for media_type in ("application/json", "text/plain", "text/csv; charset=iso-8859-1"):
        answer = await send(api, "partners", PARTNERS, media_type=media_type)
        assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert (await send(api, "partners", PARTNERS, dry_run="maybe")).code == "invalid_query"
    assert (await send(api, "partners", PARTNERS, dryrun="true")).code == "invalid_query"


async def test_a_file_has_its_limits(database_url, monkeypatch):
    """A file with more bytes or rows than a call takes is refused before anything of it is booked."""
    monkeypatch.setattr(imports, "ROWS_MAX", 2)
    async with running(database_url, import_body_max=2_000) as api:
        row = "Jane,jane@example.com,,percentage,10,"
        for lines, code in (((row,) * 3, "too_many_rows"), ((row,) * 60, "body_too_large")):
            answer = await send(api, "partners", PARTNERS, *lines)
            assert (answer.status, answer.code) == (413, code)
        await api.project()
        assert (await api.get("/partners")).json["data"] == []


async def test_an_idempotency_key_is_kept_for_imports_too(api):
    """The same key and file get the first report again; with another file it is refused; a dry run uses no key up."""
    rows, key = (PARTNERS, "Jane,jane@example.com,,percentage,10,"), {"Idempotency-Key": "import-1"}
    dry = await send(api, "partners", *rows, headers=key, dry_run="true")
    first = await send(api, "partners", *rows, headers=key)
    again = await send(api, "partners", *rows, headers=key)
    assert (dry.status, first.status) == (200, 200)
    assert (again.text, again.headers["Idempotency-Replayed"]) == (first.text, "true")
    other = await send(api, "partners", *rows, "Ida,ida@example.com,,percentage,10,", headers=key)
    assert (other.status, other.code) == (409, "idempotency_key_reused")


async def test_an_import_is_the_merchants_own(api):
    """A file is booked for the key's merchant alone, also the same file of another one, and counts as its intake."""
    for merchant_id in ("acme", "zenith"):
        await api.partner(of=merchant_id)
        answer = await send(api, "orders", ORDERS, f"1,{AT},USD,100.00,JANE10,", of=merchant_id)
        assert told(answer) == [(2, "earned")]
    theirs = json.dumps({"merchant_id": "acme", "order_id": "9", "occurred_at": AT, "currency": "USD", "total": "1.00"})
    answer = await send(api, "orders", theirs, media_type="application/jsonl", of="zenith")
    assert told(answer) == [(1, "dead_lettered", ("$.merchant_id", "merchant_mismatch"))]
    sources = [row["topic"] for row in (await api.get("/intake")).json["data"] if row["source"] == "import"]
    assert len(sources) == 1
    assert sources[0].startswith("acme-")


async def test_one_file_is_imported_by_one_at_a_time(api, monkeypatch):
    """Somebody else at the same file is told so, and nothing is booked twice."""
    await api.partner()
    lines = (ORDERS, f"1,{AT},USD,100.00,JANE10,")
    assert told(await send(api, "orders", *lines)) == [(2, "earned")]
    monkeypatch.setattr("ledger.intake.Intake.position", lambda *_: None)
    answer = await send(api, "orders", *lines)
    assert (answer.status, answer.code) == (409, "import_under_way")


async def test_a_broken_import_goes_on_where_it_stopped(api, monkeypatch):
    """An import that the database cut off is told to come again, and then takes what is left."""
    await api.partner()
    monkeypatch.setattr(imports, "_ORDERS", imports._ORDERS._replace(at_once=1))
    lines = (ORDERS, *[f"{number},{AT},USD,100.00,JANE10," for number in range(4)])
    record, records = Ledger.record, []

    def failing(self, events, **options):
        records.append(events)
        if len(records) == 3:
            raise RetryableError("away")
        return record(self, events, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "record", failing)
        assert (await send(api, "orders", *lines)).status == 503
    outcomes = [outcome for _, outcome, *_ in told(await send(api, "orders", *lines))]
    assert outcomes == ["duplicate", "duplicate", "earned", "earned"]
