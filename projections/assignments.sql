-- table --
-- To which partner each customer was assigned last: whose the orders are that come without a partner's code from then on.
CREATE TABLE assignments (
    position bigint NOT NULL,
    assigned_at timestamptz NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    cause text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (merchant_id, customer_id)
);

-- indexes --
CREATE INDEX assignments_by_partner ON assignments (merchant_id, partner_id, customer_id);

-- apply: assign (on CustomerReassigned) --
INSERT INTO assignments AS assignment (position, assigned_at, merchant_id, customer_id, partner_id, cause, reason)
SELECT DISTINCT ON (merchant_id, customer_id)
    position, occurred_at, merchant_id, customer_id, partner_id, body ->> 'cause', body ->> 'reason'
FROM facts
WHERE topic = 'CustomerReassigned'
ORDER BY merchant_id, customer_id, position DESC
ON CONFLICT (merchant_id, customer_id) DO UPDATE SET
    position = excluded.position,
    assigned_at = excluded.assigned_at,
    partner_id = excluded.partner_id,
    cause = excluded.cause,
    reason = excluded.reason
