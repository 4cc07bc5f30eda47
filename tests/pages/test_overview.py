"""The overview: its figures are the API's, against the days before, and each leads to the entries behind it."""

from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlencode, urlsplit

import pytest

from ledger.access import ROLES
from projections.runner import Projector
from tests.support import visitors
from tests.support.api import JANE, running
from tests.support.visitors import query_of

JOE = {"name": "Joe <i>Bloggs</i>", "email": "joe@example.com", "coupon_code": "JOE5"}
DAYS = {"from": "2026-11-01", "to": "2026-11-22"}
# What each figure is in the answer of GET /metrics.
FIGURES = {
    "revenue": ("revenue", "net"), "refunded": ("revenue", "refunded"), "average": ("average_order",),
    "earned": ("commissions", "earned"), "outstanding": ("commissions", "outstanding"), "paid": ("commissions", "paid"),
}  # fmt: skip


@pytest.fixture
async def books(api):
    """Yield the site of two partners with orders in three months and two currencies, beside a neighbour with more."""
    api.jane, api.joe = await api.partner(), await api.partner(**JOE)
    await api.post(
        "/orders",
        [
            api.order(total="100.00"),
            api.order(total="60.00", occurred_at="2026-11-02T10:00:00Z"),
            api.order(total="40.00", coupon_code="joe5", occurred_at="2026-11-03T10:00:00Z"),
            api.order(total="50.00", occurred_at="2026-10-10T10:00:00Z"),
            api.order(total="20.00", occurred_at="2026-09-10T10:00:00Z"),
            api.order(total="9000", currency="JPY"),
            api.refund("o-1", "25.00"),
        ],
    )
    await api.post("/commissions/o-2/approve")
    await api.post("/commissions/o-2/mark-paid", {"reference": "wire 1"})
    await api.partner(of="zenith", name="Neighbour")
    await api.post("/orders", api.order(order_id="theirs", total="7777.00"), of="zenith")
    await api.project()
    return api


def amounts(page):
    """Return what each figure's card says, by its name."""
    return {str(card["id"]).removeprefix("figure-"): card for card in page.soup.select(".figure[id]")}


def value(card):
    """Return the figure itself, as it is shown."""
    return card.select_one(".figure-value").get_text().strip()


def note(card):
    """Return what the card says of the days before."""
    return " ".join(card.select_one(".figure-note").get_text(" ").split())


def shown(money):
    """Return an amount of USD as an American reads it."""
    number = f"{abs(Decimal(money['amount'])):,}"
    return f"-${number}" if money["amount"].startswith("-") else f"${number}"


def within(answer, path):
    """Return the member of an answer that a path leads to."""
    for name in path:
        answer = answer[name]
    return answer


async def test_the_figures_are_those_of_the_api(books, owner):
    """For the same days, currency and partner, each figure is what GET /metrics says, and the charts its series."""
    for whose in ({}, {"partner_id": books.jane["id"]}, {"partner_id": books.joe["id"]}):
        told = (await books.get("/metrics", params=DAYS | whose)).json
        check_figures(await owner.get("/overview?" + urlencode(DAYS | whose)), told)


def check_figures(page, told):
    """Assert that the page says what the answer of GET /metrics says."""
    cards, totals = amounts(page), told["totals"]
    for name, path in FIGURES.items():
        assert value(cards[name]) == shown(within(totals, path)), name
    assert value(cards["conversions"]) == str(totals["conversions"])
    assert Decimal(value(cards["rate"]).removesuffix("%")) == round(Decimal(totals["commission_rate"]), 1)
    rows = page.soup.select("#chart-revenue tbody tr")
    assert [(row.th["data-x"], *(cell["data-value"] for cell in row.select("td"))) for row in rows] == [
        (point["from"], point["revenue"]["net"]["amount"], point["commissions"]["earned"]["amount"])
        for point in told["series"]
    ]
    counted = [int(cell["data-value"]) for cell in page.soup.select("#chart-conversions td")]
    assert counted == [point["conversions"] for point in told["series"]]
    *_, last = page.soup.select("#chart-owed tbody tr")
    assert [cell["data-value"] for cell in last.select("td")] == [
        totals["commissions"]["paid"]["amount"], totals["commissions"]["outstanding"]["amount"],
    ]  # fmt: skip


