"""What a bank tells by file: camt.053 and camt.054 (booked, come back), pain.002 (refused).

Read without entities, without a document type and without network.
"""

from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from io import BytesIO
from typing import Any, Literal, NamedTuple, TypeAlias
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from schemas.errors import RejectedError
from schemas.money import to_minor

FILE_BYTES_MAX = 32 * 1024 * 1024
# The real ones have ten levels or so, and some sixty elements an entry.
_DEPTH_MAX = 64
_ELEMENTS_MAX = 1_500_000
# What is read of which document.
_PARTS = {
    "CstmrPmtStsRpt": frozenset(["TxInfAndSts", "OrgnlGrpInfAndSts"]),
    "BkToCstmrStmt": frozenset(["Ntry"]),
    "BkToCstmrDbtCdtNtfctn": frozenset(["Ntry"]),
}
# More than any bank's; our index could not take thousands.
_REFERENCE_LENGTH_MAX = 128

Kind: TypeAlias = Literal["settled", "returned", "rejected"]


class Movement(NamedTuple):
    """What a file says of one payment. `reference` is the bank's, the same whenever it tells of the same movement.

    `amount_minor` and `currency` are None for what was refused, which moves nothing.
    """

    kind: Kind
    end_to_end_id: str
    reference: str
    amount_minor: int | None = None
    currency: str | None = None
    code: str | None = None


class Statement(NamedTuple):
    """What a file tells; `skipped` is how many entries are not booked, or are no payments and no returns of them.

    `refused_messages` are those (`MsgId`) that were refused as a whole.
    """

    movements: tuple[Movement, ...]
    refused_messages: tuple[str, ...] = ()
    skipped: int = 0


def read_statement(file: bytes) -> Statement:
    """Return what the file tells, whichever of the three kinds and whichever version of it.

    Raises RejectedError `too_large`, `bad_xml` (also for entities and a document type), `unknown_document`, and as
    `schemas.money.to_minor` does for an amount that is none.
    """
    if len(file) > FILE_BYTES_MAX:
        raise RejectedError.at("$", "too_large", f"the file is larger than {FILE_BYTES_MAX} bytes")
    try:
        return _statement(file)
    except DefusedXmlException as error:
        raise RejectedError.at("$", "bad_xml", f"the file has what no bank sends: {type(error).__name__}") from None
    except (ParseError, ValueError, LookupError) as error:
        raise RejectedError.at("$", "bad_xml", f"the file is not XML: {error}") from None


def _statement(file: bytes) -> Statement:
    movements: list[Movement] = []
    refused: list[str] = []
    skipped = entries = 0
    for part in _parts(file):
        if _name(part) == "OrgnlGrpInfAndSts":
            whole = _text(part, "OrgnlMsgId") if _text(part, "GrpSts") == "RJCT" else None
            refused += [whole] if whole else []
            continue
        found = list(_refused(part) if _name(part) == "TxInfAndSts" else _booked(part, f"$.Ntry[{entries}]"))
        entries += 1
        movements += found
        skipped += not found
    return Statement(tuple(movements), tuple(refused), skipped)


def _parts(file: bytes) -> Iterator[Element]:
    """Yield what is read of the file, part after part; of all others nothing is kept, however many there are.

    Raises RejectedError, ParseError, DefusedXmlException, as soon as they are met.
    """
    above: list[Element] = []
    wanted: frozenset[str] | None = None
    began = inside = 0
    for event, element in iterparse(
        BytesIO(file), ("start", "end"), forbid_dtd=True, forbid_entities=True, forbid_external=True
    ):
        name = _name(element)
        if event == "start":
            above.append(element)
            began += 1
            if len(above) == 2:  # noqa: PLR2004 - the root's child says what the document is
                wanted = _PARTS.get(name)
            if len(above) > 1 and wanted is None:
                break
            _check_bounds(len(above), began)
            inside += name in (wanted or ())
            continue
        above.pop()
        if name in (wanted or ()):
            inside -= 1
            if not inside:
                yield element
        if not inside and above:
            above[-1].remove(element)
    if wanted is None:
        raise RejectedError.at("$", "unknown_document", "the file is neither camt.053, camt.054 nor pain.002")


