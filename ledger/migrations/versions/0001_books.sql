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
CREATE INDEX events_directory ON ledger.events ((notification_id + 0))
WHERE NOT starts_with(originator_id, 'order/') AND NOT starts_with(originator_id, 'notice/');

-- The feed of one merchant: its events behind a position, at any size of the log. The second part of every stream's name is its
-- merchant; two numbers take half the room of a text and a number, and each merchant's entries are added at one place. `+ 0` as above.
CREATE INDEX events_feed ON ledger.events (hashtextextended(split_part(originator_id, '/', 2), 0), (notification_id + 0));
-- What was marked as paid by hand, and taken back: of a merchant, and of one partner. Few events, and found newest first.
CREATE INDEX events_paid ON ledger.events (hashtextextended(split_part(originator_id, '/', 2), 0), (notification_id + 0))
WHERE topic IN ('CommissionPaid', 'CommissionMarkedUnpaid');
CREATE INDEX events_paid_of_partner ON ledger.events (
    hashtextextended(split_part(originator_id, '/', 2) || '/' || (state ->> 'partner_id'), 0), (notification_id + 0)
)
WHERE topic IN ('CommissionPaid', 'CommissionMarkedUnpaid');
-- The only way in which the web reads the log: a merchant must be set, and nobody else's events are here.
CREATE VIEW ledger.events_of_merchant AS
SELECT notification_id + 0 AS position, originator_id AS stream, topic, state
FROM ledger.events
WHERE
    hashtextextended(split_part(originator_id, '/', 2), 0) = hashtextextended(current_setting('ledger.merchant_id', true), 0)
    -- As one that the planner does not take for one more filter: it would expect far fewer rows than there are.
    AND CASE WHEN split_part(originator_id, '/', 2) = current_setting('ledger.merchant_id', true) THEN true ELSE false END;

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

-- The newest message that the broker has in each partition, as a worker last saw it: newest minus tracked is the lag. Not of the
-- books, and apart from the positions, which are locked while a batch is written.
CREATE TABLE ledger.newest_messages (
    source text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (source, topic, partition)
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

-- How many orders of each customer earned, and when the first of them was placed, whatever became of them: written only for
-- programs whose terms (ever) limited what a customer earns. Counted under the lock of the log, as the terms are (0011).
CREATE TABLE ledger.customer_orders (
    merchant_id text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    orders bigint NOT NULL,
    first_occurred_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, customer_id)
) WITH (fillfactor = 70);

-- Partners whose ban (or its end) has not been carried through all their commissions yet: a list of work, empty most of the time.
-- `version` is the ban's (or reinstatement's) in the partner's stream, `place` how far the sweep has come in the partner's list.
CREATE TABLE ledger.ban_sweeps (
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    place bigint,
    PRIMARY KEY (merchant_id, partner_id)
);

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
-- Those that wait for somebody are few, whatever was refused before.
CREATE INDEX dead_letters_open ON ledger.dead_letters (merchant_id, sequence) WHERE status = 'open';

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
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    name text,
    email text,
    -- What lists by name are in the order of: without case, and whoever has none behind all who have one.
    name_folded text COLLATE "C" NOT NULL GENERATED ALWAYS AS (coalesce(lower(name), U&'\+10FFFF')) STORED,
    PRIMARY KEY (merchant_id, partner_id)
);
CREATE INDEX partners_by_name ON people.partners (merchant_id, name_folded, partner_id);
-- The address of a dashboard names the partner alone.
CREATE INDEX partners_by_id ON people.partners (partner_id);
-- What a merchant calls its partners: the words as they were written, unique without case (`folded`).
CREATE TABLE people.partner_tags (
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    folded text COLLATE "C" NOT NULL,
    tag text NOT NULL,
    number integer NOT NULL,
    PRIMARY KEY (merchant_id, partner_id, folded)
);
CREATE INDEX partner_tags_by_tag ON people.partner_tags (merchant_id, folded);
-- What people of the merchant noted about a partner, in their own words; `author` is the cause: who, and by which request.
CREATE TABLE people.partner_notes (
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    note_id text COLLATE "C" NOT NULL,
    note text NOT NULL,
    author text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, partner_id, note_id)
);
CREATE INDEX partner_notes_in_order ON people.partner_notes (merchant_id, partner_id, sequence);
CREATE TABLE people.customers (
    merchant_id text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    name text,
    email text,
    -- What a whole address is found by, as a number (`projections/commissions.sql` says why).
    by_email bigint GENERATED ALWAYS AS (hashtextextended(merchant_id || '/' || lower(email), 0)) STORED,
    PRIMARY KEY (merchant_id, customer_id)
);
CREATE INDEX customers_by_email ON people.customers (by_email) WHERE by_email IS NOT NULL;
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

