"""The merchant's customers as pages: what they bought, who brought them, and whose they are from now on."""

from urllib.parse import quote

import pytest

from tests.support import visitors
from tests.support.read_models import execute

JOE = {"name": "Joe", "email": "joe@example.com", "coupon_code": "JOE"}
HOSTILE = "<script>alert('x')</script>\"&?#%/ é"
ANNA = {"id": HOSTILE, "name": "Anna", "email": "Anna@example.com"}


@pytest.fixture
async def shop(api):
    """Yield the application of two partners and three customers: Anna, Bert (no name), and Cara (of Joe's)."""
    await api.partner()
    await api.partner(**JOE)
    api.jane, api.joe = (await told(api, "/partners"))["data"]
    await api.post("/orders", [
        api.order(order_id="a/1", customer=ANNA),
        api.order(order_id="a/2", customer=ANNA, total="50.00", occurred_at="2026-11-22T11:00:00Z"),
        api.order(order_id="a/3", customer=ANNA, total="5000", currency="JPY"),
        api.order(order_id="b/1", customer={"id": "bert"}),
        api.order(order_id="c/1", customer={"id": "cara", "name": "Cara", "email": "c@example.com"}, coupon_code="JOE"),
        api.refund("a/1", "30.00"),
    ])  # fmt: skip
    await api.project()
    return api


async def told(api, path):
    """Return what the API says once the read models are there."""
    answer = await api.get(f"{path}{'&' if '?' in path else '?'}min_position={await api.project()}")
    assert answer.status == 200, answer.text
    return answer.json


def address(customer_id):
    """Return where a customer's page is."""
    return f"/customers/{quote(customer_id, safe='')}"


def names(page):
    """Return the customers on a list, in order."""
    return page.said("#results tbody th a")


async def test_the_list_shows_what_the_api_says(shop, owner):
    """Every customer with partner, orders and revenue of each currency, apart; each leads to the customer's page."""
    page = await owner.get("/customers")
    assert page.said("#results tbody tr") == [
        "Anna Anna@example.com Jane 3 $120.00 ¥5,000 Nov 22, 2026, 11:00 AM",
        "bert Jane 1 $100.00 Nov 22, 2026, 10:00 AM",
        "Cara c@example.com Joe 1 $100.00 Nov 22, 2026, 10:00 AM",
    ]
    assert page.soup.select_one("#results tbody th a")["href"] == address(HOSTILE)
    file = await owner.get(str(page.one(".files a[href*=jsonl]")["href"]))
    assert len(file.text.splitlines()) == 3


async def test_customers_are_found_by_id_e_mail_and_partner(shop, owner):
    """The beginning of an id, a whole address in any case, and a partner narrow the list, alone and together."""
    page = await owner.get("/customers")
    assert names(await owner.submit(page, "form.filters", search="be")) == ["bert"]
    assert names(await owner.submit(page, "form.filters", search="anna@EXAMPLE.com")) == ["Anna"]
    assert names(await owner.submit(page, "form.filters", search="example.com")) == []
    page = await owner.get(f"/customers?partner_id={shop.jane['id']}")
    assert names(page) == ["Anna", "bert"]
    assert "Customers of Jane" in page.words
    assert names(await owner.submit(page, "form.filters", search="c@example.com")) == []
    assert names(await owner.submit(page, "form.filters", search="b")) == ["bert"]
    assert names(await owner.get(str(page.soup.select("#results p a")[1]["href"]))) == ["Anna", "bert", "Cara"]


async def test_pages_are_turned_to_the_end(shop, owner):
    """Following "next page" shows every customer once, also of a search."""
    await shop.post("/orders", [shop.order(customer={"id": f"b{number}"}) for number in range(5)])
    await shop.project()
    for query, expected in (("", 8), ("&search=b", 6)):
        page = await owner.get(f"/customers?limit=2{query}")
        found = names(page)
        while page.soup.select(".pager a[rel=next]"):
            page = await owner.get(str(page.one(".pager a[rel=next]")["href"]))
            found += names(page)
        assert (len(found), len(set(found))) == (expected, expected)


async def test_an_address_that_asks_for_nonsense_says_so_on_the_list(owner):
    """What a person edited wrongly in the address is told on the page, with a way back."""
    for query in ("cursor=nonsense", "limit=0", "nobody=asked", "search=%00", "partner_id=" + "x" * 200):
        page = await owner.get(f"/customers?{query}")
        assert page.status == 422, query
        assert query.partition("=")[0] in " ".join(page.said("[role=alert]"))
        assert page.one(".empty a")["href"] == "/customers"


async def test_no_customers_yet(api, owner):
    """Before the first customer the page says how one comes to be there."""
    await api.project()
    assert "No customers yet" in (await owner.get("/customers")).words


async def test_the_page_of_a_customer_shows_what_the_api_says(shop, owner):
    """Revenue per currency, orders with refunds, and who brought the customer; the id may hold any sign."""
    page = await owner.get(address(HOSTILE))
    assert page.status == 200
    assert page.said("h1") == ["Anna"]
    assert page.said("#books .figure") == [
        "Revenue $120.00 after refunds", "Bought $150.00", "Refunded $30.00", "Orders 2 that earned a commission",
        "Revenue ¥5,000 after refunds", "Bought ¥5,000", "Refunded ¥0", "Orders 1 that earned a commission",
    ]  # fmt: skip
    assert page.said("#orders tbody tr") == [
        "a/3 of Jane Nov 22, 2026 pending ¥5,000 ¥500",
        "a/2 of Jane Nov 22, 2026 pending $50.00 $5.00",
        "a/1 of Jane Nov 22, 2026 pending $100.00 refunded $30.00 $7.00",
    ]
    assert page.said("#partner .facts dd") == ["Jane first order Nov 22, 2026, 10:00 AM"]
    assert [each for each in page.soup.select("script") if not each.get("src")] == []
    assert HOSTILE in page.soup.get_text()
    links = {str(link["href"]) for link in page.soup.select("#books a")}
    assert f"/commissions?customer_id={quote(HOSTILE, safe='')}&currency=USD" in links
    file = await owner.get(str(page.one(".files a[href*=jsonl]")["href"]))
    assert len(file.text.splitlines()) == 3


