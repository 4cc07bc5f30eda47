"""What every template keeps to: texts that can be translated, nothing inline, forms with their token."""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Comment, Doctype

from web.pages.render import ENVIRONMENT

FOLDER = Path(__file__).parents[2] / "web" / "templates"
NAMES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.html"))
# Attributes whose text people read or hear.
READ = ("alt", "aria-label", "aria-description", "placeholder", "title")
# Names and file formats, which are the same in every language.
SAME = {"Commission", "Ledger", "CSV", "JSON", "Lines", "PDF", "API"}
# What a macro writes into a tag: attributes, which the parser cannot know for what they are.
_ATTRIBUTE = re.compile(r'[a-z-]+="[^"]*"|\b(?:required|checked|selected|open|hidden)\b')
_WORD = re.compile(r"[^\W\d_]{2,}")


def plain(name):
    """Return the template's HTML as it stands, with a mark for each expression; what is translated is left out."""
    parts, translated, within = [], False, False
    for _, kind, value in ENVIRONMENT.lex((FOLDER / name).read_text(encoding="utf-8"), name):
        if kind in ("variable_begin", "block_begin"):
            within = True
            parts.append("\u2022" if kind == "variable_begin" else "")
        elif kind in ("variable_end", "block_end"):
            within = False
        elif within and kind == "name" and value in ("trans", "endtrans"):
            translated = value == "trans"
        elif kind == "data" and not translated:
            parts.append(value)
    return BeautifulSoup("".join(parts), "html.parser")


@pytest.mark.parametrize("name", NAMES)
def test_every_text_can_be_translated(name):
    """What people read on a page goes through `_()` or `{% trans %}`, in texts and in attributes."""
    soup = plain(name)
    for code in soup.find_all(["code", "pre"]):
        code.decompose()  # commands and messages are the same in every language
    texts = [str(each) for each in soup.find_all(string=True) if not isinstance(each, Comment | Doctype)]
    texts += [str(each[read]) for each in soup.find_all(True) for read in READ if each.has_attr(read)]
    bare = [text.strip() for text in texts if set(_WORD.findall(_ATTRIBUTE.sub("", text))) - SAME]
    assert bare == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_stands_inline(name):
    """No script, style or handler stands in a page itself: the policy that keeps foreign ones out forbids them all."""
    for each in plain(name).find_all(True):
        assert each.name != "style"
        assert each.name != "script" or each.has_attr("src"), each
        assert not [key for key in each.attrs if key == "style" or key.startswith(("on", "hx-on"))], each


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_trusted(name):
    """Every value is escaped: no template calls one safe, or switches escaping off."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape|Markup", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_form_that_changes_something_carries_its_token(name):
    """Every form that is posted carries what proves whose page it comes from, where somebody is logged in."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    if 'extends "plain.html"' in text:
        return  # for strangers, who have no session that a token could be of: `web.sessions.check_site`
    for form in re.findall(r'<form\b[^>]*method="post".*?</form>', text, re.DOTALL):
        assert "hidden()" in form or 'name="csrf"' in form, form
