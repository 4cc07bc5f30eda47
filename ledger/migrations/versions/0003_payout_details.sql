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

-- The wall between merchants, as at the end of 0001.
DO $$
DECLARE
    place text;
BEGIN
    FOREACH place IN ARRAY ARRAY[
        'people.payout_details', 'people.bank_batches', 'people.bank_orders', 'people.bank_movements', 'ledger.payout_spending'
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
