"""What a bank tells by file: camt.053 and camt.054 (booked, come back), pain.002 (refused).

Read without entities, without a document type and without network.
"""

from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from typing import Any, Literal, NamedTuple, TypeAlias
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from schemas.errors import RejectedError
from schemas.money import to_minor

FILE_BYTES_MAX = 32 * 1024 * 1024
# The real ones have ten levels or so.
_DEPTH_MAX = 64

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

    Raises RejectedError `too_large`, `bad_xml` (also for entities and a document type), `unknown_document`.
    """
    if len(file) > FILE_BYTES_MAX:
        raise RejectedError("too_large", f"the file is larger than {FILE_BYTES_MAX} bytes")
    try:
        root = fromstring(file, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except DefusedXmlException as error:
        raise RejectedError("bad_xml", f"the file has what no bank sends: {type(error).__name__}") from None
    except (ParseError, ValueError, LookupError) as error:
        raise RejectedError("bad_xml", f"the file is not XML: {error}") from None
    _check_depth(root)
    kind = _name(root[0]) if len(root) else ""
    if kind == "CstmrPmtStsRpt":
        return _report(root)
    if kind in ("BkToCstmrStmt", "BkToCstmrDbtCdtNtfctn"):
        return _bookings(root)
    raise RejectedError("unknown_document", "the file is neither camt.053, camt.054 nor pain.002")


def _check_depth(root: Element) -> None:
    level = [root]
    for _ in range(_DEPTH_MAX):
        level = [child for element in level for child in element]
        if not level:
            return
    raise RejectedError("bad_xml", "the file is nested too deeply")


def _report(root: Element) -> Statement:
    movements, skipped = [], 0
    for told in _all(root, "TxInfAndSts"):
        end_to_end_id = _text(told, "OrgnlEndToEndId")
        if _text(told, "TxSts") != "RJCT" or not end_to_end_id:
            skipped += 1
            continue
        reference = _text(told, "StsId") or f"RJCT {end_to_end_id}"
        movements.append(Movement("rejected", end_to_end_id, reference, code=_text(told, "StsRsnInf", "Rsn", "Cd")))
    whole = [_text(told, "OrgnlMsgId") for told in _all(root, "OrgnlGrpInfAndSts") if _text(told, "GrpSts") == "RJCT"]
    return Statement(tuple(movements), tuple(each for each in whole if each), skipped)


def _bookings(root: Element) -> Statement:
    movements: list[Movement] = []
    skipped = 0
    for entry in _all(root, "Ntry"):
        # Older versions have the status as text, newer ones in a code below it.
        status = _text(entry, "Sts", "Cd") or _text(entry, "Sts")
        found = list(_of_entry(entry)) if status == "BOOK" else []
        movements += found
        skipped += not found
    return Statement(tuple(movements), (), skipped)


def _of_entry(entry: Element) -> Iterator[Movement]:
    details = list(_all(entry, "TxDtls"))
    for number, told in enumerate(details):
        end_to_end_id = _text(told, "Refs", "EndToEndId")
        kind = _kind(told, entry)
        # The amount of the whole entry is that of the payment where it is the only one.
        amount = _amount(told) or (_amount(entry) if len(details) == 1 else None)
        if kind is None or not end_to_end_id or amount is None:
            continue
        minor, currency = to_minor(amount[0], amount[1], "$.Amt"), amount[1]
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
    if own:
        return own
    of_entry = _text(entry, "AcctSvcrRef") or _text(entry, "NtryRef")
    if of_entry:
        return f"{of_entry} {number}" if number else of_entry
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