-- Who works for a merchant. The address stands here once more, in the form in which two are the same.
CREATE TABLE people.users (
    merchant_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    name text,
    email text,
    email_folded text COLLATE "C",
    PRIMARY KEY (merchant_id, user_id),
    CONSTRAINT users_by_email UNIQUE (merchant_id, email_folded)
);
-- Whoever logs in says an address, and not yet of which merchant.
CREATE INDEX users_by_email_alone ON people.users (email_folded);

-- `access`: who may come in.
CREATE SCHEMA access;

-- A merchant's users: what they may do follows from the role (`ledger.users`). Name and address: `people.users`.
CREATE TABLE access.users (
    merchant_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    role text NOT NULL CHECK (role IN ('owner', 'finance', 'manager', 'viewer')),
    created_at timestamptz NOT NULL,
    disabled_at timestamptz,
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (merchant_id, user_id)
);
CREATE INDEX users_in_order ON access.users (merchant_id, sequence);

-- API keys, for ever: a key that is no good any more still says who did what. The secret itself is nowhere.
CREATE TABLE access.api_keys (
    key_id text COLLATE "C" PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL,
    name text NOT NULL,
    key_sha256 bytea NOT NULL,
    scopes text[] NOT NULL,
    user_id text COLLATE "C",
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    rotated_from text COLLATE "C" UNIQUE REFERENCES access.api_keys,
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    FOREIGN KEY (merchant_id, user_id) REFERENCES access.users
);
CREATE INDEX api_keys_in_order ON access.api_keys (merchant_id, sequence);

