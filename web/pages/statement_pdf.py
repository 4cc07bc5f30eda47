"""A statement as a PDF document: the same lines as the page and the CSV, on A4, with a font that it brings along."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from babel import Locale
from fpdf import FPDF

from schemas.api_statements import Statement
from schemas.money import Money
from web.pages import formats

_FONTS = Path(__file__).parents[1] / "fonts"
_FONT = "DejaVu"
_MARGIN_MM, _LINE_MM, _SMALL, _NORMAL, _LARGE = 15.0, 5.0, 8, 9, 18
# The widths of the columns, which take up all of the page between its margins.
_COLUMNS_MM = (26.0, 44.0, 36.0, 30.0, 22.0, 22.0)
_HEADS = ("Date", "What", "Order", "Reference", "Amount", "Balance")
_FIRST_NUMBER = 4


# They tell which letters a font has not, which may be those of somebody's name, and much of what nobody asked.
for _library in ("fpdf", "fontTools"):
    logging.getLogger(_library).setLevel(logging.ERROR)


class About(NamedTuple):
    """What a document says beside the figures, and how it writes them."""

    program: str
    partner: str
    month: str
    words: Mapping[str, str]
    locale: Locale
    made_at: datetime
    zone: ZoneInfo

    def money(self, value: Money) -> str:
        """Return the amount as the reader writes it."""
        return formats.money(value, self.locale)


def pdf_of(statement: Statement, about: About) -> bytes:
    """Return the document. Takes a moment of computing (the font is cut down to what is used): not for the event loop.

    Letters that the font has not (Chinese, say) are shown as boxes.
    """
    document = _Document(about)
    document.add_page()
    document.head(statement)
    document.columns(_HEADS)
    for line in statement.lines:
        cells = (
            formats.day(line.on, about.locale), about.words[line.type], line.order_id or "", line.reference or "",
            about.money(line.amount) if line.amount else "", about.money(line.balance),
        )  # fmt: skip
        document.row(cells, strong=line.amount is None)
    document.standing(statement)
    return bytes(document.output())


class _Document(FPDF):
    def __init__(self, about: About) -> None:
        super().__init__(format="A4")
        self._about = about
        self.add_font(_FONT, "", _FONTS / "DejaVuSans.ttf")
        self.add_font(_FONT, "B", _FONTS / "DejaVuSans-Bold.ttf")
        self.set_margin(_MARGIN_MM)
        self.set_auto_page_break(auto=True, margin=_MARGIN_MM + _LINE_MM)
        self.set_title(f"Statement, {about.month}")
        self.set_author(about.program)
        self.set_lang("en")
        self.set_creation_date(about.made_at)

    def footer(self) -> None:
        """Write below each page whose it is, when it was made, and which page of how many."""
        about = self._about
        self.set_y(-_MARGIN_MM)
        self._font(_SMALL)
        self.set_text_color(90)
        made = formats.moment(about.made_at, about.locale, about.zone)
        self.cell(0, _LINE_MM, f"As it was known on {made} ({about.zone.key})")
        self.set_x(_MARGIN_MM)
        self.cell(0, _LINE_MM, f"{self.page_no()} / {{nb}}", align="R")
        self.set_text_color(0)

    def head(self, statement: Statement) -> None:
        """Write what this is, and the four figures that it comes to."""
        about = self._about
        self._font(_LARGE, strong=True)
        self.cell(0, _LINE_MM * 2, "Statement", new_x="LMARGIN", new_y="NEXT")
        self._font(_NORMAL)
        for told in (f"{about.month}, {statement.currency}", f"Program: {about.program}", f"Partner: {about.partner}"):
            self.multi_cell(0, _LINE_MM, told, new_x="LMARGIN", new_y="NEXT")
        self.ln(_LINE_MM)
        figures = (
            (about.words["opening"], statement.opening), ("Earned", statement.earned),
            ("Paid", statement.paid), (about.words["closing"], statement.closing),
        )  # fmt: skip
        self._figures(figures)
        self.ln(_LINE_MM)

    def standing(self, statement: Statement) -> None:
        """Write how far what is owed at the end is on its way."""
        owed = statement.standing
        self.ln(_LINE_MM)
        self._font(_NORMAL, strong=True)
        self.cell(0, _LINE_MM, "Of the balance at the end", new_x="LMARGIN", new_y="NEXT")
        self._figures(
            (("Pending", owed.pending), ("On hold", owed.held), ("Payable", owed.payable),
             ("In a payout", owed.in_payout))
        )  # fmt: skip

    def columns(self, heads: Sequence[str]) -> None:
        """Write the heads of the columns."""
        self.set_fill_color(235)
        self._font(_SMALL, strong=True)
        for number, (head, width) in enumerate(zip(heads, _COLUMNS_MM, strict=True)):
            self.cell(width, _LINE_MM + 1, head, align=_align(number), fill=True)
        self.ln(_LINE_MM + 1)

    def row(self, cells: Sequence[str], *, strong: bool) -> None:
        """Write one line, as high as its longest cell; on a new page below the heads of the columns again."""
        self._font(_SMALL, strong=strong)
        pieces = [self._broken(cell, width) for cell, width in zip(cells, _COLUMNS_MM, strict=True)]
        height = max(map(len, pieces)) * _LINE_MM
        if self.will_page_break(height):
            self.add_page()
            self.columns(_HEADS)
            self._font(_SMALL, strong=strong)
        top = self.get_y()
        left = _MARGIN_MM
        for number, (lines, width) in enumerate(zip(pieces, _COLUMNS_MM, strict=True)):
            for down, line in enumerate(lines):
                self.set_xy(left, top + down * _LINE_MM)
                self.cell(width, _LINE_MM, line, align=_align(number))
            left += width
        self.set_xy(_MARGIN_MM, top + height)
        self.set_draw_color(215)
        self.line(_MARGIN_MM, top + height, _MARGIN_MM + sum(_COLUMNS_MM), top + height)

    def _figures(self, figures: Sequence[tuple[str, Money]]) -> None:
        for word, value in figures:
            self._font(_NORMAL)
            self.cell(60, _LINE_MM, word)
            self._font(_NORMAL, strong=True)
            self.cell(40, _LINE_MM, self._about.money(value), align="R", new_x="LMARGIN", new_y="NEXT")

    def _broken(self, text: str, width: float) -> list[str]:
        """Return the text in pieces that fit into the width, broken anywhere: ids have no spaces."""
        room = width - 2 * self.c_margin
        if self.get_string_width(text) <= room:
            return [text]
        lines = [""]
        for each in text:
            if lines[-1] and self.get_string_width(lines[-1] + each) > room:
                lines.append("")
            lines[-1] += each
        return [line.strip() for line in lines]

    def _font(self, size: int, *, strong: bool = False) -> None:
        self.set_font(_FONT, "B" if strong else "", size)


def _align(number: int) -> str:
    return "R" if number >= _FIRST_NUMBER else "L"