async def test_each_figure_is_compared_with_the_days_before(books, owner):
    """A whole month is told against the one before it, in words beside an arrow that only repeats them."""
    page = await owner.get("/overview?range=last-month")
    cards = amounts(page)
    days = page.one(".overview-days").get_text().replace("\N{THIN SPACE}", "").replace("\N{EN DASH}", "-")
    assert days == "Oct 1-31, 2026, compared with Sep 1-30, 2026"
    assert (value(cards["revenue"]), note(cards["revenue"])) == ("$50.00", "▲ 150% more than $20.00")
    assert note(cards["conversions"]) == "as before"
    assert note(cards["paid"]) == "as before"
    assert cards["revenue"].select_one("[aria-hidden=true]").get_text() == "▲"
    cards = amounts(await owner.get("/overview?range=this-month"))
    assert note(cards["paid"]) == "▲ up from $0.00"
    assert note(amounts(await owner.get("/overview?from=2026-11-22&to=2026-11-22"))["average"]) == "no figures before"


async def test_where_nothing_was_before_it_says_so(books, owner):
    """The first days, and all days, have none to be compared with."""
    for address in ("/overview?range=all", "/overview?from=2026-09-01&to=2026-09-30"):
        page = await owner.get(address)
        assert {note(card) for card in amounts(page).values()} == {"no figures before"}
    assert "compared with" not in (await owner.get("/overview?range=all")).words


async def test_the_entries_behind_a_figure_add_up_to_it(books, owner):
    """Each figure links to the list whose sum it is; what is owed links to the commissions in each state."""
    page = await owner.get("/overview?range=this-month")
    cards = amounts(page)

    async def listed(card):
        address = card.select_one(".figure-value a")["href"]
        assert urlsplit(address).path == "/commissions"
        return (await books.get("/commissions", params=query_of(address))).json["data"]

    def total(rows, *path):
        return sum(Decimal(within(row, path)["amount"]) for row in rows)

    rows = await listed(cards["revenue"])
    assert shown({"amount": str(total(rows, "total") - total(rows, "refunded"))}) == value(cards["revenue"])
    assert shown({"amount": str(total(rows, "refunded"))}) == value(cards["refunded"])
    assert str(len(await listed(cards["conversions"]))) == value(cards["conversions"])
    assert shown({"amount": str(total(await listed(cards["earned"]), "commission"))}) == value(cards["earned"])
    assert shown({"amount": str(total(await listed(cards["paid"]), "commission"))}) == value(cards["paid"])
    assert cards["outstanding"].select_one("a")["href"] == "#owed"
    owed = Decimal(0)
    for link in page.soup.select(".overview-owed a[href^='/commissions']"):
        rows = (await books.get("/commissions", params=query_of(link["href"]))).json["data"]
        assert link.get_text() == shown({"amount": str(total(rows, "commission") or Decimal("0.00"))})
        if "paid" not in link["href"]:
            owed += total(rows, "commission")
    assert shown({"amount": str(owed)}) == value(cards["outstanding"])


async def test_the_points_of_a_chart_lead_to_their_orders(books, owner):
    """Each day in a chart's table links to the orders of that day, in the currency and of the partner shown."""
    page = await owner.get(f"/overview?from=2026-11-01&to=2026-11-03&partner_id={books.joe['id']}")
    *_, link = page.soup.select("#chart-revenue tbody a")
    assert query_of(link["href"]) == {
        "from": "2026-11-03", "to": "2026-11-03", "currency": "USD", "partner_id": books.joe["id"],
    }  # fmt: skip


