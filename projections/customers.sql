-- table --
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
    count(*),
    sum(total_minor),
    0,
    (array_agg(position ORDER BY occurred_at, position))[1],
    min(occurred_at),
    max(occurred_at),
    merchant_id,
    customer_id,
    currency,
    (array_agg(partner_id ORDER BY occurred_at, position))[1]
FROM facts
WHERE topic = 'CommissionEarned' AND customer_id IS NOT NULL
GROUP BY customer_id, merchant_id, currency
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
    count(*),
    sum(total_minor),
    sum(total_minor - remaining_minor),
    (array_agg(place & ((1::bigint << 40) - 1) ORDER BY occurred_at, place))[1],
    min(occurred_at),
    max(occurred_at),
    merchant_id,
    customer_id,
    currency,
    (array_agg(partner_id ORDER BY occurred_at, place))[1]
FROM commissions
WHERE customer_id IS NOT NULL AND state <> 'skipped'
GROUP BY customer_id, merchant_id, currency