async def test_a_customer_is_given_to_another_partner(shop, owner):
    """The form names every other approved partner; afterwards the page says to whom, when and why."""
    page = await owner.get(address(HOSTILE))
    assert [str(each["value"]) for each in page.soup.select("option")] == ["", shop.joe["id"]]
    page = await owner.submit(page, partner_id=shop.joe["id"], reason=HOSTILE)
    assert page.said("[role=status]")
    assert page.said("#partner .facts dd")[1] == f"Joe Nov 22, 2026, 12:00 PM : {HOSTILE}"
    assert [str(each["value"]) for each in page.soup.select("option")] == ["", shop.jane["id"]]
    assert names(await owner.get(f"/customers?partner_id={shop.joe['id']}")) == ["Anna", "Cara"]
    assert "Joe given" in (await owner.get("/customers")).said("#results tbody tr")[0]
    customer = await told(shop, f"/customers/{quote(HOSTILE, safe='')}")
    assert customer["assigned_partner_id"] == shop.joe["id"]


async def test_a_refused_form_keeps_what_was_typed(shop, owner):
    """Nobody chosen, no reason, a partner who may not be given customers: said beside the field."""
    page = await owner.get(address("bert"))
    none = await owner.submit(page, partner_id="", reason="why")
    assert (none.status, none.one("[aria-invalid=true]")["name"]) == (422, "partner_id")
    assert none.one("[name=reason]")["value"] == "why"
    await shop.post(f"/partners/{shop.joe['id']}/pause", {"reason": "holidays"})
    await shop.project()
    late = await owner.submit(page, partner_id=shop.joe["id"], reason="why")
    assert (late.status, late.one("[aria-invalid=true]")["name"]) == (409, "partner_id")


async def test_a_form_that_is_sent_twice_is_done_once(shop, owner):
    """The same page's form, sent once more after another change, changes nothing."""
    page = await owner.get(address("bert"))
    await owner.submit(page, partner_id=shop.joe["id"], reason="first")
    await owner.submit(await owner.get(address("bert")), partner_id=shop.jane["id"], reason="second")
    again = await owner.submit(page, partner_id=shop.joe["id"], reason="first")
    assert again.status == 200
    assert (await told(shop, "/customers/bert"))["assigned_partner_id"] == shop.jane["id"]


async def test_an_erased_person_keeps_the_figures(shop, owner):
    """Without name and address the page has the id, says why, and has the same orders and revenue."""
    before = await owner.get(address(HOSTILE))
    execute(shop.database_url, "UPDATE people.customers SET name = NULL, email = NULL")
    page = await owner.get(address(HOSTILE))
    assert page.said("h1") == [" ".join(HOSTILE.split())]
    assert "No name or address is kept of this customer" in page.words
    assert page.said("#books, #orders") == before.said("#books, #orders")
    assert "Anna" not in page.words
    assert names(await owner.get("/customers?search=anna@example.com")) == []


async def test_who_may_only_look_cannot_give_customers_away(shop):
    """Roles without `partners` see the figures and no form, and are refused if they send one all the same."""
    for role in ("finance", "viewer"):
        somebody = await visitors.user(shop, role=role)
        page = await somebody.get(address("bert"))
        assert page.soup.select("main form") == []
        fields = {"csrf": page.one(".who form [name=csrf]")["value"], "partner_id": shop.joe["id"], "reason": "r"}
        assert (await somebody.post(f"{address('bert')}/reassign", fields)).status == 403
    assert (await told(shop, "/customers/bert"))["assigned_partner_id"] is None


async def test_another_merchant_s_customer_is_as_one_who_does_not_exist(shop, owner):
    """Another program's customer is found by no page, no search and no form, and cannot be given to a partner here."""
    await shop.partner(of="zenith")
    await shop.post("/orders", shop.order(customer={"id": "zoe", "email": "zoe@example.com"}), of="zenith")
    await shop.project()
    for each in ("zoe", "nobody"):
        assert (await owner.get(address(each))).status == 404
        page = await owner.get(address("bert"))
        fields = visitors.fields_of(page.one("main form")) | {"partner_id": shop.joe["id"], "reason": "r"}
        assert (await owner.post(f"{address(each)}/reassign", fields)).status == 404
    for query in ("search=zoe", "search=zoe@example.com"):
        assert names(await owner.get(f"/customers?{query}")) == []
    (theirs,) = (await shop.get("/partners", of="zenith")).json["data"]
    for each in (theirs["id"], "p_nobody"):
        assert (
            "Customers of" not in (await owner.get(f"/customers?partner_id={each}")).words
            or names(await owner.get(f"/customers?partner_id={each}")) == []
        )
        refused = await owner.post(f"{address('bert')}/reassign", fields | {"partner_id": each})
        assert refused.status == 404


async def test_what_no_id_can_be_is_not_found(owner):
    """Control characters, half characters and long texts in the place of an id are 404."""
    for odd in ("%00", "a%0Ab", "%ED%A0%80", "x" * 200):
        assert (await owner.get(f"/customers/{odd}")).status == 404, odd