async def test_partners_are_ranked_as_the_api_ranks_them(books, owner):
    """The top partners stand in the order asked for, with what GET /metrics/partners says; names are only text."""
    for sort in ("earned", "conversions"):
        told = (await books.get("/metrics/partners", params={**DAYS, "sort": sort})).json["data"]
        page = await owner.get(f"/overview?from=2026-11-01&to=2026-11-22&sort={sort}")
        section = page.one("section[aria-labelledby=partners-title]")
        assert [" ".join(row.th.get_text().split()) for row in section.select("tbody tr")] == [
            row["name"] for row in told
        ]
        earned = [row.select("td")[2].get_text() for row in section.select("tbody tr")]
        assert earned == [shown(row["commissions"]["earned"]) for row in told]
        assert query_of(section.select_one("td a")["href"])["partner_id"] == told[0]["partner_id"]
        assert not section.select("tbody i")
        assert page.one(f"#sort-{sort}")["aria-current"] == "true"


async def test_the_latest_commissions_lead_to_their_stories(books, owner):
    """The newest orders of the currency stand there with their partner's name, each with a link to its page."""
    page = await owner.get("/overview")
    rows = page.soup.select("section[aria-labelledby=latest-title] tbody tr")
    assert [row.th.get_text().strip() for row in rows] == ["o-1", "o-3", "o-2", "o-4", "o-5"]
    assert "Joe <i>Bloggs</i>" in rows[1].get_text()
    assert rows[0].th.a["href"] == "/commissions/o-1"


async def test_an_order_s_id_may_be_anything(api, owner):
    """An id with signs that mean something in an address leads to that order and nowhere else."""
    await api.partner()
    await api.post("/orders", api.order(order_id="a/b?c#d e%2F"))
    await api.project()
    link = (await owner.get("/overview")).one("section[aria-labelledby=latest-title] tbody th a")
    assert (link["href"], link.get_text()) == ("/commissions/a%2Fb%3Fc%23d%20e%252F", "a/b?c#d e%2F")


async def test_a_partner_is_found_by_words(books, owner):
    """One partner who fits is shown at once, several are offered, none is said; no partner of a neighbour is found."""
    page = await owner.get("/overview?partner=JANE10")
    assert page.one(".overview-chosen a[href^='/partners']").get_text() == "Jane"
    assert not page.soup.select("[aria-labelledby=partners-title]")
    page = await owner.get("/overview?partner=example.com")
    assert len(page.soup.select("[role=status] li a")) == 2
    for query in ("partner=Neighbour", "partner_id=p_nobody", "partner_id=%3Cscript%3E"):
        page = await owner.get("/overview?" + query)
        assert (page.status, page.said("[role=alert]")) == (422, ["Partner: there is no such partner."])
        assert not page.soup.select("script:not([src])")


async def test_an_address_that_asks_for_nonsense_is_shown_what_is_wrong(books, owner):
    """Whoever edits the address gets the page with the message beside the field, and the usual days."""
    page = await owner.get("/overview?from=2026-02-30")
    assert page.status == 422
    assert page.one("#from")["aria-describedby"] == "fault-from"
    assert page.one("#from")["value"] == "2026-02-30"
    assert "must be a day" in page.one("#fault-from").get_text()
    assert page.one("#range-30-days")["aria-current"] == "true"
    for query in ("currency=EUR", "currency=%22%3E", "range=x", "to=2026-01-01&from=2026-01-02"):
        page = await owner.get("/overview?" + query)
        assert (page.status, len(page.said("[role=alert]"))) == (422, 1)


async def test_currencies_are_told_apart(books, owner):
    """The currencies with figures can be chosen, and no figure is of two of them."""
    page = await owner.get("/overview")
    assert page.said("#currency option") == ["JPY", "USD"]
    assert page.one("#currency option[selected]").get_text() == "USD"
    page = await owner.get("/overview?currency=JPY")
    assert (value(amounts(page)["revenue"]), value(amounts(page)["conversions"])) == ("¥9,000", "1")
    assert "$" not in page.one("#books").get_text()


