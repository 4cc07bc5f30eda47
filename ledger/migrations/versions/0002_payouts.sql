-- Payouts decide nothing about orders, so the directory need not look at them: the index in the words of `ledger.store.IN_DIRECTORY`.
DROP INDEX ledger.events_directory;
CREATE INDEX events_directory ON ledger.events ((notification_id + 0))
WHERE
    NOT starts_with(originator_id, 'order/')
    AND NOT starts_with(originator_id, 'notice/')
    AND NOT starts_with(originator_id, 'payout');

-- Each run as its stream says it is, written in the transaction of its events. `cause`, `approved_cause`: who made it, and approved it.
-- `due_at`: a worker has something left to do about it.
CREATE TABLE ledger.payout_runs (
    merchant_id text COLLATE "C" NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    needs_approval boolean NOT NULL,
    cut_off_at timestamptz NOT NULL,
    partners_in bigint NOT NULL,
    partners_out bigint NOT NULL,
    prepared_at timestamptz NOT NULL,
    cause text COLLATE "C" NOT NULL,
    approved_at timestamptz,
    approved_cause text COLLATE "C",
    cancelled_because text,
    version bigint NOT NULL DEFAULT 1,
    due_at timestamptz,
    PRIMARY KEY (merchant_id, run_id)
);
CREATE INDEX payout_runs_due ON ledger.payout_runs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX payout_runs_in_order ON ledger.payout_runs (merchant_id, prepared_at, run_id);

