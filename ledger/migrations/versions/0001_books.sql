-- `ledger`: what happened. Appended to, never edited (dead letters change their status, nothing else).

-- The log, in the shape that the eventsourcing library reads: one row an event, notification_id is its position.
-- `state` is jsonb: taken apart once, when it is written; a rebuild reads it two and a half times as fast as text.
-- Ids sort by bytes: streams of one kind and merchant lie together, and comparing them costs a memcmp.
CREATE TABLE ledger.events (
    originator_id text COLLATE "C" NOT NULL,
    originator_version bigint NOT NULL,
    topic text COLLATE "C" NOT NULL,
    state jsonb NOT NULL,
    notification_id bigserial NOT NULL,
    PRIMARY KEY (originator_id, originator_version)
) WITH (autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0.01);
CREATE UNIQUE INDEX events_notification_id ON ledger.events (notification_id);

-- Merchants, partners and coupon codes are a handful among millions of orders: the directory reads them by this index.
-- `+ 0`, so that no other index can serve its queries: a plan made while the log was short would walk through every order
-- by the index above, under the lock of the log.
CREATE INDEX events_directory ON ledger.events ((notification_id + 0)) WHERE NOT starts_with(originator_id, 'order/');

-- How far each partition was read, and what became of its messages: one row, written in the transaction of the events.
-- `source` is the Kafka cluster's id (or `api`, `import`): positions of another cluster mean other messages.
CREATE TABLE ledger.positions (
    source text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    consumed bigint NOT NULL DEFAULT 0,
    earned bigint NOT NULL DEFAULT 0,
    adjusted bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    ignored bigint NOT NULL DEFAULT 0,
    duplicate bigint NOT NULL DEFAULT 0,
    dead_lettered bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (source, topic, partition),
    CONSTRAINT every_message_is_accounted_for
        CHECK (consumed = earned + adjusted + skipped + ignored + duplicate + dead_lettered)
) WITH (fillfactor = 50);

-- Orders that were nobody's: counted, not kept.
CREATE TABLE ledger.ignored_totals (
    merchant_id text NOT NULL,
    day date NOT NULL,
    currency text NOT NULL,
    orders bigint NOT NULL,
    total_minor numeric NOT NULL,
    PRIMARY KEY (merchant_id, day, currency)
) WITH (fillfactor = 70);

-- The newest order of each partner: a rate may not change for a time that orders already depend on.
CREATE TABLE ledger.partner_orders (
    merchant_id text NOT NULL,
    partner_id text NOT NULL,
    latest_occurred_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, partner_id)
) WITH (fillfactor = 50);

-- Messages that were refused, whole, with the reason.
CREATE TABLE ledger.dead_letters (
    dead_letter_id text PRIMARY KEY,
    merchant_id text,
    source text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    key bytea,
    raw bytea,
    headers jsonb NOT NULL DEFAULT '[]',
    code text NOT NULL,
    path text NOT NULL,
    reason text NOT NULL,
    received_at timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'retried', 'discarded')),
    resolved_at timestamptz,
    resolution text,
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    UNIQUE (source, topic, partition, position)
);
CREATE INDEX dead_letters_by_merchant ON ledger.dead_letters (merchant_id, sequence);

-- Idempotency keys of the API, for ever: the answer is stored in the transaction of what it tells.
CREATE TABLE ledger.requests (
    merchant_id text NOT NULL,
    idempotency_key text NOT NULL,
    body_sha256 bytea NOT NULL,
    status integer NOT NULL,
    body bytea NOT NULL,
    position bigint,
    PRIMARY KEY (merchant_id, idempotency_key)
);

-- `people`: the only place with personal data. Erasing a person blanks rows here and touches nothing else.
CREATE SCHEMA people;
CREATE TABLE people.merchants (
    merchant_id text PRIMARY KEY,
    email text
);
CREATE TABLE people.partners (
    merchant_id text NOT NULL,
    partner_id text NOT NULL,
    name text,
    email text,
    PRIMARY KEY (merchant_id, partner_id)
);
CREATE TABLE people.customers (
    merchant_id text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    name text,
    email text,
    PRIMARY KEY (merchant_id, customer_id)
);
-- What a storefront wrote in its own words: the metadata and reasons of order events. Kept, never interpreted.
CREATE TABLE people.order_notes (
    merchant_id text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C",
    reason text,
    metadata jsonb,
    PRIMARY KEY (merchant_id, order_id, event_id)
);

-- `access`: who may come in.
CREATE SCHEMA access;
CREATE TABLE access.api_keys (
    key_id text PRIMARY KEY,
    merchant_id text NOT NULL,
    name text NOT NULL,
    key_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_keys_by_merchant ON access.api_keys (merchant_id);
