-- table --
-- (A composite can be compared, and so have a minimum, from PostgreSQL 18 on; only a named one can be taken apart again.)
CREATE TYPE first_order AS (
    occurred_at timestamptz,
    position bigint,
    partner_id text COLLATE "C"
);
-- What each customer bought per currency, counting the orders that earned a commission, and who brought the customer: the partner of
-- the order that was placed first (at the same instant, the one recorded first), whenever it was told.
CREATE TABLE customers (
    orders bigint NOT NULL,
    gross_minor bigint NOT NULL,
    refunded_minor bigint NOT NULL,
    first_position bigint NOT NULL,
    first_order_at timestamptz NOT NULL,
    last_order_at timestamptz NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (merchant_id, customer_id, currency)
) WITH (fillfactor = 85);

-- indexes --
CREATE INDEX customers_by_partner ON customers (merchant_id, partner_id, customer_id);

-- apply: buy (on CommissionEarned) --
INSERT INTO customers AS customer (
    orders, gross_minor, refunded_minor, first_position, first_order_at, last_order_at,
    merchant_id, customer_id, currency, partner_id
)
SELECT
    orders, gross_minor, 0, (first_order).position, (first_order).occurred_at, last_order_at,
    merchant_id, customer_id, currency, (first_order).partner_id
FROM (
    SELECT
        count(*) AS orders,
        sum(total_minor) AS gross_minor,
        min(ROW(occurred_at, position, partner_id))::text::first_order AS first_order,
        max(occurred_at) AS last_order_at,
        merchant_id,
        customer_id,
        currency
    FROM facts
    WHERE topic = 'CommissionEarned' AND customer_id IS NOT NULL
    GROUP BY customer_id, merchant_id, currency
    OFFSET 0
) AS bought
ON CONFLICT (merchant_id, customer_id, currency) DO UPDATE SET
    orders = customer.orders + excluded.orders,
    gross_minor = customer.gross_minor + excluded.gross_minor,
    last_order_at = greatest(customer.last_order_at, excluded.last_order_at),
    first_order_at = least(customer.first_order_at, excluded.first_order_at),
    first_position = CASE
        WHEN (excluded.first_order_at, excluded.first_position) < (customer.first_order_at, customer.first_position)
            THEN excluded.first_position
        ELSE customer.first_position
    END,
    partner_id = CASE
        WHEN (excluded.first_order_at, excluded.first_position) < (customer.first_order_at, customer.first_position)
            THEN excluded.partner_id
        ELSE customer.partner_id
    END

-- apply: give back (on CommissionCorrected) --
-- Corrections do not name the customer; the order's row does, and that never changes.
UPDATE customers AS customer
SET refunded_minor = customer.refunded_minor + given_back.refunded_minor
FROM (
    SELECT commission.merchant_id, commission.customer_id, commission.currency, -sum(fact.revenue_minor) AS refunded_minor
    FROM facts AS fact
    INNER JOIN commissions AS commission
        ON commission.merchant_id = fact.merchant_id AND commission.order_id = fact.order_id
    WHERE fact.revenue_minor <> 0 AND fact.from_state <> 'skipped' AND commission.customer_id IS NOT NULL
    GROUP BY commission.merchant_id, commission.customer_id, commission.currency
) AS given_back
WHERE
    customer.merchant_id = given_back.merchant_id
    AND customer.customer_id = given_back.customer_id
    AND customer.currency = given_back.currency

-- whole --
-- All customers at once, from commissions that are there already: a rebuild does this once instead of the above for every step.
INSERT INTO customers (
    orders, gross_minor, refunded_minor, first_position, first_order_at, last_order_at,
    merchant_id, customer_id, currency, partner_id
)
SELECT
    orders, gross_minor, refunded_minor, (first_order).position, (first_order).occurred_at, last_order_at,
    merchant_id, customer_id, currency, (first_order).partner_id
FROM (
    SELECT
        count(*) AS orders,
        sum(total_minor) AS gross_minor,
        sum(total_minor - remaining_minor) AS refunded_minor,
        min(ROW(occurred_at, place & ((1::bigint << 40) - 1), partner_id))::text::first_order AS first_order,
        max(occurred_at) AS last_order_at,
        merchant_id,
        customer_id,
        currency
    FROM commissions
    WHERE customer_id IS NOT NULL AND state <> 'skipped'
    GROUP BY customer_id, merchant_id, currency
    OFFSET 0
) AS bought