-- How users and partners come in with a browser (docs/decisions/0019). Nothing here can be turned back into what opens something:
-- passwords are argon2id, tokens of sessions and links SHA-256 of 256 bits of chance. No reader may read a hash.
CREATE TABLE access.passwords (
    merchant_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    hash text NOT NULL,
    set_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, user_id),
    FOREIGN KEY (merchant_id, user_id) REFERENCES access.users
);
-- A partner's way in: the address of the dashboard has the generation in it. No row: generation 1, open for 30 days from the
-- registration on, and no password yet.
CREATE TABLE access.partner_logins (
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    generation bigint NOT NULL,
    link_expires_at timestamptz NOT NULL,
    hash text,
    set_at timestamptz,
    PRIMARY KEY (merchant_id, partner_id)
);
-- Somebody's browser: a user's or a partner's; a partner's ends with the generation that it came in by.
CREATE TABLE access.sessions (
    session_sha256 bytea PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C",
    partner_id text COLLATE "C",
    generation bigint,
    created_at timestamptz NOT NULL,
    used_at timestamptz NOT NULL,
    address text NOT NULL,
    browser text NOT NULL,
    FOREIGN KEY (merchant_id, user_id) REFERENCES access.users,
    CONSTRAINT of_a_user_or_a_partner CHECK ((user_id IS NULL) <> (partner_id IS NULL) AND (partner_id IS NULL) = (generation IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX sessions_of_user ON access.sessions (merchant_id, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX sessions_of_partner ON access.sessions (merchant_id, partner_id) WHERE partner_id IS NOT NULL;
CREATE INDEX sessions_by_use ON access.sessions (used_at);
-- Links that set a password, once.
CREATE TABLE access.password_links (
    token_sha256 bytea PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C",
    partner_id text COLLATE "C",
    expires_at timestamptz NOT NULL,
    FOREIGN KEY (merchant_id, user_id) REFERENCES access.users,
    CONSTRAINT for_a_user_or_a_partner CHECK ((user_id IS NULL) <> (partner_id IS NULL))
);
CREATE INDEX password_links_by_expiry ON access.password_links (expires_at);
CREATE INDEX password_links_of_whom ON access.password_links (merchant_id, coalesce(user_id, partner_id));
-- Wrong passwords per name that was tried, also of names that nobody has: a keyed hash of it.
CREATE TABLE access.login_failures (
    name_mac bytea PRIMARY KEY,
    failures integer NOT NULL,
    failed_at timestamptz NOT NULL,
    locked_until timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX login_failures_by_age ON access.login_failures (failed_at);

-- Every change of users and keys: who did what to whom, when, in which request. Names and addresses are not in it.
CREATE TABLE access.changes (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    type text NOT NULL,
    subject text COLLATE "C" NOT NULL,
    details jsonb NOT NULL,
    cause text NOT NULL,
    key_id text COLLATE "C",
    user_id text COLLATE "C"
);
CREATE INDEX changes_in_order ON access.changes (merchant_id, sequence);
CREATE FUNCTION access.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'access.changes is only added to' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER changes_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON access.changes
FOR EACH STATEMENT EXECUTE FUNCTION access.refuse();

-- `webhooks`: what is sent to the addresses that merchants name. No part of the books, and all of it can be sent again.
CREATE SCHEMA webhooks;

-- `position`: how far the merchant's events were looked at for this one. Secrets are derived from the hash key and `secret_number`
-- (`ledger.signatures`), so that none stands here. `failing_since`: nothing but failures from then on.
CREATE TABLE webhooks.endpoints (
    webhook_id text COLLATE "C" PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL,
    url text NOT NULL,
    types text[] NOT NULL,
    description text NOT NULL,
    status text NOT NULL DEFAULT 'enabled' CHECK (status IN ('enabled', 'disabled')),
    reason text,
    position bigint NOT NULL,
    secret_number integer NOT NULL DEFAULT 1,
    previous_until timestamptz,
    failing_since timestamptz,
    created_at timestamptz NOT NULL,
    sequence bigint GENERATED ALWAYS AS IDENTITY
) WITH (fillfactor = 50);
CREATE INDEX endpoints_in_order ON webhooks.endpoints (merchant_id, sequence);

-- What one webhook is told of one event. `due_at` is set for the oldest that waits of each subject, and for no other: so a subject
-- stays in order, and holds up nobody but itself. `attempts` is also the fence: who finishes an attempt names its number.
CREATE TABLE webhooks.deliveries (
    webhook_id text COLLATE "C" NOT NULL REFERENCES webhooks.endpoints ON DELETE CASCADE,
    position bigint NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    delivery_id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'delivered', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0,
    due_at timestamptz,
    created_at timestamptz NOT NULL,
    -- When trying began, or began anew: three days from then on it is given up.
    first_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (webhook_id, position)
) WITH (fillfactor = 70);
CREATE INDEX deliveries_due ON webhooks.deliveries (webhook_id, due_at, position) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_waiting ON webhooks.deliveries (webhook_id, subject, position) WHERE status = 'waiting';
CREATE INDEX deliveries_finished ON webhooks.deliveries (finished_at) WHERE finished_at IS NOT NULL;
CREATE UNIQUE INDEX deliveries_by_id ON webhooks.deliveries (delivery_id);

-- Each time that somebody was told: what the answer was, or why there is none.
CREATE TABLE webhooks.attempts (
    webhook_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    number integer NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    latency_ms integer NOT NULL,
    status integer,
    answer text,
    error text,
    PRIMARY KEY (webhook_id, position, number),
    FOREIGN KEY (webhook_id, position) REFERENCES webhooks.deliveries ON DELETE CASCADE
);

-- The wall between merchants (`projections.wall` builds the same around `read`). It stands at the end, around all tables above that
-- belong to merchants: the role that the web reads as sees the rows of the one merchant that is set, and no others.
-- A server has roles for all of its databases, so this one may be there; the owner of the tables is not limited.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ledger_reader') THEN
        BEGIN
            CREATE ROLE ledger_reader NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL; -- the migration of another database on this server was faster
        END;
    END IF;
    IF NOT pg_has_role(current_user, 'ledger_reader', 'SET') THEN
        GRANT ledger_reader TO CURRENT_USER WITH INHERIT FALSE, SET TRUE;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = format(
                'this user may not make the role ledger_reader, or not act as it; somebody who may has to run:'
                ' CREATE ROLE ledger_reader NOLOGIN; GRANT ledger_reader TO %I;', current_user
            );
END
$$;
DO $$
DECLARE
    place regclass;
BEGIN
    FOR place IN
        SELECT attrelid FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE
            relnamespace IN ('ledger'::regnamespace, 'people'::regnamespace, 'access'::regnamespace, 'webhooks'::regnamespace)
            AND relkind = 'r' AND attname = 'merchant_id' AND NOT attisdropped
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
-- Partitions of a Kafka topic are everybody's; those of the API are the merchant's of that name, and so are imports, each of which
-- has the digest of its file behind it.
ALTER TABLE ledger.positions ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON ledger.positions FOR SELECT TO ledger_reader
USING (
    CASE source
        WHEN 'api' THEN topic = current_setting('ledger.merchant_id', true)
        WHEN 'import' THEN regexp_replace(topic, '-[0-9a-f]+$', '') = current_setting('ledger.merchant_id', true)
        ELSE true
    END
);

GRANT USAGE ON SCHEMA ledger, people, access, webhooks TO ledger_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA people, webhooks TO ledger_reader;
GRANT SELECT ON ledger.events_of_merchant, ledger.dead_letters, ledger.positions, ledger.newest_messages, ledger.ignored_totals, access.users, access.changes TO ledger_reader;
GRANT SELECT (notification_id) ON ledger.events TO ledger_reader;
GRANT SELECT (
    key_id, merchant_id, name, scopes, user_id, created_at, created_by, expires_at, last_used_at, revoked_at, rotated_from, sequence
) ON access.api_keys TO ledger_reader;
GRANT SELECT (merchant_id, partner_id, generation, link_expires_at, set_at) ON access.partner_logins TO ledger_reader;
