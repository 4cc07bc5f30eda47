-- table --
-- How many orders with a partner's code became what, per partner, currency and day: earned a commission, were skipped, reversed
-- (less those won back), rejected (less those reopened); each on the day it happened. Entries made by hand are no conversions, and
-- counted beside them; they can be rejected too. What came back of a payout is two entries (`paid`, `approved`), which count as none.
CREATE TABLE conversions (
    conversions bigint NOT NULL,
    skipped bigint NOT NULL,
    entered bigint NOT NULL,
    reversed bigint NOT NULL,
    rejected bigint NOT NULL,
    day date NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    PRIMARY KEY (merchant_id, currency, day, partner_id)
) WITH (fillfactor = 70);

-- indexes --
CREATE INDEX conversions_by_partner ON conversions (merchant_id, partner_id, currency, day);

-- apply sums: count (on OrderFact) --
INSERT INTO conversions AS conversions (
    conversions, skipped, entered, reversed, rejected, day, merchant_id, partner_id, currency
)
SELECT
    coalesce(sum(orders) FILTER (WHERE topic = 'CommissionEarned'), 0),
    coalesce(sum(orders) FILTER (WHERE topic = 'CommissionSkipped'), 0),
    coalesce(sum(CASE WHEN to_state = 'paid' THEN -orders ELSE orders END) FILTER (WHERE topic = 'CommissionEntered'), 0),
    coalesce(sum(orders) FILTER (WHERE to_state = 'reversed'), 0)
    - coalesce(sum(orders) FILTER (WHERE from_state = 'reversed'), 0),
    coalesce(sum(orders) FILTER (WHERE to_state = 'rejected'), 0)
    - coalesce(sum(orders) FILTER (WHERE from_state = 'rejected'), 0),
    occurred_on, merchant_id, partner_id, currency
FROM sums
WHERE
    from_state <> to_state
    AND (from_state IN ('', 'reversed', 'rejected') OR to_state IN ('reversed', 'rejected'))
GROUP BY partner_id, occurred_on, merchant_id, currency
ON CONFLICT (merchant_id, currency, day, partner_id) DO UPDATE SET
    conversions = conversions.conversions + excluded.conversions,
    skipped = conversions.skipped + excluded.skipped,
    entered = conversions.entered + excluded.entered,
    reversed = conversions.reversed + excluded.reversed,
    rejected = conversions.rejected + excluded.rejected
