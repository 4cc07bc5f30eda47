"""Messages as pages show them: nothing acts, nothing hides, the field at fault is marked and numbers are left alone."""

import json

from hypothesis import given
from hypothesis import strategies as st

from web.pages.raw import bytes_of, lines_of, visible

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def shown(text, path="$"):
    """Return the lines of the message, and those that are marked."""
    lines = lines_of(text, path)
    assert lines is not None
    return "\n".join(line.text for line in lines), [line.text.strip() for line in lines if line.marked]


def test_the_value_at_the_path_is_marked_whole():
    """A member, an item of a list, or all lines of an object are marked, and nothing else."""
    text = '{"total": 1.10, "items": [{"price": 2}, 3], "customer": {"id": "a", "e-mail": "b"}}'
    assert shown(text, "$.total")[1] == ['"total": 1.10,']
    assert shown(text, "$.items[0].price")[1] == ['"price": 2']
    assert shown(text, "$.items[1]")[1] == ["3"]
    assert shown(text, "$.customer")[1] == ['"customer": {', '"id": "a",', '"e-mail": "b"', "}"]
    assert shown(text, '$.customer["e-mail"]')[1] == ['"e-mail": "b"']
    assert shown(text, "$")[1] == shown(text, "$.missing")[1] == []


def test_what_was_written_is_what_is_shown():
    """Numbers keep their digits, keys that are there twice stay, and so do NaN and empty things."""
    text = '{"a": 1e400, "a": 0.10, "b": [], "c": {}, "d": NaN, "e": 12345678901234567890123}'
    assert shown(text)[0].split("\n  ")[1:] == [
        '"a": 1e400,', '"a": 0.10,', '"b": [],', '"c": {},', '"d": NaN,', '"e": 12345678901234567890123\n}'
    ]  # fmt: skip


def test_what_is_no_json_has_no_lines():
    """Broken, deep and endless messages are not taken apart, whatever they are."""
    for text in ("", "{", "[" * 100_000, "nul", '{"a":' * 5_000, json.dumps(list(range(5_000)))):
        assert lines_of(text, "$.a") is None


@given(JSON)
def test_any_json_comes_back_as_it_was(value):
    """Read again, the lines say what the message said, but for characters that are named instead."""
    text = json.dumps(value, ensure_ascii=False)
    if visible(text) == text:
        assert json.loads(shown(text)[0]) == value


@given(st.text())
def test_nothing_invisible_is_left(text):
    """No control, no mark of direction and no lone surrogate gets to the page."""
    seen = visible(text)
    assert all(each.isprintable() or each in "\n\t" or each.isspace() for each in seen)
    assert not set(seen) & set("\u202e\u200b\x00\x1b\u2028\ufeff\ud800")
    seen.encode()


@given(st.binary(max_size=100))
def test_bytes_are_dumped_whole(raw):
    """The hexadecimal column has every byte in its place."""
    told = "".join(line[10:57] for line in bytes_of(raw).split("\n") if line)
    assert bytes.fromhex(told) == raw
