"""Static files over HTTP: kept for ever under the hash of their content, deflated where asked for, and nothing else."""

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

from web.assets import Assets, add_assets, address_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "web/static"


@pytest.fixture
async def client():
    """Yield a client of an application that serves nothing but the files; it takes answers as they come."""
    app = web.Application()
    add_assets(app)
    async with TestClient(TestServer(app), auto_decompress=False) as opened:
        yield opened


async def test_a_file_is_kept_for_ever_under_its_hash(client):
    """A file comes whole, of its type, to be kept for ever; the address has the hash of the content."""
    address = address_of("vendor/htmx.min.js")
    async with client.get(address, headers={"Accept-Encoding": "identity"}) as answer:
        assert await answer.read() == (FOLDER / "vendor/htmx.min.js").read_bytes()
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert "Content-Encoding" not in answer.headers
    assert Assets({"a.css": b"one"}).address("a.css") != Assets({"a.css": b"two"}).address("a.css")
    with pytest.raises(KeyError):
        address_of("vendor/none.js")


@pytest.mark.parametrize("accepted", ["gzip, deflate, br", "br;q=1.0, gzip;q=0.8", "*", "GZIP"])
async def test_deflated_for_those_who_take_it(client, accepted):
    """Whoever takes gzip gets the same bytes deflated, under an entity tag of their own."""
    address = address_of("vendor/uplot.min.js")
    async with client.get(address, headers={"Accept-Encoding": accepted}) as answer:
        squeezed = await answer.read()
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["ETag"].endswith('-gzip"')
    assert gzip.decompress(squeezed) == (FOLDER / "vendor/uplot.min.js").read_bytes()
    assert len(squeezed) < 25_000


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0", "gzip; q=0.0", "*;q=0", "identity"])
async def test_plain_for_those_who_do_not(client, accepted):
    """Whoever does not take gzip, or refuses it, gets the plain bytes."""
    async with client.get(address_of("icon.svg"), headers={"Accept-Encoding": accepted}) as answer:
        assert await answer.read() == (FOLDER / "icon.svg").read_bytes()


async def test_what_is_known_is_not_sent_again(client):
    """A browser that names the entity tag it has is told that nothing changed, and no other one."""
    address, plain = address_of("icon.svg"), {"Accept-Encoding": "identity"}
    async with client.get(address, headers=plain) as answer:
        tag = answer.headers["ETag"]
    async with client.get(address, headers=plain | {"If-None-Match": f'"other", {tag}'}) as answer:
        assert (answer.status, await answer.read(), answer.headers["ETag"]) == (304, b"", tag)
    async with client.get(address, headers={"Accept-Encoding": "gzip", "If-None-Match": tag}) as answer:
        assert answer.status == 200
    async with client.head(address) as answer:
        assert (answer.status, await answer.read()) == (200, b"")


async def test_another_version_is_not_kept(client):
    """Under the hash of another version there is what we have, and browsers are told to ask again."""
    address = address_of("icon.svg")
    other = address.replace(address.split(".")[1], "0" * 16)
    async with client.get(other, headers={"Accept-Encoding": "identity"}) as answer:
        assert await answer.read() == (FOLDER / "icon.svg").read_bytes()
        assert answer.headers["Cache-Control"] == "no-cache"


async def test_the_icon_and_the_robots(client):
    """The addresses that browsers and robots ask for by themselves are there, and robots are sent away."""
    async with client.get("/favicon.ico") as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/x-icon")
    async with client.get("/robots.txt") as answer:
        assert await answer.text() == "User-agent: *\nDisallow: /\n"


@pytest.mark.parametrize(
    "name",
    [
        "", "icon.svg", "none.0000000000000000.js", "vendor", "vendor/", "../application.py", "%2e%2e/application.py",
        "..%2fapplication.0000000000000000.py", "vendor/..%2f..%2f__init__.py", "/etc/passwd", "icon.svg%00",
        "icon.0000000000000000.svg/", "ICON.0000000000000000.svg",
    ],
)  # fmt: skip
async def test_nothing_else(client, name):
    """What is no name of a file with a hash is not found, however it is written."""
    async with ClientSession() as session, session.get(f"{client.make_url('/static/')}{name}") as answer:
        assert answer.status == 404


def test_every_kind_of_file_has_a_type():
    """A file of which nobody said what it is is refused when the process starts, not guessed when somebody asks."""
    with pytest.raises(ValueError, match=r"notes\.xyz"):
        Assets({"notes.xyz": b""})


def test_the_wheel_has_them(tmp_path):
    """What is installed holds every template and static file, and the licences of what was vendored."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    here = {
        path.relative_to(ROOT).as_posix()
        for folder in ("static", "templates")
        for path in (ROOT / "web" / folder).rglob("*")
        if path.is_file()
    }
    assert here
    assert here - packed == set()
