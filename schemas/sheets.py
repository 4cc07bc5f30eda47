"""Answers of the API as rows of a CSV file: the same members, flat, under the same names (`commission.amount`).

A member that is a list of amounts per currency (a customer's revenue) makes a row for each of them: currencies are
never added together. Text that a spreadsheet would take for a formula has an apostrophe in front (`schemas.rows`).
"""

import csv
import io
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import orjson
from pydantic import BaseModel

from schemas.money import Money
from schemas.rows import neutral

_BETWEEN = "|"


class Column(NamedTuple):
    """A column: its name, the members that lead to its value, and how the value is written."""

    name: str
    path: tuple[str, ...]
    written: Callable[[Any], str]


class Sheet:
    """Writes answers of one kind as CSV (RFC 4180: commas, CRLF, UTF-8), under one heading."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._columns, self._many = _columns(model)
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self._columns]

    def heading(self) -> bytes:
        """Return the first line, which names the columns."""
        return self._encoded([self.names])

    def lines(self, answers: Sequence[BaseModel]) -> bytes:
        """Return the lines of these answers."""
        return self._encoded(
            [column.written(_at(row, column.path)) for column in self._columns]
            for answer in answers
            for row in self._rows(answer.model_dump(mode="json", by_alias=True))
        )

    def _rows(self, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self._many is None:
            yield told
            return
        for each in told[self._many] or [None]:
            yield told | {self._many: each}

    def _encoded(self, rows: Any) -> bytes:
        self._writer.writerows(rows)
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return text.encode()


def listed(texts: Sequence[str]) -> str:
    """Return several texts as one cell, with `|` between them; a `|` or backslash of their own has a backslash."""
    return _BETWEEN.join(text.replace("\\", "\\\\").replace(_BETWEEN, "\\" + _BETWEEN) for text in texts)


def unlisted(cell: str) -> list[str]:
    """Return the texts that `listed` made the cell of."""
    texts, escaped = [""], False
    for each in cell:
        if escaped or each not in ("\\", _BETWEEN):
            texts[-1] += each
            escaped = False
        elif each == "\\":
            escaped = True
        else:
            texts.append("")
    return texts if cell else []


def _columns(model: type[BaseModel]) -> tuple[list[Column], str | None]:
    """Return the columns, and the member that makes several rows of one answer."""
    found: list[Column] = []
    many: str | None = None
    for name, kind in _members(model):
        inner = _model_in_list(kind)
        if many is None and inner is not None and "currency" in inner.model_fields:
            many = name
            found += _below(name, inner)
        else:
            found += _of(name, kind)
    return found, many


def _of(name: str, kind: Any) -> list[Column]:
    if kind is Money:
        return [
            Column(f"{name}.amount", (name, "amount"), _plain),
            Column(f"{name}.currency", (name, "currency"), _text),
        ]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _below(name, kind)
    return [Column(name, (name,), _writer_of(kind))]


def _below(name: str, model: type[BaseModel]) -> list[Column]:
    columns = [column for member, kind in _members(model) for column in _of(member, kind)]
    return [Column(f"{name}.{column.name}", (name, *column.path), column.written) for column in columns]


def _members(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    model.model_rebuild()  # a member's type may stand further down in its file
    for name, field in model.model_fields.items():
        yield field.serialization_alias or field.alias or name, _bare(field.annotation)


def _bare(kind: Any) -> Any:
    """Return the type without what is said about it, and without None."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        some = [each for each in get_args(kind) if each is not types.NoneType]
        return _bare(some[0]) if len(some) == 1 else kind
    return kind


def _model_in_list(kind: Any) -> type[BaseModel] | None:
    inner = _bare(get_args(kind)[0]) if get_origin(kind) is list else None
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def _writer_of(kind: Any) -> Callable[[Any], str]:
    if get_origin(kind) is list and _bare(get_args(kind)[0]) is str:
        return _list
    if get_origin(kind) in (list, dict, Union, types.UnionType):
        return _json
    return _text if kind is str or get_origin(kind) is Literal else _plain


def _text(value: Any) -> str:
    return "" if value is None else neutral(value)


def _list(value: Any) -> str:
    return "" if value is None else neutral(listed(value))


def _json(value: Any) -> str:
    return "" if value is None else orjson.dumps(value).decode()


def _plain(value: Any) -> str:
    """Numbers, days and instants, as in JSON: nothing that a person wrote."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _at(told: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if told is None:
            return None
        told = told[name]
    return told
