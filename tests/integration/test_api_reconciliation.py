"""What a merchant is told of reconciliation: its own payouts and nobody else's, and what people say about a finding."""

from datetime import timedelta

import pytest

from ledger.payout_findings import Compared, Counts, Finding
from tests.support.api import NOW, Api, running

SINCE = NOW - timedelta(days=35)


def keep(api: Api, *findings: Finding, reason: str | None = None, at: timedelta = timedelta(0)) -> None:
    """Keep what a comparison of Stripe found: two of acme's and one of zenith's agreed."""
    assert api.paying is not None
    counts: dict[str | None, Counts] = {"acme": Counts(matched=2), "zenith": Counts(matched=1), None: Counts()}
    for finding in findings:
        counts[finding.merchant_id] = counts[finding.merchant_id].plus(finding.kind)
    api.paying.findings.keep(
        Compared("stripe", NOW + at, SINCE, NOW + at, NOW + at, reason, "worker", counts, findings, 0)
    )


def lost(number: int, merchant_id: str | None = "acme") -> Finding:
    """Return a payment that is on no books."""
    partner_id = None if merchant_id is None else f"p_{number}"
    return Finding(
        "stripe", "theirs_only", "not_in_books", merchant_id, partner_id, f"po_{number:016x}", (f"tr_{number}",), None,
        (1_250, "USD"),
    )  # fmt: skip


async def test_before_anything_was_compared(api: Api) -> None:
    """Every rail says how it is compared, and that it never was."""
    told = (await api.get("/payout-reconciliation")).json
    assert {rail["rail"]: (rail["compares"], rail["last"]) for rail in told["rails"]} == {
        "stripe": ("list", None), "paypal": ("one_by_one", None), "bank": ("statements", None),
        "manual": ("nothing", None),
    }  # fmt: skip
    assert (told["findings"], told["findings_left_out"]) == ([], 0)


async def test_a_merchant_sees_what_is_its_own(api: Api) -> None:
    """Counts and findings are of one merchant's payouts; what is nobody's is the operator's alone."""
    keep(api, lost(1), lost(2, "zenith"), lost(3, None))
    for merchant_id, number, matched in (("acme", 1, 2), ("zenith", 2, 1)):
        told = (await api.get("/payout-reconciliation", of=merchant_id)).json
        (last,) = [rail["last"] for rail in told["rails"] if rail["rail"] == "stripe"]
        assert (last["status"], last["matched"], last["theirs_only"], last["several"]) == ("complete", matched, 1, 0)
        (found,) = told["findings"]
        assert (found["payout_id"], found["references"]) == (f"po_{number:016x}", [f"tr_{number}"])
        assert (found["theirs"], found["ours"]) == ({"amount": "12.50", "currency": "USD"}, None)
    assert api.paying is not None
    assert len(api.paying.findings.open()) == 3


async def test_a_comparison_that_was_cut_short_says_so(api: Api) -> None:
    """A provider that did not answer everything leaves `incomplete`, and no word of its own."""
    keep(api, reason="HTTP 500 of sk_live_secret")
    answer = await api.get("/payout-reconciliation")
    (last,) = [rail["last"] for rail in answer.json["rails"] if rail["last"]]
    assert last["status"] == "incomplete"
    assert "sk_live" not in answer.text


async def test_somebody_says_what_a_finding_was(api: Api) -> None:
    """A declaration resolves a finding, once, for whoever may move money; it is then on record with who said it."""
    keep(api, lost(1), lost(2))
    listed = (await api.get("/payout-reconciliation/findings?status=open&limit=1")).json
    rest = (await api.get(f"/payout-reconciliation/findings?limit=1&cursor={listed['next_cursor']}")).json
    ids = [listed["data"][0]["id"], rest["data"][0]["id"]]
    assert rest["next_cursor"] is None
    path = f"/payout-reconciliation/findings/{ids[0]}/resolve"
    key = {"headers": {"Idempotency-Key": "k1"}}
    first = await api.post(path, {"declared": "paid by hand"}, **key)
    again = await api.post(path, {"declared": "paid by hand"}, **key)
    assert (first.status, first.json["declared"], again.json) == (200, "paid by hand", first.json)
    assert first.json["resolved_by"]["kind"] == "key"
    assert (await api.post(path, {"declared": "other"}, **key)).code == "idempotency_key_reused"
    assert (await api.post(path, {"declared": "other"})).code == "resolved_otherwise"
    assert (await api.post(path, {"declared": "paid by hand"}, of="zenith")).status == 404
    assert (await api.post(path.replace(ids[0], "pf_0"), {"declared": "x"})).status == 404
    assert (await api.post(path, {"declared": " "})).status == 422
    resolved = (await api.get("/payout-reconciliation/findings?status=resolved")).json["data"]
    assert [each["id"] for each in resolved] == [ids[0]]
    assert [each["id"] for each in (await api.get("/payout-reconciliation")).json["findings"]] == [ids[1]]


async def test_who_is_paid_by_what_nobody_knows_of_is_frozen(api: Api) -> None:
    """A partner of whom the provider has a payment that is on no books is frozen; seen again, or released, no more."""
    partner = await api.partner()
    finding = lost(1)._replace(partner_id=partner["id"])
    keep(api, finding)
    standing = (await api.get(f"/partners/{partner['id']}/payout-standing")).json
    assert (standing["frozen"], standing["history"][0]["reason"]) == ("theirs_only", "theirs_only")
    await api.post(f"/partners/{partner['id']}/release-payouts", {"reason": "looked at"})
    keep(api, finding, at=timedelta(days=1))
    assert (await api.get(f"/partners/{partner['id']}/payout-standing")).json["frozen"] is None


async def test_operators_are_told_by_a_metric(api: Api) -> None:
    """Open findings of everybody are counted for Prometheus, per rail."""
    keep(api, lost(1), lost(2, "zenith"), lost(3, None))
    metrics = (await api.ask("GET", "//metrics", of=None)).text
    assert 'commission_ledger_payout_findings_open{rail="stripe"} 3.0' in metrics


async def test_where_nobody_is_paid(database_url: str) -> None:
    """Without payouts reconciliation can be read, and nothing be resolved."""
    async with running(database_url, payouts=None) as api:
        assert (await api.get("/payout-reconciliation")).status == 200
        answer = await api.post("/payout-reconciliation/findings/pf_1/resolve", {"declared": "x"})
        assert (answer.status, answer.code) == (409, "payouts_not_set_up")


@pytest.mark.parametrize("query", ["status=odd", "cursor=x", "limit=0"])
async def test_bad_questions(api: Api, query: str) -> None:
    """A query that cannot be is refused, and the field is named."""
    answer = await api.get(f"/payout-reconciliation/findings?{query}")
    assert (answer.status, query.partition("=")[0] in answer.text) == (422, True)
