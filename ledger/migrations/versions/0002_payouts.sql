-- Payouts decide nothing about orders, so the directory need not look at them: the index in the words of `ledger.store.IN_DIRECTORY`.
DROP INDEX ledger.events_directory;
CREATE INDEX events_directory ON ledger.events ((notification_id + 0))
WHERE
    NOT starts_with(originator_id, 'order/')
    AND NOT starts_with(originator_id, 'notice/')
    AND NOT starts_with(originator_id, 'payout');

-- What a run froze: who is in, who is out and why. `payout_id` is the same for ever; `requested` once it is on the books.
CREATE TABLE ledger.payout_lines (
    merchant_id text COLLATE "C" NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    commissions bigint NOT NULL,
    included boolean NOT NULL,
    reason text COLLATE "C" NOT NULL,
    rail text COLLATE "C",
    payout_id text COLLATE "C" NOT NULL,
    requested boolean NOT NULL DEFAULT false,
    PRIMARY KEY (merchant_id, run_id, partner_id, currency)
) WITH (fillfactor = 70);
CREATE INDEX payout_lines_waiting ON ledger.payout_lines (merchant_id, run_id) WHERE included AND NOT requested;

-- Each payout as its stream says it is, written in the transaction of its events: how the worker finds what there is to do (`due_at`),
-- and why a partner has one open payout of a currency at most.
CREATE TABLE ledger.payouts (
    payout_id text COLLATE "C" PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    rail text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    is_open boolean NOT NULL,
    version bigint NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    reference text COLLATE "C",
    returned_minor bigint NOT NULL DEFAULT 0,
    requested_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    due_at timestamptz
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX payouts_one_open ON ledger.payouts (merchant_id, partner_id, currency) WHERE is_open;
CREATE INDEX payouts_due ON ledger.payouts (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX payouts_of_run ON ledger.payouts (merchant_id, run_id);
CREATE INDEX payouts_by_reference ON ledger.payouts (reference) WHERE reference IS NOT NULL;

-- What a person confirmed with: one transaction pays one payout.
CREATE TABLE ledger.payout_confirmations (
    merchant_id text COLLATE "C" NOT NULL,
    method text COLLATE "C" NOT NULL,
    transaction_id text COLLATE "C" NOT NULL,
    payout_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (merchant_id, method, transaction_id)
);

-- What providers sent, by their own ids: a hint to look at a payout. Handled in the transaction of what it brought about.
CREATE TABLE ledger.payout_hints (
    provider text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    payout_id text COLLATE "C",
    reference text COLLATE "C",
    received_at timestamptz NOT NULL,
    due_at timestamptz,
    handled_at timestamptz,
    PRIMARY KEY (provider, event_id)
);
CREATE INDEX payout_hints_due ON ledger.payout_hints (due_at) WHERE due_at IS NOT NULL;

-- Partners to whom nothing is sent before somebody has looked.
CREATE TABLE ledger.payout_freezes (
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    frozen_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, partner_id)
);

-- Who is paid by a payout, and what is sent: sealed with a key that is not in the database.
CREATE TABLE people.payout_payees (
    merchant_id text COLLATE "C" NOT NULL,
    payout_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    payee bytea,
    PRIMARY KEY (merchant_id, payout_id)
);
CREATE INDEX payout_payees_by_partner ON people.payout_payees (merchant_id, partner_id);
CREATE TABLE people.payout_attempts (
    merchant_id text COLLATE "C" NOT NULL,
    payout_id text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    body bytea,
    PRIMARY KEY (merchant_id, payout_id, attempt)
);

-- The wall between merchants, as at the end of 0001. Hints are of no merchant before they are looked at: nobody reads them.
DO $$
DECLARE
    place text;
BEGIN
    FOREACH place IN ARRAY ARRAY[
        'ledger.payout_lines', 'ledger.payouts', 'ledger.payout_confirmations', 'ledger.payout_freezes',
        'people.payout_payees', 'people.payout_attempts'
    ]
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', place);
        EXECUTE format(
            'CREATE POLICY own_rows ON %s FOR SELECT TO ledger_reader'
            ' USING (CASE WHEN merchant_id = (SELECT current_setting(''ledger.merchant_id'', true)) THEN true ELSE false END)',
            place
        );
    END LOOP;
END
$$;
GRANT SELECT ON ledger.payout_lines, ledger.payouts, ledger.payout_freezes TO ledger_reader;
