"""Charts in a real browser: what is drawn is what the table says, and it can be used with a mouse, keys or neither."""

from dataclasses import dataclass
from datetime import date, timedelta
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from babel import Locale
from playwright.async_api import expect

from schemas.money import Money
from tests.support.browser import settled
from web.assets import add_assets
from web.pages.charts import rows_of
from web.pages.render import ENVIRONMENT, HEADERS

FIRST = date(2026, 9, 1)
DAYS = 60
PAGE = """
{% extends "document.html" %}
{% from "parts/charts.html" import chart, chart_files with context %}
{% set body_class = "plain-page" %}
{% block title %}Charts{% endblock %}
{% block head %}{{ chart_files() }}<script src="{{ asset('vendor/htmx.min.js') }}" defer></script>{% endblock %}
{% block body %}<main id="main" tabindex="-1"><h1>Charts</h1>
{% for kind in kinds %}
<section class="card" id="part-{{ kind }}" hx-get="" hx-trigger="books from:body" hx-select="#part-{{ kind }}"
 hx-swap="outerHTML">
{{ chart(kind, kind|title, kind, rows, series, currency, interval) }}
</section>
{% endfor %}
</main>{% endblock %}"""


@dataclass
class Point:
    """A day of the charts."""

    from_: date
    to: date
    number: int


@dataclass
class Charted:
    """A site of one page with charts; what is changed here is shown the next time that the page is asked for."""

    url: str = ""
    kinds: tuple[str, ...] = ("lines",)
    days: int = DAYS
    first: date = FIRST
    add: int = 0
    series: tuple[str, ...] = ("Revenue", "Commissions")
    currency: str | None = "USD"
    locale: str = "en_US"

    def values(self, point: Point) -> list[Money | int | None]:
        """Return what stands in the table on one day; the third day has no value at all."""
        number = (point.number * 37 % 101) * 100 + self.add
        numbers = [number, number // 10, number // 20, number // 40][: len(self.series)]
        if point.number == 2:
            return [None for _ in numbers]
        return [Money.of(each, self.currency) if self.currency else each // 100 for each in numbers]

    def page(self) -> str:
        """Return the page as it is now."""
        locale = Locale.parse(self.locale)
        days = (self.first + timedelta(days=number) for number in range(self.days))
        points = [Point(day, day, number) for number, day in enumerate(days)]
        rows = rows_of(points, self.values, interval="day", locale=locale)
        return ENVIRONMENT.from_string(PAGE).render(
            visit=SimpleNamespace(locale=locale), kinds=self.kinds, rows=rows, series=self.series,
            currency=self.currency, interval="day",
        )  # fmt: skip


@pytest.fixture
async def charted():
    """Yield a site with charts, without any books behind it."""
    site = Charted()

    async def show(_: web.Request) -> web.Response:
        return web.Response(text=site.page(), content_type="text/html", headers=HEADERS)

    app = web.Application()
    app.router.add_get("/charts", show)
    add_assets(app)
    async with TestServer(app) as server:
        site.url = str(server.make_url("/"))
        yield site


@pytest.fixture
def shown(charted, open_page):
    """Return what opens the page, and returns once its charts are drawn."""

    async def one(**options):
        page = await open_page(charted.url, **options)
        await page.goto("/charts")
        if options.get("java_script_enabled", True):
            await page.wait_for_selector("figure canvas")
            await settled(page)
        return page

    return one


async def seen(page, chart="lines"):
    """Return the days between which the chart is drawn now."""
    await settled(page)
    figure = page.locator(f"#{chart}")
    return await figure.get_attribute("data-seen-from"), await figure.get_attribute("data-seen-to")


async def swap(page):
    """Let the page ask for its charts anew, as it does when the books move, and return once they are there."""
    await page.evaluate(
        """() => new Promise((done, failed) => {
            addEventListener("htmx:afterSettle", done, {once: true});
            setTimeout(() => failed("nothing was swapped"), 5000);
            document.body.dispatchEvent(new CustomEvent("books"));
        }).then(() => 0)"""
    )
    await settled(page)


async def pixels(page, chart="lines"):
    """Return how many points of the picture have which colour."""
    return await page.evaluate(
        """(id) => {
            const canvas = document.querySelector(`#${id} canvas`);
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const found = {};
            for (let at = 0; at < data.length; at += 4)
                if (data[at + 3] === 255) {
                    const colour = `rgb(${data[at]}, ${data[at + 1]}, ${data[at + 2]})`;
                    found[colour] = (found[colour] ?? 0) + 1;
                }
            return found;
        }""",
        chart,
    )


async def test_hovering_tells_what_the_table_says(shown):
    """Under the pointer stand the day and the values of its row, in the words of the table."""
    page = await shown()
    box = await page.locator("#lines .u-over").bounding_box()
    told = page.locator("#lines .chart-told")
    await expect(told).to_be_hidden()
    await page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 20)
    await expect(told).to_be_visible()
    row = page.locator("#lines tbody tr").last
    cells = [text.strip() for text in await row.locator("th, td").all_text_contents()]
    assert cells[0] == "Oct 30, 2026"
    for cell in cells:
        await expect(told).to_contain_text(cell)
    inside = await told.bounding_box()
    assert inside["x"] + inside["width"] <= box["x"] + box["width"] + 1
    await page.mouse.move(box["x"] + 40, box["y"] - 200)
    await expect(told).to_be_hidden()


async def test_dragging_zooms_and_a_double_click_shows_all(shown):
    """A stretch that is drawn over with the pointer fills the chart; a double click brings everything back."""
    page = await shown()
    whole = await seen(page)
    assert whole == ("2026-09-01", "2026-10-30")
    box = await page.locator("#lines .u-over").bounding_box()
    await page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60, steps=5)
    await page.mouse.up()
    first, last = await seen(page)
    assert "2026-09-13" <= first <= "2026-09-18"
    assert "2026-09-28" <= last <= "2026-10-02"
    await page.mouse.dblclick(box["x"] + 50, box["y"] + 50)
    assert await seen(page) == whole


