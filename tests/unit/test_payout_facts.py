"""Every row of the payouts' crash table, every provider fact and every bad input, with the tests that prove it.

A reader finds here what is promised, and where to look; that each of the tests is there is checked. Those of the rails
speak by HTTP to doubles that check what they are told and keep the truth, with the real SDK of Stripe and our client of
PayPal. Faults made of real processes are in tests/chaos/test_payout_chaos.py.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RAIL, RUNS, SEARCH = "integration/test_payouts_by_rail", "integration/test_payout_runs", "property/test_payout_search"
STRIPE, PAYPAL, CONTRACT = (
    "integration/test_rail_stripe",
    "integration/test_rail_paypal",
    "integration/test_rail_contracts",
)
ACCOUNTS, HOOKS = "integration/test_stripe_accounts", "integration/test_paypal_webhooks"
BANK, FILES, METHODS = "integration/test_rail_bank", "unit/test_bank_files", "unit/test_payout_methods"
CHAOS, CORE, SAGA = "chaos/test_payout_chaos", "unit/test_payouts", "unit/test_payout_saga"
LIMITED, RESTORE = "integration/test_rails_limited", "integration/test_payout_restore"

WHERE_IT_MAY_STOP = {
    "before the reservation commits: request again": [
        f"{RUNS}::test_a_run_that_was_cut_short_goes_on_and_makes_the_same_payouts",
        f"{CHAOS}::test_kill_9_in_the_middle_of_a_run",
    ],
    "after PayoutRequested: the worker starts attempt 1": [f"{RAIL}::test_a_payout_is_paid"],
    "after PayoutSubmissionStarted, before or in the call: look up, then the same again": [
        f"{RAIL}::test_a_worker_that_dies_at_the_call", f"{RAIL}::test_after_any_fault_it_is_paid_once",
        f"{CHAOS}::test_kill_9_in_the_middle_of_paying",
    ],
    "executed, answer lost: look up, compare, adopt": [
        f"{RAIL}::test_after_any_fault_it_is_paid_once", f"{RAIL}::test_another_amount_is_not_adopted",
    ],
    "answer read, commit lost": [f"{RAIL}::test_a_commit_that_is_lost_after_the_answer"],
    "webhook before our commit; doubled, reordered, late": [f"{RAIL}::test_a_webhook_before_our_commit"],
    "webhooks that never come": [f"{RAIL}::test_money_that_comes_back_is_owed_again"],
    "two workers": [
        f"{RAIL}::test_two_workers", f"{RUNS}::test_two_workers_at_once_pay_everybody_once",
        f"{CHAOS}::test_a_frozen_worker_and_a_database_that_goes_away",
    ],
    "window over and still unknown: review, never send": [
        f"{RAIL}::test_after_the_window_nothing_is_sent",
        f"{RAIL}::test_a_key_that_answers_500_for_as_long_as_it_lasts",
    ],
    "success seen after failed": [f"{RAIL}::test_a_success_after_a_failure_raises_the_alarm"],
    "two transfers for one payout": [f"{RAIL}::test_two_transfers_for_one_payout_raise_the_alarm"],
    "failed, or come back, while the answer was lost": [
        f"{RAIL}::test_what_failed_while_its_answer_was_lost_is_not_sent_for_ever",
        f"{RAIL}::test_what_came_back_while_its_answer_was_lost_is_left_to_a_person",
    ],
    "database restored from backup": [f"{RESTORE}::test_the_drill"],
    "anything at all, in any order": [
        f"{SEARCH}::test_whatever_fails_nobody_is_paid_twice_and_the_books_are_the_providers",
        f"{SEARCH}::test_the_search_finds_what_pays_twice", f"{CHAOS}::test_a_worker_that_is_wrong_is_found_out",
    ],
}  # fmt: skip

FACTS_OF_STRIPE = {
    "one transfer a payout, with its group and metadata": [f"{STRIPE}::test_a_payout_is_one_transfer"],
    "no failed state, only reversals, which are a running total": [f"{STRIPE}::test_reversals_are_a_running_total"],
    "a key lasts a day": [f"{STRIPE}::test_a_key_ends_and_the_transfer_is_still_found"],
    "a key replays executed 400s, and 500s": [
        f"{STRIPE}::test_no_balance_is_definite", f"{RAIL}::test_a_key_that_answers_500_for_as_long_as_it_lasts",
    ],
    "the body and the key are ours, verbatim": [f"{STRIPE}::test_the_body_goes_out_as_it_was_written_down"],
    "errors that escape the SDK are unknown": [
        f"{STRIPE}::test_a_foreign_exception_is_unknown", f"{STRIPE}::test_what_is_not_definite_is_unknown",
    ],
    "no telemetry": [f"{STRIPE}::test_the_sdk_writes_nothing_at_home"],
    "the closed list of rejections": [f"{STRIPE}::test_the_closed_list_of_rejections"],
    "idempotency_error is our bug": [f"{STRIPE}::test_another_body_under_the_key_is_our_bug"],
    "401 and 403 stop the rail": [
        f"{STRIPE}::test_bad_credentials_stop_the_rail", f"{RAIL}::test_bad_credentials_stop_the_rail_only",
    ],
    "only the capability proves an account": [
        f"{ACCOUNTS}::test_only_the_capability_proves_that_an_account_can_be_paid",
    ],
    "onboarding: the key is the partner's, a link works once": [
        f"{ACCOUNTS}::test_an_account_is_opened_once", f"{ACCOUNTS}::test_each_link_is_new",
    ],
    "a signature from the future is refused": [f"{ACCOUNTS}::test_a_replayed_message_is_refused"],
    "amounts as Stripe counts them": [f"{STRIPE}::test_stripe_counts_its_own_way"],
}  # fmt: skip

FACTS_OF_PAYPAL = {
    "one payout a batch, and one bad receiver refuses all of it": [
        f"{PAYPAL}::test_a_payout_is_one_batch_of_one_item", f"{PAYPAL}::test_one_bad_receiver_refuses_a_whole_batch",
    ],
    "amounts by exponent (HUF, JPY, TWD none)": [f"{PAYPAL}::test_amounts_have_the_decimals_of_paypal"],
    "a repeat is 400 with the original, which is verified": [
        f"{PAYPAL}::test_a_repeat_shows_the_original", f"{PAYPAL}::test_a_batch_that_is_not_ours_goes_to_a_person",
        f"{PAYPAL}::test_a_link_leads_nowhere_else",
    ],
    "a denied batch frees its key": [
        f"{PAYPAL}::test_a_denied_batch_frees_its_key", f"{RAIL}::test_a_denied_batch_fails_the_payout",
    ],
    "what becomes of an item": [
        f"{PAYPAL}::test_the_states_of_an_item", f"{RAIL}::test_what_becomes_of_an_item",
    ],
    "a message brings nothing that PayPal does not say when it is asked": [
        f"{HOOKS}::test_a_message_is_a_hint_that_paypal_confirms",
        f"{HOOKS}::test_a_body_under_an_equal_crc_brings_nothing",
    ],
    "tokens": [
        f"{PAYPAL}::test_a_token_is_asked_for_once", f"{PAYPAL}::test_a_token_that_was_taken_back_is_asked_for_anew",
    ],
}  # fmt: skip

FACTS_OF_BANKS = {
    "a sealed batch is the same for ever": [
        f"{BANK}::test_a_sealed_batch_is_the_same_for_ever", f"{FILES}::test_a_file_is_the_same_for_ever",
    ],
    "valid by its XSD, by a second validator": [f"{FILES}::test_a_second_validator_agrees"],
    "refused before it: IBAN, currency, duplicate ids, past dates": [
        f"{FILES}::test_what_no_bank_takes_is_refused", f"{FILES}::test_what_no_batch_may_have_is_refused",
    ],
    "settled and returned by statement": [
        f"{BANK}::test_a_statement_settles", f"{BANK}::test_what_comes_back_is_a_running_total",
        f"{RAIL}::test_by_bank",
    ],
    "a refusal releases that payout only": [f"{BANK}::test_a_refusal_releases_that_payout_only"],
    "unsealing needs a declaration": [f"{BANK}::test_unsealing_needs_a_declaration"],
}  # fmt: skip

FACTS_OF_PEOPLE = {
    "nothing is ever sent by hand": [f"{LIMITED}::test_by_hand_nothing_is_sent"],
    "the amount is equal, the same again is the same": [
        f"{CORE}::test_a_confirmation_is_for_the_exact_amount_and_counts_once",
    ],
    "a transaction pays one payout": [f"{RUNS}::test_one_transaction_confirms_one_payout"],
    "not while submitting": [f"{CORE}::test_what_is_not_legal_is_refused_with_the_state_and_what_is"],
}  # fmt: skip

BAD_INPUT = {
    "forged webhooks, wrong secrets": [
        f"{ACCOUNTS}::test_a_forged_message_is_refused", f"{HOOKS}::test_a_forged_message_is_refused",
    ],
    "replayed webhooks, from the past and the future": [
        f"{ACCOUNTS}::test_a_replayed_message_is_refused", f"{HOOKS}::test_a_replayed_message_is_refused",
    ],
    "not UTF-8, not JSON, too large": [
        f"{ACCOUNTS}::test_what_is_not_readable_is_refused", f"{HOOKS}::test_what_is_not_readable_is_refused",
    ],
    "a body changed under an equal CRC-32": [f"{HOOKS}::test_a_body_under_an_equal_crc_brings_nothing"],
    "IBAN, BIC, over-long names, control characters": [
        f"{METHODS}::test_what_cannot_be_paid_to_is_refused", f"{FILES}::test_what_no_bank_takes_is_refused",
    ],
    "amount 0, negative, too much, another currency": [
        f"{STRIPE}::test_what_stripe_cannot_send_is_refused", f"{PAYPAL}::test_what_paypal_cannot_send_is_refused",
        f"{FILES}::test_what_no_bank_takes_is_refused",
    ],
    "XML bombs, external entities, depth": [f"{FILES}::test_files_that_no_bank_sends_are_refused"],
    "amounts in statements that are none": [f"{FILES}::test_a_wrong_amount_is_refused"],
    "confirmations that cannot be": [f"{LIMITED}::test_a_confirmation_that_cannot_be_is_refused"],
}  # fmt: skip

TABLES = (WHERE_IT_MAY_STOP, FACTS_OF_STRIPE, FACTS_OF_PAYPAL, FACTS_OF_BANKS, FACTS_OF_PEOPLE, BAD_INPUT)


@cache
def _tests_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / f"{path}.py").read_text())
    return frozenset(each.name for each in tree.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)))


@pytest.mark.parametrize(("row", "tests"), [each for table in TABLES for each in table.items()])
def test_every_row_has_its_test(row, tests):
    """What is promised of payouts is proved by tests that exist."""
    assert tests
    for path, _, name in (each.partition("::") for each in tests):
        assert name in _tests_of(path), f"{row}: {name}"