def _check_bounds(depth: int, elements: int) -> None:
    if depth > _DEPTH_MAX:
        raise RejectedError.at("$", "bad_xml", "the file is nested too deeply")
    if elements > _ELEMENTS_MAX:
        raise RejectedError.at("$", "too_large", f"the file has more than {_ELEMENTS_MAX} elements; send it in parts")


def _refused(told: Element) -> Iterator[Movement]:
    end_to_end_id = _text(told, "OrgnlEndToEndId")
    if _text(told, "TxSts") == "RJCT" and end_to_end_id:
        reference = _text(told, "StsId") or f"RJCT {end_to_end_id}"
        yield Movement("rejected", end_to_end_id, reference, code=_text(told, "StsRsnInf", "Rsn", "Cd"))


def _booked(entry: Element, path: str) -> Iterator[Movement]:
    # Older versions have the status as text, newer ones in a code below it.
    if (_text(entry, "Sts", "Cd") or _text(entry, "Sts")) == "BOOK":
        yield from _of_entry(entry, path)


def _of_entry(entry: Element, path: str) -> Iterator[Movement]:
    details = list(_all(entry, "TxDtls"))
    for number, told in enumerate(details):
        end_to_end_id = _text(told, "Refs", "EndToEndId")
        kind = _kind(told, entry)
        # The amount of the whole entry is that of the payment where it is the only one.
        amount = _amount(told) or (_amount(entry) if len(details) == 1 else None)
        if kind is None or not end_to_end_id or amount is None:
            continue
        minor, currency = to_minor(amount[0], amount[1], f"{path}.Amt"), amount[1]
        code = _text(told, "RtrInf", "Rsn", "Cd") if kind == "returned" else None
        reference = _reference(told, entry, number, (kind, end_to_end_id, str(minor), currency))
        yield Movement(kind, end_to_end_id, reference, minor, currency, code)


def _kind(told: Element, entry: Element) -> Kind | None:
    """Return whether the payment was booked or came back, None where it is neither."""
    direction = _text(told, "CdtDbtInd") or _text(entry, "CdtDbtInd")
    if direction == "CRDT":
        return "returned" if _find(told, "RtrInf") is not None else None
    is_reversal = (_text(entry, "RvslInd") or "false") in ("true", "1")
    return "settled" if direction == "DBIT" and not is_reversal else None


def _reference(told: Element, entry: Element, number: int, words: tuple[str, ...]) -> str:
    """Return the bank's own reference; where it gives none, what is the same whenever the same entry is told."""
    own = _text(told, "Refs", "AcctSvcrRef") or _text(told, "Refs", "TxId")
    of_entry = _text(entry, "AcctSvcrRef") or _text(entry, "NtryRef")
    found = own or (f"{of_entry} {number}" if of_entry and number else of_entry)
    if found:
        return found if len(found) <= _REFERENCE_LENGTH_MAX else sha256(found.encode()).hexdigest()[:32]
    booked = _text(entry, "BookgDt", "Dt") or _text(entry, "BookgDt", "DtTm") or ""
    return sha256("\n".join((*words, booked[: len(date.min.isoformat())])).encode()).hexdigest()[:32]


def _amount(told: Element) -> tuple[str, str] | None:
    for path in (("Amt",), ("AmtDtls", "TxAmt", "Amt"), ("AmtDtls", "InstdAmt", "Amt")):
        found = _find(told, *path)
        if found is not None and found.text and found.get("Ccy"):
            return found.text.strip(), str(found.get("Ccy"))
    return None


def _all(element: Element, name: str) -> Iterator[Element]:
    return (each for each in element.iter() if _name(each) == name)


def _find(element: Element, *path: str) -> Element | None:
    found: Element | None = element
    for step in path:
        found = next((each for each in found if _name(each) == step), None) if found is not None else None
    return found


def _text(element: Element, *path: str) -> str | None:
    found = _find(element, *path)
    text = found.text if found is not None else None
    return (text or "").strip() or None


def _name(element: Any) -> str:
    """Return the element's name without its namespace: the versions differ in nothing else that is read here."""
    return str(element.tag).rpartition("}")[2]
