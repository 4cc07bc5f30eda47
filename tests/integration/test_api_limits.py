"""Limits over raw sockets: who asks too much, too fast or too slowly, or no HTTP, is told so and holds nobody up."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

from schemas.settings import Settings
from tests.support.api import Api, running
from web.connections import Connection

JSON = {"Content-Type": "application/json"}
WAIT_S = 10


class Told(NamedTuple):
    """One answer as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Wire:
    """A client that writes its bytes itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, raw: bytes) -> None:
        """Write the bytes."""
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self, *, head: bool = False) -> Told:
        """Return the next answer."""
        async with asyncio.timeout(WAIT_S):
            start, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.title(): value.strip() for name, _, value in (line.partition(":") for line in lines[:-2])}
            body = b"" if head else await self.reader.readexactly(int(headers.get("Content-Length", 0)))
            return Told(int(start.split()[1]), headers, body)

    async def closed(self) -> bool:
        """Return, once it is, whether the other side closed without another word."""
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


@asynccontextmanager
async def wire(api: Api):
    """Yield a connection to the service."""
    reader, writer = await asyncio.open_connection(api.client.host, api.client.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


def request(api: Api, line: str = "GET /api/v1/program HTTP/1.1", body: bytes = b"", **headers: str) -> bytes:
    """Return a request with Acme's key."""
    told = {"Host": "x", "Authorization": f"Bearer {api.keys['acme']}"} | headers
    if body:
        told |= {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    head = [line, *(f"{name}: {value}" for name, value in told.items()), "", ""]
    return "\r\n".join(head).encode() + body


def check_problem(answer: Any, status: int, code: str) -> None:
    """Assert that the answer is a complete problem."""
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json; charset=utf-8")
    assert (answer.json["status"], answer.json["code"]) == (status, code)
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]


# --- how often --------------------------------------------------------------------------------------------------------


async def test_a_key_that_asks_too_often_is_told_when_to_come_back(database_url):
    """Each answer says what is left; then it is 429 with Retry-After, for this key alone, whatever it calls."""
    async with running(database_url, rate_per_s=0.01, rate_burst=3) as api:
        answers = [await api.get("/program") for _ in range(2)] + [await api.post("/orders", [])]
        assert [answer.headers["RateLimit"] for answer in answers] == [
            '"default";r=2;t=100', '"default";r=1;t=200', '"default";r=0;t=300',
        ]  # fmt: skip
        assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"default";q=3;w=300'}
        refused = await api.post("/orders", api.order())
        check_problem(refused, 429, "too_many_requests")
        assert 90 < int(refused.headers["Retry-After"]) <= 100
        assert refused.headers["RateLimit"].startswith('"default";r=0;')
        assert (await api.get("/program", of="zenith")).status == 200
        for path in ("//healthz", "//readyz", "//metrics", "//api/docs"):
            answer = await api.get(path)
            assert answer.status == 200
            assert "RateLimit" not in answer.headers


async def test_guessing_keys_is_slowed(database_url):
    """After some wrong keys an address gets 429 without a look-up; a key that was good before works from there."""
    async with running(database_url, failures_per_s=0.01, failures_burst=3) as api:
        assert (await api.get("/program")).status == 200
        wrong = [{"Authorization": f"Bearer {api.keys['acme'][:-4]}{number:04}"} for number in range(5)]
        answers = [await api.get("/program", headers=headers) for headers in wrong]
        assert [answer.status for answer in answers] == [401, 401, 401, 429, 429]
        check_problem(answers[-1], 429, "too_many_failures")
        assert 90 < int(answers[-1].headers["Retry-After"]) <= 100
        assert "RateLimit" not in answers[-1].headers
        assert (await api.get("/program")).status == 200
        assert (await api.get("/program", of="zenith")).status == 429
        assert (await api.get("/program", of=None)).status == 401


def test_the_defaults_are_generous():
    """Nobody who works with the API by hand, or follows a list to its end, meets the limit."""
    settings = Settings()
    assert settings.rate_limit_burst >= 1_000
    assert settings.rate_limit_per_s >= 100


# --- how many, how slow -----------------------------------------------------------------------------------------------