async def test_what_waits_is_told_with_the_way_there(books, owner):
    """Applications, held commissions, refused messages and negative balances are counted, and link to their lists."""
    assert "Nothing." in (await owner.get("/overview")).one("[aria-labelledby=waiting-title]").get_text()
    await books.post("/partners/apply", JANE | {"email": "kim@example.com", "coupon_code": "KIM"})
    await books.post("/orders", [books.refund("o-2", "60.00"), books.refund("o-3", "500.00", refund_id="too-much")])
    await books.post("/commissions/o-3/hold", {"reason": "odd"})
    await books.project()
    page = await owner.get("/overview")
    found = {link["href"]: link.get_text().strip() for link in page.soup.select(".overview-waits > li > a")}
    assert found == {
        "/partners?status=applied": "1 application",
        "/commissions?status=held": "1 held commission",
        "/dead-letters?status=open": "1 dead letter",
        "/payouts": "1 negative balance",
    }
    assert page.said(".overview-owing li") == ["Jane -$6.00"]


async def test_before_the_first_order_it_says_how_to_send_it(api, owner):
    """A program without figures is shown the steps to them, and which of them are done."""
    page = await owner.get("/overview")
    assert "No commissions yet" in page.words
    assert page.one("a[href='/partners/new']")
    await api.partner(coupon_code="A&B")
    await api.project()
    page = await owner.get("/overview")
    assert page.said(".overview-steps .badge") == ["done", "to do"]
    assert '"coupon_code": "A\\u0026B"' in page.one("#first-order").get_text()
    await api.post("/orders", api.order(total="nonsense"))
    await api.project()
    page = await owner.get("/overview")
    assert page.said(".overview-steps .badge") == ["done", "done"]
    assert page.one(".note.warn a[href='/dead-letters?status=open']")


async def test_every_role_sees_the_same_figures(books):
    """Whoever may log in may look, whatever else they may do: the figures are the same for all."""
    for role in ROLES:
        page = await (await visitors.user(books, role=role)).get("/overview?range=this-month")
        assert (page.status, value(amounts(page)["revenue"])) == (200, "$175.00"), role


async def test_nothing_of_another_merchant_is_shown(books):
    """A neighbour's overview has the neighbour's figures alone, also when asked for somebody else's partner."""
    neighbour = await visitors.user(books, merchant="zenith")
    page = await neighbour.get("/overview")
    assert value(amounts(page)["revenue"]) == "$7,777.00"
    assert "Joe" not in page.text
    assert (await neighbour.get(f"/overview?partner_id={books.jane['id']}")).status == 422


async def test_the_links_to_files_give_the_figures(books, owner):
    """The files beside the figures and the partners are the API's own, for the days that are shown."""
    page = await owner.get("/overview?range=this-month")
    for link in page.soup.select("a[download][href*='.csv']"):
        file = await owner.get(link["href"])
        assert (file.status, file.headers["Content-Type"].split(";")[0]) == (200, "text/csv"), link["href"]
        assert query_of(link["href"])["from"] == "2026-11-01"


async def test_figures_that_are_behind_say_so(database_url):
    """Where the read models do not follow, the page says since when, and still shows what there is."""
    async with running(database_url) as api:
        owner = await visitors.user(api)
        await api.partner()
        await api.post("/orders", api.order())
        Projector(database_url).catch_up()
        await api.post("/orders", api.order())
        assert not (await owner.get("/overview")).soup.select("#stale")
        api.now += timedelta(minutes=2)
        page = await owner.get("/overview")
        assert "12:00" in page.one("#stale").get_text()
        assert value(amounts(page)["conversions"]) == "1"


async def test_german_visitors_read_german_numbers(books, owner):
    """Money, numbers and days are written as the visitor's browser asks for."""
    owner.headers["Accept-Language"] = "de-DE"
    page = await owner.get("/overview?range=this-month")
    assert value(amounts(page)["revenue"]).replace("\xa0", " ") == "175,00 $"
