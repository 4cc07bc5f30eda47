"""What a bank would send: camt.053, camt.054 and pain.002, of the versions that are about."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One entry of a statement. `back`: the reason for which it came back."""

    end_to_end_id: str | None
    amount: str = "12.50"
    currency: str = "EUR"
    direction: str = "DBIT"
    status: str = "BOOK"
    reference: str | None = "BANK-1"
    back: str | None = None
    reversal: bool = False


def camt(*entries: Entry, kind: str = "camt.054.001.08", amount_at: str = "entry") -> bytes:
    """Return a statement (camt.053) or a notification (camt.054)."""
    outer, inner = ("BkToCstmrStmt", "Stmt") if "053" in kind else ("BkToCstmrDbtCdtNtfctn", "Ntfctn")
    body = "".join(_entry(entry, kind, amount_at) for entry in entries)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:{kind}"><{outer}>'
        f"<GrpHdr><MsgId>1</MsgId></GrpHdr><{inner}><Id>1</Id>{body}</{inner}></{outer}></Document>"
    ).encode()


def _entry(entry: Entry, kind: str, amount_at: str) -> str:
    amount = f'<Amt Ccy="{entry.currency}">{entry.amount}</Amt>'
    status = entry.status if kind.endswith(".02") else f"<Cd>{entry.status}</Cd>"
    own = {"entry": "", "amount": amount, "details": f"<AmtDtls><TxAmt>{amount}</TxAmt></AmtDtls>"}[amount_at]
    refs = f"<AcctSvcrRef>{entry.reference}</AcctSvcrRef>" if entry.reference else ""
    refs += f"<EndToEndId>{entry.end_to_end_id}</EndToEndId>" if entry.end_to_end_id else ""
    back = f"<RtrInf><Rsn><Cd>{entry.back}</Cd></Rsn></RtrInf>" if entry.back else ""
    reversal = "<RvslInd>true</RvslInd>" if entry.reversal else ""
    return (
        f"<Ntry>{amount}<CdtDbtInd>{entry.direction}</CdtDbtInd>{reversal}<Sts>{status}</Sts>"
        "<BookgDt><Dt>2026-11-25</Dt></BookgDt><NtryDtls><TxDtls>"
        f"<Refs>{refs}</Refs>{own}{back}</TxDtls></NtryDtls></Ntry>"
    )


def pain002(*end_to_end_ids: str, message_id: str = "x", group: str = "PART", status: str = "RJCT") -> bytes:
    """Return a report that refuses these payments, or (`group="RJCT"`) the message as a whole."""
    body = "".join(
        f"<TxInfAndSts><OrgnlEndToEndId>{each}</OrgnlEndToEndId><TxSts>{status}</TxSts>"
        "<StsRsnInf><Rsn><Cd>AC04</Cd></Rsn></StsRsnInf></TxInfAndSts>"
        for each in end_to_end_ids
    )
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt><OrgnlGrpInfAndSts>'
        f"<OrgnlMsgId>{message_id}</OrgnlMsgId><GrpSts>{group}</GrpSts></OrgnlGrpInfAndSts>"
        f"<OrgnlPmtInfAndSts>{body}</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>"
    ).encode()