async def test_the_keys_do_what_the_pointer_does(shown):
    """The range's buttons are reached by Tab and have names; arrow keys tell of one day after the other."""
    page = await shown()
    whole = await seen(page)
    zoom_in = page.get_by_role("button", name="Zoom in")
    await zoom_in.focus()
    await page.keyboard.press("Enter")
    near = await seen(page)
    assert whole[0] < near[0] < near[1] < whole[1]
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Zoom out")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    assert (await seen(page))[0] < near[0]
    await page.get_by_role("button", name="Later").press("Enter")
    assert await seen(page) == near
    await page.get_by_role("button", name="Show all").press("Enter")
    assert await seen(page) == whole
    await expect(page.get_by_role("button", name="Show all")).to_have_attribute("aria-disabled", "true")
    await expect(page.get_by_role("button", name="Show all")).to_be_focused()
    await page.keyboard.press("Tab")
    plot = page.get_by_role("slider", name="Lines")
    await expect(plot).to_be_focused()
    await page.keyboard.press("Home")
    await expect(plot).to_have_attribute("aria-valuetext", "Sep 1, 2026: Revenue $0.00, Commissions $0.00")
    await page.keyboard.press("ArrowRight")
    await expect(plot).to_have_attribute("aria-valuetext", "Sep 2, 2026: Revenue $37.00, Commissions $3.70")
    await expect(page.locator("#lines .chart-told")).to_contain_text("$37.00")
    await page.keyboard.press("Escape")
    await expect(page.locator("#lines .chart-told")).to_be_hidden()