-- Programs that pay by themselves: when the day comes whose run is to be made (`due_at`), and since when that is their schedule.
CREATE TABLE ledger.payout_schedules (
    merchant_id text COLLATE "C" PRIMARY KEY,
    since_at timestamptz NOT NULL,
    due_at timestamptz,
    missed_on date
) WITH (fillfactor = 70);
CREATE INDEX payout_schedules_due ON ledger.payout_schedules (due_at) WHERE due_at IS NOT NULL;

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
    due_at timestamptz,
    needs_approval boolean NOT NULL,
    commissions bigint NOT NULL,
    transaction_id text COLLATE "C",
    reason text,
    processed_at timestamptz
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX payouts_one_open ON ledger.payouts (merchant_id, partner_id, currency) WHERE is_open;
CREATE INDEX payouts_due ON ledger.payouts (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX payouts_of_run ON ledger.payouts (merchant_id, run_id);
CREATE INDEX payouts_in_order ON ledger.payouts (merchant_id, requested_at, payout_id);
CREATE INDEX payouts_of_partner ON ledger.payouts (merchant_id, partner_id, requested_at, payout_id);
CREATE INDEX payouts_by_transaction ON ledger.payouts (merchant_id, transaction_id) WHERE transaction_id IS NOT NULL;
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
-- Every time that somebody froze a partner, or let it be paid again: who, when and why.
CREATE TABLE ledger.payout_freeze_changes (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    frozen boolean NOT NULL,
    reason text NOT NULL,
    cause text COLLATE "C" NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX payout_freeze_changes_of_partner ON ledger.payout_freeze_changes (merchant_id, partner_id, sequence);

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

-- What is told of a payout (or of a run) by letter, and to whom: written with the event of that `number`, due until it has an outcome.
CREATE TABLE people.payout_letters (
    merchant_id text COLLATE "C" NOT NULL,
    subject_id text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    to_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    told_at timestamptz NOT NULL,
    due_at timestamptz,
    tries integer NOT NULL DEFAULT 0,
    outcome text COLLATE "C",
    PRIMARY KEY (merchant_id, subject_id, number, to_id)
) WITH (fillfactor = 70);
CREATE INDEX payout_letters_due ON people.payout_letters (due_at) WHERE due_at IS NOT NULL;

-- How a partner wants to be paid: every version of it, the newest counts. Sealed with a key that is not in the database; `method`
-- and `details` are NULL where they were removed.
CREATE TABLE people.payout_details (
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    method text COLLATE "C",
    details bytea,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL,
    PRIMARY KEY (merchant_id, partner_id, number),
    CHECK ((method IS NULL) = (details IS NULL))
);

-- The connected account that was opened for a partner at Stripe, once: sealed, and found by its hash (ids are drawn by lot, and long).
-- `wanted`: once Stripe says that it can be paid it becomes how the partner is paid. `transfers` is what Stripe said last.
CREATE TABLE people.stripe_accounts (
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    account bytea NOT NULL,
    account_sha256 text COLLATE "C" NOT NULL UNIQUE,
    opened_at timestamptz NOT NULL,
    opened_by text NOT NULL,
    wanted boolean NOT NULL,
    transfers text,
    blocked_by text,
    asked_at timestamptz,
    PRIMARY KEY (merchant_id, partner_id)
);

-- Bank transfers. The bank is told by file, so what is to be paid waits here: an order is put into one batch, and a batch is sealed:
-- built once, kept, and handed out the same for ever.
CREATE TABLE people.bank_batches (
    batch_id text COLLATE "C" PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL UNIQUE,
    payments integer NOT NULL,
    amount_minor bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    execution_on date NOT NULL,
    sealed_at timestamptz NOT NULL,
    sealed_by text NOT NULL,
    xml bytea NOT NULL,
    xml_sha256 text COLLATE "C" NOT NULL,
    csv bytea NOT NULL,
    csv_sha256 text COLLATE "C" NOT NULL,
    unsealed_at timestamptz,
    unsealed_by text,
    declared text
);
CREATE INDEX bank_batches_in_order ON people.bank_batches (merchant_id, sealed_at);
CREATE TABLE people.bank_orders (
    end_to_end_id text COLLATE "C" PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL,
    payout_id text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'sealed', 'settled', 'rejected', 'returned')),
    batch_id text COLLATE "C" REFERENCES people.bank_batches,
    body bytea NOT NULL,
    reference text,
    returned_minor bigint NOT NULL DEFAULT 0,
    code text,
    ordered_at timestamptz NOT NULL,
    moved_at timestamptz NOT NULL,
    CHECK ((state = 'waiting') <= (batch_id IS NULL))
);
CREATE INDEX bank_orders_in_order ON people.bank_orders (merchant_id, ordered_at, end_to_end_id);
CREATE INDEX bank_orders_of_payout ON people.bank_orders (payout_id);
CREATE INDEX bank_orders_waiting ON people.bank_orders (merchant_id, currency) WHERE state = 'waiting';
CREATE INDEX bank_orders_of_batch ON people.bank_orders (batch_id) WHERE batch_id IS NOT NULL;
-- What a bank (or a person in its stead) told of an order, each movement once.
CREATE TABLE people.bank_movements (
    end_to_end_id text COLLATE "C" NOT NULL REFERENCES people.bank_orders,
    merchant_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    reference text NOT NULL,
    amount_minor bigint,
    told_at timestamptz NOT NULL,
    told_by text NOT NULL,
    PRIMARY KEY (end_to_end_id, kind, reference)
);
-- By hand, a reference settles one order.
CREATE UNIQUE INDEX bank_movements_by_hand ON people.bank_movements (merchant_id, reference) WHERE kind = 'by_hand';

-- What was begun on a rail on a day, each payout once: what the limits of the day are measured by. Written before anything is sent.
CREATE TABLE ledger.payout_spending (
    rail text COLLATE "C" NOT NULL,
    begun_on date NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    payout_id text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    PRIMARY KEY (rail, payout_id)
);
CREATE INDEX payout_spending_of_day ON ledger.payout_spending (rail, begun_on);
-- Rails that somebody switched off for all workers at once (`all`: every rail), beside what the environment says.
CREATE TABLE ledger.payout_switches (
    rail text COLLATE "C" PRIMARY KEY,
    reason text NOT NULL,
    switched_by text NOT NULL,
    switched_at timestamptz NOT NULL
);

