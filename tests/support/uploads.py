"""Forms that bring a file, as a browser sends them: multipart, the fields in the order in which the page has them."""

from collections.abc import Iterable
from secrets import token_hex
from urllib.parse import urljoin

from tests.support.visitors import Shown, Visitor, fields_of


def multipart(fields: Iterable[tuple[str, str]], filename: str | None, content: bytes) -> tuple[bytes, str]:
    """Return the body and the content type; the file, if there is one, is the field `file` and comes last."""
    boundary = f"----tests{token_hex(8)}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    if filename is not None:
        head = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
        parts.append(f"--{boundary}\r\n{head}\r\nContent-Type: text/csv\r\n\r\n".encode() + content + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


async def send(visitor: Visitor, page: Shown, filename: str, content: bytes, *, book: bool = False) -> Shown:
    """Choose the file in the page's form and try it, or `book` it with the button that the report of a trial has."""
    form = page.one("form#upload")
    action = str(page.one("button[form=upload]")["formaction"] if book else form["action"])
    body, kind = multipart([(n, str(v)) for n, v in fields_of(form).items()], filename, content)
    return await post(visitor, urljoin(page.address, action), body, kind)


async def post(visitor: Visitor, address: str, body: bytes, kind: str) -> Shown:
    """Send a body as a browser sends a form with a file."""
    return await visitor.send("POST", address, body, {"Content-Type": kind, "Sec-Fetch-Site": "same-origin"})
