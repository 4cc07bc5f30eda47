-- table --
-- The rule of double entry (`ledger.postings.RULES`), written here at the start: the one place where SQL learns it.
-- `from_state` is '' where the event is the first of its order.
CREATE TABLE posting_rules (
    topic text COLLATE "C" NOT NULL,
    from_state text COLLATE "C" NOT NULL,
    to_state text COLLATE "C" NOT NULL,
    debit text COLLATE "C" NOT NULL,
    credit text COLLATE "C" NOT NULL,
    PRIMARY KEY (topic, from_state, to_state)
);
-- How far each read model has come in the log. All advance in one transaction, so that a reader sees one position.
CREATE TABLE tracking (
    model text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    fingerprint text NOT NULL
) WITH (fillfactor = 50);
CREATE VIEW tracked AS SELECT coalesce(min(position), 0) AS position FROM tracking;

-- sums --
-- What several read models share of a batch. A rebuild keeps the sums of all its steps, and applies them once.
CREATE TEMPORARY TABLE IF NOT EXISTS sums (
    orders bigint NOT NULL,
    amount_minor bigint NOT NULL,
    revenue_minor bigint NOT NULL,
    total_minor bigint NOT NULL,
    -- What of the amount was moved by payouts.
    payout_minor bigint NOT NULL,
    occurred_on date NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    from_state text COLLATE "C" NOT NULL,
    to_state text COLLATE "C" NOT NULL,
    debit text COLLATE "C",
    credit text COLLATE "C"
);

-- moves --
CREATE TEMPORARY TABLE IF NOT EXISTS moves (
    amount_minor bigint NOT NULL,
    clawed_back_minor bigint NOT NULL,
    revenue_minor bigint NOT NULL,
    last_position bigint NOT NULL,
    version bigint NOT NULL,
    approved_at timestamptz,
    paid_at timestamptz,
    merchant_id text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    state text COLLATE "C",
    payout_id text COLLATE "C",
    reason text COLLATE "C"
);

-- facts --
-- The facts of the projector's batch; a rebuild makes a table of this name of each of its steps instead.
CREATE TEMPORARY TABLE IF NOT EXISTS facts (
    position bigint NOT NULL,
    version bigint NOT NULL,
    total_minor bigint,
    amount_minor bigint,
    revenue_minor bigint,
    occurred_at timestamptz,
    due_at timestamptz,
    occurred_on date,
    topic text COLLATE "C" NOT NULL,
    merchant_id text COLLATE "C",
    order_id text COLLATE "C",
    partner_id text COLLATE "C",
    customer_id text COLLATE "C",
    currency text COLLATE "C",
    from_state text COLLATE "C",
    to_state text COLLATE "C",
    coupon_code text COLLATE "C",
    payout_id text COLLATE "C",
    reason text COLLATE "C",
    body json
);

-- decode --
-- The events of (after, upto], typed: their JSON is taken apart once, here, and every read model applies the result. Field by field is
-- a third cheaper than jsonb_populate_record. Only the few events that are not of an order keep their body.
SELECT
    notification_id AS position,
    originator_version AS version,
    (state ->> 'total_minor')::bigint AS total_minor,
    coalesce((state ->> 'amount_minor')::bigint, 0) AS amount_minor,
    coalesce((state ->> 'revenue_minor')::bigint, 0) AS revenue_minor,
    (state ->> 'occurred_at')::timestamptz AS occurred_at,
    (state ->> 'due_at')::timestamptz AS due_at,
    (state ->> 'occurred_on')::date AS occurred_on,
    topic,
    (state ->> 'merchant_id') COLLATE "C" AS merchant_id,
    (state ->> 'order_id') COLLATE "C" AS order_id,
    (state ->> 'partner_id') COLLATE "C" AS partner_id,
    (state ->> 'customer_id') COLLATE "C" AS customer_id,
    (state ->> 'currency') COLLATE "C" AS currency,
    coalesce(state ->> 'from_state', '') COLLATE "C" AS from_state,
    coalesce(state ->> 'to_state', '') COLLATE "C" AS to_state,
    (state ->> 'coupon_code') COLLATE "C" AS coupon_code,
    (state ->> 'payout_id') COLLATE "C" AS payout_id,
    (state ->> 'reason') COLLATE "C" AS reason,
    CASE WHEN state ->> 'order_id' IS NULL THEN state::json END AS body
FROM ledger.events
WHERE notification_id > {after} AND notification_id <= {upto}

-- apply early: sums (on OrderFact) --
-- What happened per partner, currency, day and kind of event, and what that posts (no accounts: it moves no money). Balances, revenue,
-- conversions and days need no more than this.
INSERT INTO sums (
    orders, amount_minor, revenue_minor, total_minor, payout_minor, occurred_on, merchant_id, partner_id, currency, topic, from_state,
    to_state, debit, credit
)
SELECT
    orders, amount_minor, revenue_minor, total_minor, payout_minor, occurred_on, merchant_id, partner_id, currency, topic, from_state, to_state,
    debit, credit
FROM (
    SELECT
        count(*) AS orders, sum(amount_minor) AS amount_minor, sum(revenue_minor) AS revenue_minor,
        coalesce(sum(total_minor), 0) AS total_minor, coalesce(sum(amount_minor) FILTER (WHERE payout_id IS NOT NULL), 0) AS payout_minor,
        occurred_on, merchant_id, partner_id, currency, topic, from_state, to_state
    FROM facts
    WHERE order_id IS NOT NULL AND partner_id IS NOT NULL
    GROUP BY partner_id, occurred_on, merchant_id, currency, topic, from_state, to_state
) AS told
LEFT JOIN posting_rules USING (topic, from_state, to_state)
