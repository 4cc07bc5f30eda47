"""Static files: read once at the start, named by their content, and so kept by browsers for as long as they like."""

import gzip
import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Self

from aiohttp import hdrs, web

PREFIX = "/static/"

_FOLDER = Path(__file__).parent / "static"
_HASH_DIGITS = 16
_NAMED = re.compile(r"(?P<stem>.+)\.(?P<hash>[0-9a-f]{16})(?P<suffix>\.[A-Za-z0-9]+)", re.ASCII)
# Written down, because what `mimetypes` says depends on the machine.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".LICENSE": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_KEEP = "public, max-age=31536000, immutable"
_ASK = "no-cache"
_ROBOTS = b"User-agent: *\nDisallow: /\n"
# Deflated once, at the start: as small as it gets, and the same on every machine.
_LEVEL = 9


class Asset(NamedTuple):
    """One file: under which address, as what, and its bytes, also deflated where that makes them fewer."""

    address: str
    content_type: str
    digest: str
    plain: bytes
    gzipped: bytes | None


class Assets:
    """The files by their name below `web/static`."""

    def __init__(self, found: Mapping[str, bytes]) -> None:
        self._by_name = {name: _asset(name, content) for name, content in found.items()}

    @classmethod
    def read(cls, folder: Path = _FOLDER) -> Self:
        """Return the folder's files. Raises ValueError for a kind of file that nobody has named the type of."""
        paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
        return cls({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})

    def address(self, name: str) -> str:
        """Return the address of a file, which changes with its content. Raises KeyError where there is no such file."""
        return self._by_name[name].address

    def answer(self, request: web.Request, told: str) -> web.Response:
        """Return the answer to a request for what stands behind the prefix. Raises HTTPNotFound.

        Under the hash of another version there is what we have, not to be kept: while processes of two versions run,
        a page of one may ask the other.
        """
        named = _NAMED.fullmatch(told)
        asset = named and self._by_name.get(named["stem"] + named["suffix"])
        if named is None or asset is None:
            raise web.HTTPNotFound
        return _answer(request, asset, _KEEP if named["hash"] == asset.digest else _ASK)

    def plain(self, request: web.Request, name: str) -> web.Response:
        """Return the answer to a request for a file under an address without a hash."""
        return _answer(request, self._by_name[name], _ASK)


@cache
def served() -> Assets:
    """Return the files of this process."""
    return Assets.read()


def address_of(name: str) -> str:
    """Return the address of a file by its name below `web/static`; for templates. Raises KeyError as `address` does."""
    return served().address(name)


def add_assets(app: web.Application) -> None:
    """Serve the files, and the two addresses that browsers and robots ask for by themselves."""
    served()
    app.router.add_get(PREFIX + "{name:.+}", _show)
    app.router.add_get("/favicon.ico", _show_icon)
    app.router.add_get("/robots.txt", _show_robots)


async def _show(request: web.Request) -> web.Response:
    return served().answer(request, request.match_info["name"])


async def _show_icon(request: web.Request) -> web.Response:
    return served().plain(request, "favicon.ico")


async def _show_robots(_: web.Request) -> web.Response:
    # Everything here is somebody's books.
    return web.Response(body=_ROBOTS, content_type="text/plain", headers={hdrs.CACHE_CONTROL: _ASK})


def _asset(name: str, content: bytes) -> Asset:
    stem, dot, suffix = name.rpartition(".")
    if dot + suffix not in _TYPES:
        raise ValueError(f"no content type is known for {name}")
    digest = sha256(content).hexdigest()[:_HASH_DIGITS]
    gzipped = gzip.compress(content, _LEVEL, mtime=0)
    return Asset(
        address=f"{PREFIX}{stem}.{digest}.{suffix}",
        content_type=_TYPES[dot + suffix],
        digest=digest,
        plain=content,
        gzipped=gzipped if len(gzipped) < len(content) else None,
    )


def _answer(request: web.Request, asset: Asset, keep: str) -> web.Response:
    squeezed = asset.gzipped if _takes_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, "")) else None
    # Another body is another entity, and has another tag.
    tag = asset.digest if squeezed is None else f"{asset.digest}-gzip"
    headers = {hdrs.CACHE_CONTROL: keep, hdrs.ETAG: f'"{tag}"', hdrs.VARY: hdrs.ACCEPT_ENCODING}
    if any(known.value in {tag, "*"} for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    headers[hdrs.CONTENT_TYPE] = asset.content_type
    if squeezed is not None:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(body=asset.plain if squeezed is None else squeezed, headers=headers)


def _takes_gzip(accepted: str) -> bool:
    """Return whether an `Accept-Encoding` allows gzip (`;q=0` refuses it)."""
    for each in accepted.split(","):
        coding, _, quality = each.strip().partition(";")
        if coding.strip().lower() in {"gzip", "*"}:
            return quality.replace(" ", "").rstrip("0.") != "q="
    return False
