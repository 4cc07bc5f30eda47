"""HTTP itself: every refusal is a problem, every answer has its headers, and nothing blocks or leaks."""

import asyncio
import gzip
import json

import psycopg
import pytest

from ledger.application import Ledger
from schemas.errors import CorruptionError, RetryableError
from tests.support.api import JANE, running
from tests.support.postgres import prepare_template

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def api(database_url):
    """Yield the running application, with a small limit for bodies."""
    async with running(database_url, body_max=2_000, orders_body_max=200_000, body_wait_s=0.3) as app:
        yield app


def check_problem(answer, status, code):
    """Assert that the answer is a complete problem."""
    assert answer.status == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["title"]
    assert problem["detail"]
    assert problem["type"].endswith(code)
    assert problem["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "//nothing", 404, "not_found"),
        ("GET", "/partners/a/b/c", 404, "not_found"),
        ("PUT", "/partners", 405, "method_not_allowed"),
        ("DELETE", "/balances", 405, "method_not_allowed"),
        ("POST", "//healthz", 405, "method_not_allowed"),
        ("GET", "/partners/a%00b", 404, "not_found"),
        ("GET", "/partners/%FF", 404, "not_found"),
        ("GET", "/commissions/" + "x" * 129, 404, "not_found"),
        ("GET", "/commissions?x=1", 422, "invalid_query"),
        ("GET", "/commissions?limit=1&limit=2", 422, "invalid_query"),
        ("GET", "/commissions?cursor=%FF", 422, "bad_cursor"),
        ("GET", "/customers?cursor=WyJcdTAwMDAiXQ", 422, "bad_cursor"),
        ("GET", "/partners?%00=%00", 422, "invalid_query"),
    ],
)
async def test_refusals_are_problems(api, method, path, status, code):
    """Unknown addresses, methods, ids and parameters are problems, not pages."""
    answer = await api.ask(method, path)
    check_problem(answer, status, code)
    if status == 405:
        assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "empty"),
        (b"{", 400, "not_json"),
        (b"\xff\xfe", 400, "not_utf8"),
        (b"\xef\xbb\xbf{}", 400, "not_json"),
        (b'{"name": NaN}', 400, "not_json"),
        (b'{"name": "a", "name": "b"}', 400, "duplicate_key"),
        (b'{"name": "\\ud800"}', 400, "lone_surrogate"),
        (b"[" * 300 + b"]" * 300, 400, "too_deep"),
        (b"9" * 1_900, 422, "invalid_body"),
        (b'{"name": "' + b"x" * 2_000 + b'"}', 413, "body_too_large"),
        (b"[]", 422, "invalid_body"),
    ],
)
async def test_bodies_that_cannot_be_read(api, raw, status, code):
    """What is no JSON that two readers would read alike is refused, and says why."""
    answer = await api.ask("POST", "/partners", data=raw, headers=JSON)
    check_problem(answer, status, code)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
async def test_only_json_is_taken(api, content_type):
    """A body that does not call itself JSON is 415: a form on a foreign page cannot send one."""
    answer = await api.ask("POST", "/partners", data=json.dumps(JANE).encode(), headers={"Content-Type": content_type})
    check_problem(answer, 415, "unsupported_media_type")