async def test_connections_are_limited(database_url):
    """A connection too many is answered 503 and closed; when another one ends there is room again."""
    async with running(database_url, connections_max=2) as api, wire(api) as first, wire(api) as second:
        for each in (first, second):
            await each.send(request(api))
            assert (await each.answer()).status == 200
        async with wire(api) as third:
            await third.send(request(api))
            answer = await third.answer()
            check_problem(answer, 503, "too_many_connections")
            assert answer.headers["Retry-After"] == "5"
            assert await third.closed()
        first.writer.close()
        await first.writer.wait_closed()
        await until_answered(api)


async def until_answered(api: Api) -> None:
    """Return once a new connection is let in: the server hears of a closed one a little later."""
    async with asyncio.timeout(WAIT_S):
        while True:
            async with wire(api) as again:
                await again.send(request(api))
                if (await again.answer()).status == 200:
                    return


async def test_an_idle_connection_is_closed(database_url):
    """Whoever connects and says nothing, or sends half of the headers, or nothing more, is let go."""
    async with running(database_url, idle_s=0.2) as api:
        async with wire(api) as silent:
            assert await silent.closed()
        async with wire(api) as slow:
            await slow.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Half")
            assert await slow.closed()
        async with wire(api) as kept:
            await kept.send(request(api))
            assert (await kept.answer()).status == 200
            assert await kept.closed()


async def test_a_body_that_trickles_is_given_up(database_url):
    """A body whose bytes come one by one is 408 after the time for all of it, not after a time for each."""
    async with running(database_url, body_wait_s=0.2) as api, wire(api) as slow:
        head = request(api, "POST /api/v1/orders HTTP/1.1", body=b" " * 1_000)[:-1_000]
        await slow.send(head)

        async def trickle() -> None:
            while True:
                await slow.send(b" ")
                await asyncio.sleep(0.02)

        sender = asyncio.create_task(trickle())
        answer = await slow.answer()
        sender.cancel()
        check_problem(answer, 408, "request_timeout")
        assert answer.headers["Connection"] == "close"


async def test_a_client_that_does_not_read_is_cut_off(database_url, monkeypatch):
    """An answer that nobody reads does not hold its connection for ever."""
    cut_off = asyncio.Event()
    original = Connection._cut_off

    def tell(self: Connection) -> None:
        original(self)
        cut_off.set()

    monkeypatch.setattr(Connection, "_cut_off", tell)
    async with running(database_url, write_wait_s=0.2) as api:
        reader, writer = await asyncio.open_connection(api.client.host, api.client.port, limit=1_024)
        writer.write(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
        await asyncio.wait_for(cut_off.wait(), WAIT_S)
        # What is on its way comes still, and then the end: not all of the answers, not a connection that stays.
        with suppress(ConnectionResetError):
            while await asyncio.wait_for(reader.read(2**16), WAIT_S):
                pass
        writer.close()
        assert (await api.get("/program")).status == 200


# --- what is no HTTP --------------------------------------------------------------------------------------------------


NO_HTTP = (
    (b"nonsense\r\n\r\n", 400, "bad_request"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
    (b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", 400, "bad_request"),
    (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "bad_request"),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400, "bad_request"),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400, "bad_request"),
    (b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "bad_request"),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "bad_request"),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_request"),
    (b"GET /" + b"a" * 8_300 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "address_too_long"),
    (b"GET /healthz?" + b"a&" * 4_200 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "address_too_long"),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 8_300 + b"\r\n\r\n", 431, "headers_too_large"),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
)


async def test_what_is_no_http_is_a_problem(api):
    """What cannot be read as a request is refused as a problem like any other, and the connection is closed."""
    for raw, status, code in NO_HTTP:
        async with wire(api) as client:
            await client.send(raw)
            check_problem(await client.answer(), status, code)
            assert await client.closed()


