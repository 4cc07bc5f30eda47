"""Imports as pages: a file is tried, then booked; refused files say why, and nobody sends one without the right to."""

import re

from tests.support import uploads, visitors
from tests.support.api import JANE, running
from web.pages.settings_imports import KINDS

HEAD = "name,email,coupon_code,rate_type,rate_value\n"
KIM = "Kim,kim@example.com,KIM,percentage,5\n"
HOSTILE = "<script>alert('x')</script>"


async def form(visitor, kind="partners"):
    """Return the page with the form for a file."""
    return await visitor.get(f"/settings/imports/{kind}")


def figures(page):
    """Return the figures of the report, by their names."""
    return dict(zip(page.said("#report dt"), page.said("#report .figure-value"), strict=True))


async def test_a_file_is_tried_and_then_booked(api, owner):
    """A trial books nothing and names each refused row and column; the import books the others; again, nothing."""
    page = await form(owner)
    content = (HEAD + KIM + f"{HOSTILE},eve@,EVE,fixed,1.00\nJoe,joe@example.com,JOE,fixed,abc\n").encode()
    head = api.ledger.head()
    tried = await uploads.send(owner, page, "partners.csv", content)
    assert (tried.status, figures(tried)) == (200, {"Rows": "3", "refused": "2", "registered": "1"})
    rows = tried.said("#report tbody tr")
    assert rows[0].startswith("3 email ")
    assert rows[1].startswith("4 rate_value ")
    assert tried.one("#report button").get_text() == "Import 1 row"
    assert api.ledger.head() == head
    booked = await uploads.send(owner, tried, "partners.csv", content, book=True)
    assert figures(booked) == figures(tried)
    assert booked.soup.select("#report button") == []
    await api.project()
    assert [each["name"] for each in (await api.get("/partners")).json["data"]] == ["Kim"]
    again = await uploads.send(owner, tried, "partners.csv", content, book=True)
    assert figures(again) == {"Rows": "3", "refused": "2", "there already": "1"}
    assert "<script>alert" not in tried.text + booked.text


async def test_the_templates_can_be_imported(api, owner):
    """A template is a file of its kind: every row of it is accepted, and no column of it is unknown."""
    await api.partner()
    await api.partner(name="Kim", email="kim@example.com", coupon_code="KIM5")
    for kind in KINDS:
        template = await owner.get(f"/settings/imports/{kind}.csv")
        assert template.headers["Content-Disposition"] == f'attachment; filename="{kind}.csv"'
        rows = template.text.replace("jane@", "j@").replace("kim@", "k@").replace("JANE", "J").replace("KIM", "K")
        content = rows if kind == "partners" else template.text
        tried = await uploads.send(owner, await form(owner, kind), f"{kind}.csv", content.encode())
        assert "refused" not in figures(tried), tried.words
        assert int(figures(tried)["Rows"]) == 2
        assert "nobody knows" not in tried.words


async def test_files_that_are_none_are_refused_whole(api, owner):
    """Wrong encodings, wrong kinds, missing columns and unclosed quotes: the page says why, and nothing is taken."""
    page = await form(owner)
    for name, content, said in (
        ("", b"", "choose a file"),
        ("partners.xlsx", b"PK\x03\x04", "CSV or JSON Lines"),
        ("partners.csv.exe", b"MZ", "CSV or JSON Lines"),
        ("partners.csv", (HEAD + KIM).encode("utf-16"), "UTF-16"),
        ("partners.csv", b"", "name the columns"),
        ("partners.csv", b"name\nx\n", "it has no email"),
        ("partners.csv", (HEAD + '"Kim,kim@example.com').encode(), "never closed"),
        ("partners.csv", b"\x00" * 5_000, "name the columns"),
    ):
        refused = await uploads.send(owner, page, name, content)
        assert refused.status == 422, (name, refused.words)
        assert said in refused.one("#report .note.bad").get_text(), name
    latin = await uploads.send(owner, page, "p.csv", HEAD.encode() + KIM.replace("Kim", "Jos\u00e9").encode("latin-1"))
    assert (latin.status, figures(latin)) == (200, {"Rows": "1", "refused": "1"})
    assert "not UTF-8" in latin.said("#report tbody tr")[0]
    await api.project()
    assert (await api.get("/partners")).json["data"] == []


async def test_what_a_spreadsheet_would_run_stays_text(api, owner):
    """A name that is a formula is imported as it was meant, shown as text, and neutral in the file that goes out."""
    rows = HEAD + '"\'=HYPERLINK(""http://x"")",kim@example.com,KIM,percentage,5\n'
    page = await uploads.send(owner, await form(owner), "p.csv", rows.encode())
    page = await uploads.send(owner, page, "p.csv", rows.encode(), book=True)
    assert figures(page) == {"Rows": "1", "registered": "1"}
    await api.project()
    assert (await api.get("/partners")).json["data"][0]["name"] == '=HYPERLINK("http://x")'
    assert '"\'=HYPERLINK(""http://x"")"' in (await owner.get("/files/partners.csv")).text