async def test_a_day_out_of_sight_comes_into_sight(shown):
    """Arrow keys go on beyond the edge of what is seen, and take it along."""
    page = await shown()
    for _ in range(3):
        await page.get_by_role("button", name="Zoom in").press("Enter")
    await page.get_by_role("slider").press("End")
    assert (await seen(page))[1] == "2026-10-30"
    await expect(page.locator("#lines .chart-told")).to_contain_text("Oct 30, 2026")


async def test_no_closer_than_two_days_and_no_further_than_all(shown):
    """However often one zooms or walks, something is seen, and nothing beyond the first and the last day."""
    page = await shown()
    whole = await seen(page)

    async def press(*names):
        for name in names:
            # Also where it does nothing any more: Playwright itself would wait for it to do something.
            await page.get_by_role("button", name=name).evaluate("(button) => button.click()")

    await press(*["Zoom in"] * 8, *["Later"] * 40)
    assert await seen(page) == ("2026-10-28", "2026-10-30")
    await press("Earlier", "Earlier", *["Zoom out"] * 8, "Earlier")
    assert await seen(page) == whole


async def test_a_series_can_be_taken_away(shown):
    """A button of the legend takes its series out of the picture and out of what is told, and brings it back."""
    page = await shown()
    key = page.get_by_role("button", name="Commissions")
    colour = await key.locator("svg").evaluate("(svg) => getComputedStyle(svg).color")
    assert (await pixels(page)).get(colour)
    await key.click()
    await expect(key).to_have_attribute("aria-pressed", "false")
    assert not (await pixels(page)).get(colour)
    await page.get_by_role("slider").press("End")
    await expect(page.locator("#lines .chart-told")).not_to_contain_text("Commissions")
    await key.click()
    assert (await pixels(page)).get(colour)


async def test_a_swap_keeps_what_was_chosen(charted, shown):
    """When the page brings the chart anew, range, hidden series, open table and focus stay, and the values are new."""
    page = await shown()
    await page.get_by_role("button", name="Zoom in").press("Enter")
    await page.get_by_role("button", name="Commissions").click()
    await page.locator("#lines summary").click()
    await page.get_by_role("button", name="Later").focus()
    near, charted.add = await seen(page), 5
    await swap(page)
    assert await seen(page) == near
    await expect(page.get_by_role("button", name="Later")).to_be_focused()
    await expect(page.get_by_role("button", name="Commissions")).to_have_attribute("aria-pressed", "false")
    await expect(page.locator("#lines tbody tr").first).to_be_visible()
    assert await page.locator("#lines canvas").count() == 1
    await page.get_by_role("slider").press("Home")
    await expect(page.locator("#lines .chart-told")).to_contain_text("$0.05")
    charted.first = FIRST - timedelta(days=5)
    await swap(page)
    assert await seen(page) == ("2026-08-27", "2026-10-25")


async def test_a_swap_during_a_drag_waits_for_its_end(charted, shown):
    """Whoever draws over a stretch while the books move gets that stretch, of the new values."""
    page = await shown()
    box = await page.locator("#lines .u-over").bounding_box()
    await page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] / 3, box["y"] + 60, steps=3)
    charted.add = 700
    await swap(page)
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60, steps=3)
    await page.mouse.up()
    first, last = await seen(page)
    assert "2026-09-13" <= first <= "2026-09-18"
    assert "2026-09-28" <= last <= "2026-10-02"
    await page.get_by_role("slider").press("Home")
    await expect(page.locator("#lines .chart-told")).to_contain_text("$7.00")


async def test_another_kind_of_series_is_another_chart(charted, shown):
    """A swap that brings other series draws those, and forgets what was chosen of the old ones."""
    page = await shown()
    await page.get_by_role("button", name="Commissions").click()
    charted.series = ("Paid", "Outstanding")
    await swap(page)
    assert await page.locator("#lines canvas").count() == 1
    await expect(page.get_by_role("button", name="Outstanding")).to_have_attribute("aria-pressed", "true")