STRANGE = (
    ("GET /api/v1/program HTTP/1.1", {"Expect": "the impossible"}, 417, "expectation_failed"),
    ("GET /%zz HTTP/1.1", {}, 404, "not_found"),
    ("GET /api/v1/partners/%zz HTTP/1.1", {}, 404, "not_found"),
    ("GET /api/v1/partners/%C3%28 HTTP/1.1", {}, 404, "not_found"),
    ("GET /api/v1/partners?status=%zz HTTP/1.1", {}, 422, "invalid_query"),
    ("GET http://elsewhere.example/api/v1/nothing HTTP/1.1", {}, 404, "not_found"),
    ("GET //api/v1/program HTTP/1.1", {}, 404, "not_found"),
    ("GET /api/v1/../../etc/passwd HTTP/1.1", {}, 404, "not_found"),
    ("PROPFIND /api/v1/program HTTP/1.1", {}, 405, "method_not_allowed"),
    ("TRACE /api/v1/program HTTP/1.1", {}, 405, "method_not_allowed"),
    ("PUT /api/v1/program HTTP/1.1", {}, 405, "method_not_allowed"),
    ("POST /api/docs HTTP/1.1", {}, 405, "method_not_allowed"),
)


async def test_strange_requests_are_problems(api):
    """Odd addresses, methods and expectations are refused as problems; 405 says what is allowed."""
    for line, headers, status, code in STRANGE:
        async with wire(api) as client:
            await client.send(request(api, line, **headers))
            answer = await client.answer()
            check_problem(answer, status, code)
            assert ("GET" in answer.headers.get("Allow", "")) == (status == 405), line


async def test_a_method_in_a_place_of_its_own(api):
    """`OPTIONS` says what an address takes; `CONNECT` and `OPTIONS *` are no way in."""
    async with wire(api) as client:
        await client.send(request(api, "OPTIONS /api/v1/program HTTP/1.1"))
        answer = await client.answer()
        assert (answer.status, answer.headers["Allow"], answer.body) == (204, "GET,HEAD,PATCH", b"")
    for line in ("OPTIONS * HTTP/1.1", "CONNECT /api/v1/program HTTP/1.1"):
        async with wire(api) as client:
            await client.send(request(api, line))
            assert (await client.answer()).status in {400, 404, 405}


async def test_head_is_get_without_the_body(api):
    """HEAD answers as GET does, headers and all, without the body."""
    async with wire(api) as client:
        for path in ("/api/v1/program", "/api/v1/nothing", "/healthz", "/api/docs"):
            await client.send(request(api, f"GET {path} HTTP/1.1"))
            got = await client.answer()
            await client.send(request(api, f"HEAD {path} HTTP/1.1"))
            head = await client.answer(head=True)
            assert (head.status, head.headers["Content-Length"]) == (got.status, str(len(got.body))), path


async def test_a_connection_lives_on_after_an_error(api):
    """A refused request does not end the connection; the next one on it is answered."""
    async with wire(api) as client:
        for line, status in (
            ("GET /nothing HTTP/1.1", 404), ("PUT /api/v1/program HTTP/1.1", 405),
            ("GET /api/v1/balances?x=1 HTTP/1.1", 422), ("GET /api/v1/program HTTP/1.1", 200),
        ):  # fmt: skip
            await client.send(request(api, line))
            assert (await client.answer()).status == status
        await client.send(request(api, "POST /api/v1/orders HTTP/1.1", body=b"{"))
        check_problem(await client.answer(), 400, "not_json")
        await client.send(request(api, "POST /api/v1/orders HTTP/1.1", body=b"{}"))
        assert (await client.answer()).status == 200


async def test_a_refused_body_is_not_the_next_request(api):
    """A body that was not read, for it is too large, is never taken for a request of its own."""
    inner = request(api, "GET /healthz HTTP/1.1")
    async with wire(api) as client:
        body = inner + b" " * (2 * 1024 * 1024)
        await client.send(request(api, "POST /api/v1/partners HTTP/1.1", body=body)[: len(inner) + 2_000])
        answer = await client.answer()
        check_problem(answer, 413, "body_too_large")
        assert answer.headers["Connection"] == "close"
        client.writer.write_eof()
        assert await client.closed()


async def test_http_1_0_is_answered_and_closed(api):
    """An old client is served, without keep-alive and without chunks."""
    async with wire(api) as client:
        await client.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.json) == (200, {"alive": True})
        assert await client.closed()


async def test_requests_in_a_row_are_answered_in_a_row(api):
    """Requests that are sent without waiting get their answers in their order."""
    paths = ["/healthz", "/api/v1/program", "/nothing", "/api/v1/balances"] * 5
    async with wire(api) as client:
        await client.send(b"".join(request(api, f"GET {path} HTTP/1.1") for path in paths))
        assert [(await client.answer()).status for _ in paths] == [200, 200, 404, 200] * 5