async def test_a_file_is_not_read_before_the_form_is_known(api, owner):
    """Without a session, its own token in front of the file, or the right to, no file is taken from anybody."""
    page = await form(owner)
    fields = [(name, str(value)) for name, value in visitors.fields_of(page.one("form#upload")).items()]
    address, content = "/settings/imports/partners", (HEAD + KIM).encode()
    stranger = visitors.Visitor(api)
    body, kind = uploads.multipart(fields, "p.csv", content)
    assert (await uploads.post(stranger, address, body, kind)).location == "/login"
    for name, value in (("csrf", "x"), ("once", "only")):
        body, kind = uploads.multipart([(name, value)], "p.csv", content)
        assert (await uploads.post(owner, address, body, kind)).status == 403
    whole, kind = uploads.multipart(fields, "p.csv", content)
    after = whole.split(b"\r\n------")[-2]
    # The same fields, but behind the file.
    boundary = re.search("boundary=(.*)", kind)[1].encode()
    pieces = whole.removesuffix(b"--" + boundary + b"--\r\n").split(b"--" + boundary + b"\r\n")[1:]
    late = (
        b"".join(b"--" + boundary + b"\r\n" + each for each in [pieces[-1], *pieces[:-1]])
        + b"--"
        + boundary
        + b"--\r\n"
    )
    assert b"filename" in after
    assert (await uploads.post(owner, address, late, kind)).status == 403
    cross = await owner.send("POST", address, whole, {"Content-Type": kind, "Sec-Fetch-Site": "cross-site"})
    assert cross.status == 403
    viewer = await visitors.user(api, role="manager")
    own = str((await viewer.get("/settings")).one("form[action='/logout'] input[name=csrf]")["value"])
    body, kind = uploads.multipart([("csrf", own)], "p.csv", content)
    assert (await uploads.post(viewer, address, body, kind)).status == 403
    await api.project()
    assert (await api.get("/partners")).json["data"] == []


async def test_broken_forms_are_refused(owner):
    """What is no multipart form, breaks off, nests, or floods with fields is refused, and never our own error."""
    page = await form(owner)
    csrf = str(page.one("form#upload input[name=csrf]")["value"])
    address = "/settings/imports/partners/check"
    body, kind = uploads.multipart([("csrf", csrf)], "p.csv", (HEAD + KIM).encode())
    nested = body.replace(b"Content-Type: text/csv", b"Content-Type: multipart/mixed; boundary=inner")
    encoded = body.replace(b"Content-Type: text/csv", b"Content-Transfer-Encoding: base64")
    many, many_kind = uploads.multipart([("csrf", csrf)] + [(f"f{n}", "x") for n in range(80)], "p.csv", b"")
    long, long_kind = uploads.multipart([("csrf", csrf), ("f", "x" * 10_000)], "p.csv", b"")
    for sent, said, status in (
        (b"x=1", "application/x-www-form-urlencoded", 415),
        (b"{}", "application/json", 415),
        (body, "multipart/form-data", 400),
        (body[:-200], kind, 400),
        (b"no boundary at all", kind, 400),
        (nested, kind, 400),
        (encoded, kind, 400),
        (many, many_kind, 400),
        (long, long_kind, 413),
    ):
        answer = await uploads.post(owner, address, sent, said)
        assert answer.status == status, (sent[:80], answer.words)


async def test_a_file_that_is_too_large_is_told_on_the_form(database_url):
    """A file that is over the limit is refused on its form, with the limit."""
    async with running(database_url, import_body_max=50_000) as api:
        owner = await visitors.user(api)
        refused = await uploads.send(owner, await form(owner), "p.csv", (HEAD + KIM * 3_000).encode())
        assert (refused.status, "more than 50000 bytes" in refused.words) == (413, True)


async def test_large_files_are_counted_whole_and_shown_in_part(api, owner):
    """Every row is counted; of the refused ones the first 200 are shown, and the page says so."""
    await api.partner(**JANE)
    rows = "".join(f"P{n},p{n}@example.com,JANE10,percentage,5\n" for n in range(300))
    tried = await uploads.send(owner, await form(owner), "p.csv", (HEAD + rows).encode())
    assert figures(tried) == {"Rows": "300", "refused": "300"}
    assert len(tried.soup.select("#report tbody tr")) == 200
    assert "The first 200 of 300" in tried.words