-- Reconciliation: each time that a rail was compared with its provider; of all merchants together, and of each of them.
CREATE TABLE ledger.payout_reconciliations (
    rail text COLLATE "C" NOT NULL,
    began_at timestamptz NOT NULL,
    since_at timestamptz NOT NULL,
    until_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    complete boolean NOT NULL,
    reason text,
    asked_by text NOT NULL,
    matched bigint NOT NULL,
    ours_only bigint NOT NULL,
    theirs_only bigint NOT NULL,
    differing bigint NOT NULL,
    several bigint NOT NULL,
    hints bigint NOT NULL,
    PRIMARY KEY (rail, began_at)
);
CREATE TABLE ledger.payout_reconciliation_counts (
    rail text COLLATE "C" NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    matched bigint NOT NULL,
    ours_only bigint NOT NULL,
    theirs_only bigint NOT NULL,
    differing bigint NOT NULL,
    several bigint NOT NULL,
    PRIMARY KEY (rail, merchant_id)
);
-- What does not agree. `merchant_id` is NULL where nobody knows whose it is: then it is the operator's. Once a person declared what it
-- was, it stays resolved; what agreed again by itself is opened again when it does not.
CREATE TABLE ledger.payout_findings (
    finding_id text COLLATE "C" PRIMARY KEY,
    rail text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    merchant_id text COLLATE "C",
    partner_id text COLLATE "C",
    payout_id text COLLATE "C",
    their_references text [] NOT NULL,
    currency text COLLATE "C",
    ours_minor bigint,
    their_currency text COLLATE "C",
    theirs_minor bigint,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    resolved_at timestamptz,
    resolved_by text,
    declared text
);
CREATE INDEX payout_findings_open ON ledger.payout_findings (rail) WHERE resolved_at IS NULL;
CREATE INDEX payout_findings_in_order ON ledger.payout_findings (merchant_id, first_seen_at, finding_id);
-- When which rail is compared next; a worker that compares takes it for a while.
CREATE TABLE ledger.payout_reconciling (
    rail text COLLATE "C" PRIMARY KEY,
    due_at timestamptz NOT NULL
);

-- The database in which payouts are at home. In a copy of it, or one that was restored, nothing is sent before somebody has compared it with
-- the providers and moved it in; `seen_at` is when a worker was at home last.
CREATE TABLE ledger.payout_home (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    place text NOT NULL,
    seen_at timestamptz NOT NULL,
    moved_in_at timestamptz NOT NULL,
    moved_in_by text NOT NULL,
    declared text
);

-- The wall between merchants, as at the end of 0001. Hints are of no merchant before they are looked at: nobody reads them.
DO $$
DECLARE
    place regclass;
BEGIN
    FOR place IN
        SELECT attrelid FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE
            relnamespace IN ('ledger'::regnamespace, 'people'::regnamespace)
            AND relkind = 'r' AND attname = 'merchant_id' AND NOT attisdropped AND NOT relrowsecurity
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
GRANT SELECT ON ledger.payout_runs, ledger.payout_lines, ledger.payouts, ledger.payout_freezes, ledger.payout_freeze_changes
TO ledger_reader;
GRANT SELECT (merchant_id, missed_on) ON ledger.payout_schedules TO ledger_reader;
GRANT SELECT ON ledger.payout_findings, ledger.payout_reconciliation_counts TO ledger_reader;
GRANT SELECT (rail, began_at, since_at, until_at, finished_at, complete) ON ledger.payout_reconciliations TO ledger_reader;
-- What is sealed stays out of the reader's sight.
GRANT SELECT (
    end_to_end_id, merchant_id, payout_id, amount_minor, currency, state, batch_id, reference, returned_minor, code, ordered_at, moved_at
) ON people.bank_orders TO ledger_reader;
GRANT SELECT (
    batch_id, merchant_id, message_id, payments, amount_minor, currency, execution_on, sealed_at, sealed_by, xml_sha256, csv_sha256,
    unsealed_at, unsealed_by, declared
) ON people.bank_batches TO ledger_reader;