async def test_colours_follow_the_scheme(shown):
    """When the system goes dark while the page is open the chart is drawn in the colours of the dark scheme."""
    page = await shown(color_scheme="light")
    swatch = page.locator("#lines .chart-key svg").first
    light = await swatch.evaluate("(svg) => getComputedStyle(svg).color")
    assert (await pixels(page)).get(light)
    await page.emulate_media(color_scheme="dark")
    await settled(page)
    dark = await swatch.evaluate("(svg) => getComputedStyle(svg).color")
    assert dark != light
    found = await pixels(page)
    assert found.get(dark)
    assert not found.get(light)


@pytest.mark.parametrize("kind", ["stacked", "bars"])
async def test_piles_add_up(charted, shown, kind):
    """Areas and bars that are piled up reach as high as their sum, and without the lower one as high as the other."""
    charted.kinds, charted.series, charted.days, charted.add = (kind,), ("Paid", "Outstanding"), 1, 100_00
    page = await shown()

    async def heights():
        await page.get_by_role("slider").press("End")
        await settled(page)
        return await page.evaluate(
            """() => {
                const [place, ...points] = [...document.querySelectorAll(".u-over, .u-cursor-pt")]
                    .map((each) => each.getBoundingClientRect());
                return points.map((point) => place.bottom - (point.top + point.bottom) / 2)
                    .sort((one, other) => one - other);
            }"""
        )

    lower, upper = await heights()
    assert abs(upper / lower - 1.1) < 0.02
    await page.get_by_role("button", name="Paid").click()
    (alone,) = await heights()
    # The axis follows what is seen.
    assert abs(alone - upper) < 2


async def test_a_chart_fits_its_place(shown):
    """The picture is as wide as there is room, also after the window changed."""
    page = await shown()
    for width in (1280, 360, 700):
        await page.set_viewport_size({"width": width, "height": 700})
        await settled(page)
        await page.wait_for_function(
            "() => { const [plot, uplot] = ['.chart-plot', '.uplot'].map((each) => document.querySelector(each));"
            " return Math.abs(plot.clientWidth - uplot.clientWidth) < 2 }"
        )


async def test_numbers_in_the_words_of_the_visitor(charted, shown):
    """Days, amounts and axes are written as the visitor writes them."""
    charted.locale, charted.currency = "de_DE", "EUR"
    page = await shown(locale="de-DE")
    await page.get_by_role("slider").press("Home")
    await page.get_by_role("slider").press("ArrowRight")
    await expect(page.locator("#lines .chart-told")).to_contain_text("02.09.2026")
    await expect(page.locator("#lines .chart-told")).to_contain_text("37,00\N{NO-BREAK SPACE}€")


async def test_without_a_script_the_table_is_there(shown):
    """Without JavaScript there is no empty picture, and the table can be read."""
    page = await shown(java_script_enabled=False)
    await expect(page.locator("#lines .chart-box")).to_be_hidden()
    await expect(page.locator("#lines tbody tr").first).to_be_visible()


async def test_nothing_to_draw(charted, open_page):
    """A chart without rows says so."""
    charted.days = 0
    page = await open_page(charted.url)
    await page.goto("/charts")
    await expect(page.locator("#lines")).to_contain_text("No figures in this range.")


async def test_nothing_moves_for_those_who_do_not_want_it(shown):
    """With reduced motion nothing in a chart is animated."""
    page = await shown(reduced_motion="reduce")
    await page.get_by_role("button", name="Zoom in").click()
    assert await page.evaluate("document.getAnimations().length") == 0


@pytest.mark.parametrize("days", [1, 2, 60])
async def test_looks(charted, shown, look, days):
    """Every kind of chart is without a violation of WCAG, narrow and wide, light and dark."""
    charted.kinds, charted.days = ("lines", "bars", "stacked"), days
    charted.series = ("Revenue", "Commissions", "Paid", "Outstanding")
    page = await shown()
    await page.locator("#bars summary").click()
    await page.locator("#lines").get_by_role("slider").press("Home")
    await look(page, f"charts-{days}-days")