async def test_json_may_name_its_charset(api):
    """`application/json; charset=utf-8` is JSON."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert (await api.ask("POST", "/partners", data=json.dumps(JANE).encode(), headers=headers)).status == 201


async def test_a_body_without_length_is_cut_off_at_the_limit(api):
    """A chunked body is refused as soon as it is too large, wherever it would end."""

    async def endless():
        for _ in range(100):
            yield b" " * 1_000

    answer = await api.ask("POST", "/partners", data=endless(), headers=JSON)
    check_problem(answer, 413, "body_too_large")


async def test_a_compressed_body_counts_at_its_full_size(api):
    """A small body that unpacks to a large one is too large."""
    packed = gzip.compress(b" " * 1_000_000)
    assert len(packed) < 2_000
    answer = await api.ask("POST", "/partners", data=packed, headers=JSON | {"Content-Encoding": "gzip"})
    check_problem(answer, 413, "body_too_large")


async def test_a_body_that_is_not_compressed_as_it_says(api):
    """A body that is not encoded as its header says is refused."""
    answer = await api.ask("POST", "/partners", data=b"{}", headers=JSON | {"Content-Encoding": "gzip"})
    check_problem(answer, 400, "broken_body")


async def test_a_body_that_does_not_come_is_given_up(api):
    """A client that stops sending is answered 408, and does not hold a place for ever."""

    async def stalled():
        yield b'{"name": '
        await asyncio.Event().wait()

    answer = await asyncio.wait_for(api.ask("POST", "/partners", data=stalled(), headers=JSON), 10)
    check_problem(answer, 408, "request_timeout")


async def test_orders_may_be_longer_than_other_bodies(api):
    """The limit of /orders is its own."""
    orders = [api.order(metadata={"note": "x" * 200}) for _ in range(100)]
    answer = await api.post("/orders", orders)
    assert (answer.status, len(answer.json["results"])) == (200, 100)
    check_problem(await api.post("/orders", orders * 6), 413, "body_too_large")


@pytest.mark.parametrize("path", ["/program", "/nothing", "//healthz", "//readyz", "//metrics", "//api/docs"])
async def test_every_answer_has_a_request_id(api, path):
    """A sane id of the caller is taken over, anything else gets a new one."""
    assert (await api.get(path, headers={"X-Request-Id": "trace-1:2"})).headers["X-Request-Id"] == "trace-1:2"
    made = (await api.get(path, headers={"X-Request-Id": "a b\u00fc"})).headers["X-Request-Id"]
    assert len(made) == 24
    assert (await api.get(path)).headers["X-Request-Id"] != made


async def test_the_request_id_is_the_cause_of_what_it_changed(api):
    """An event names the key and the request that caused it, and never the key's secret."""
    await api.post("/partners", JANE, headers={"X-Request-Id": "trace-7"})
    with psycopg.connect(api.database_url) as conn:
        rows = conn.execute("SELECT state::text FROM ledger.events").fetchall()
    _, key_id, secret = api.keys["acme"].split("_", 2)
    assert any(f"api/{key_id}@trace-7" in row[0] for row in rows)
    assert not any(secret in row[0] for row in rows)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RetryableError("the database does not answer: password=hunter2"), 503, "busy"),
        (CorruptionError("SELECT secret FROM t"), 500, "internal_error"),
        (ZeroDivisionError("at /srv/app.py"), 500, "internal_error"),
    ],
)
async def test_faults_of_ours_tell_nothing(api, monkeypatch, error, status, code):
    """What goes wrong on our side is 503 or 500, and says neither SQL, nor paths, nor secrets."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Ledger, "stream", fail)
    answer = await api.ask("PATCH", "/program", {"hold_days": 3})
    check_problem(answer, status, code)
    for secret in ("hunter2", "SELECT", "/srv", "Traceback", "Error"):
        assert secret not in answer.text.replace("internal_error", "").replace("Internal Server Error", "")
    assert ("Retry-After" in answer.headers) == (status == 503)


async def test_a_full_queue_says_so(api):
    """When too many commands wait, the next one is told to come back at once."""
    from web.api.calls import THREADS

    threads = api.client.app[THREADS]
    threads._busy = threads._places
    check_problem(await api.ask("PATCH", "/program", {"hold_days": 3}), 503, "busy")


async def test_readiness(api):
    """GET /readyz has every check; read models that are too far behind make it 503 with the reason."""
    ready = await api.get("//readyz", of=None)
    assert (ready.status, ready.json["checks"]["read_models"]["lag_events"]) == (200, 0)
    with psycopg.connect(api.database_url, autocommit=True) as conn:
        conn.execute("ALTER SCHEMA read RENAME TO elsewhere")
    away = await api.get("//readyz", of=None)
    assert (away.status, away.json["ready"]) == (503, False)
    assert "projector" in away.json["checks"]["read_models"]["reason"]
    check_problem(await api.get("/balances"), 503, "busy")
    assert (await api.get("//healthz", of=None)).status == 200


async def test_a_new_program_is_not_there_yet(api):
    """A merchant whose key works is never told that there is none: until the read models know it, it is 503."""
    with psycopg.connect(api.database_url, autocommit=True) as conn:
        conn.execute("DELETE FROM read.programs")
    check_problem(await api.get("/program"), 503, "not_yet")
    check_problem(await api.get("/metrics"), 503, "not_yet")


async def test_the_database_goes_and_comes_back(own_postgres):
    """While PostgreSQL is away calls are 503, /readyz is false and /healthz true; once it is back all is as before."""
    url = own_postgres.database("away")
    prepare_template(url)
    async with running(url) as api:
        partner = await api.partner()
        await api.project()
        await asyncio.to_thread(own_postgres.stop, "immediate")
        read, command, ready, alive, metrics = await asyncio.gather(
            api.get("/balances"),
            api.post("/orders", api.order()),
            api.get("//readyz", of=None),
            api.get("//healthz", of=None),
            api.get("//metrics", of=None),
        )
        check_problem(read, 503, "busy")
        check_problem(command, 503, "busy")
        assert (ready.status, ready.json["checks"]["database"]["ok"]) == (503, False)
        assert alive.status == 200
        assert "commission_ledger_database_up 0.0" in metrics.text
        await asyncio.to_thread(own_postgres.start)
        # The connections that were open are found broken one by one, each by a call that is told to come back.
        await until_well(api, "//readyz")
        # A crash may take the projector's last commit; what it told is in the log.
        await api.project()
        await until_well(api, "/program")
        await until_well(api, f"/partners/{partner['id']}")
        assert (await api.get(f"/partners/{partner['id']}")).json == partner
        assert (await api.post("/orders", api.order())).json["results"][0]["outcome"] == "earned"


async def until_well(api, path):
    """Return once the address answers with 200; until then it must be 503."""
    async with asyncio.timeout(30):
        while (answer := await api.get(path)).status != 200:
            assert answer.status == 503


async def test_lag_is_measured(database_url):
    """Read models further behind than the operator allows are not ready."""
    async with running(database_url, lag_max=0) as api:
        await api.partner()
        answer = await api.get("//readyz", of=None)
        assert (answer.status, answer.json["checks"]["read_models"]["lag_events"]) == (503, 2)
        await api.project()
        assert (await api.get("//readyz", of=None)).status == 200


async def test_prometheus_sees_the_books(api):
    """GET /metrics has request times by route pattern, positions, outcomes, lag and dead letters, and no ids."""
    partner = await api.partner()
    await api.get(f"/partners/{partner['id']}")
    await api.post("/orders", [api.order(), {"order_id": "broken"}])
    answer = await api.get("//metrics", of=None)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for line in (
        'commission_ledger_request_seconds_count{method="GET",route="/api/v1/partners/{partner_id}",status="404"} 1.0',
        'commission_ledger_intake_messages_total{outcome="earned",partition="0",source="api",topic="acme"} 1.0',
        'commission_ledger_intake_messages_total{outcome="dead_lettered",partition="0",source="api",topic="acme"} 1.0',
        "commission_ledger_dead_letters_open 1.0",
        "commission_ledger_database_up 1.0",
        "commission_ledger_read_models_lag_events 4.0",
    ):
        assert line in answer.text, answer.text
    assert partner["id"] not in answer.text


async def test_the_document_and_its_page_are_public(api):
    """The OpenAPI document and the page need no key; the page runs under a policy without scripts or foreign hosts."""
    document = await api.get("/openapi.json", of=None)
    assert document.json["openapi"] == "3.1.0"
    page = await api.get("//api/docs", of=None)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'; style-src 'self'" in page.headers["Content-Security-Policy"]
    assert (await api.get("//api/docs.css", of=None)).headers["Content-Type"].startswith("text/css")


async def test_commands_do_not_block_reads(api, monkeypatch):
    """While a command is stuck in the write side, other requests are answered."""
    import threading

    stuck, go_on = threading.Event(), threading.Event()
    original = Ledger.stream

    def slow(self, name):
        stuck.set()
        go_on.wait(10)
        return original(self, name)

    monkeypatch.setattr(Ledger, "stream", slow)
    command = asyncio.create_task(api.ask("PATCH", "/program", {"hold_days": 3}))
    await asyncio.to_thread(stuck.wait, 10)
    assert (await api.get("/balances")).status == 200
    assert not command.done()
    go_on.set()
    assert (await command).status == 200
