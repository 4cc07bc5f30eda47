-- table --
-- One row per order with a partner's code, and per entry made by hand (without a code, with a total of 0): the commission as it
-- stands. Wide columns first, so that none is padded.
-- `place` is where it stands in lists, for ever: the day of the order, then the position of its first event (40 bits of it).
CREATE TABLE commissions (
    place bigint NOT NULL,
    last_position bigint NOT NULL,
    version bigint NOT NULL,
    total_minor bigint NOT NULL,
    remaining_minor bigint NOT NULL,
    amount_minor bigint NOT NULL,
    clawed_back_minor bigint NOT NULL,
    -- What lists are found by, as numbers. Columns, because an expression in an index is of no use under row-level security.
    by_partner bigint NOT NULL GENERATED ALWAYS AS (hashtextextended(merchant_id || '/' || partner_id, 0)) STORED,
    by_customer bigint GENERATED ALWAYS AS (hashtextextended(merchant_id || '/' || customer_id, 0)) STORED,
    by_payout bigint GENERATED ALWAYS AS (hashtextextended(merchant_id || '/' || payout_id, 0)) STORED,
    by_state bigint NOT NULL
    GENERATED ALWAYS AS (hashtextextended(merchant_id || '/' || state || '/' || currency, 0)) STORED,
    occurred_at timestamptz NOT NULL,
    due_at timestamptz,
    approved_at timestamptz,
    paid_at timestamptz,
    occurred_on date NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C",
    currency text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    coupon_code text COLLATE "C",
    payout_id text COLLATE "C",
    reason text COLLATE "C",
    PRIMARY KEY (merchant_id, order_id)
);

-- indexes --
-- Lists are newest first by place, which never changes: a page stays where it was while rows are added, and a range of days is a
-- range of places. Each filter of the API finds its rows in that order, at any size. Two numbers are sorted several times faster
-- than texts and take half the room, so what a list is of stands here as a hash (a query asks for the texts as well).
CREATE INDEX commissions_by_partner ON commissions (by_partner, place);
CREATE INDEX commissions_by_customer ON commissions (by_customer, place) WHERE by_customer IS NOT NULL;
CREATE INDEX commissions_by_payout ON commissions (by_payout, place) WHERE by_payout IS NOT NULL;
-- Serves a state and a currency together; a list of one of them, or of neither, asks for each of the others in turn.
CREATE INDEX commissions_by_state ON commissions (by_state, place);
CREATE INDEX commissions_due ON commissions (due_at) WHERE state = 'pending' AND due_at IS NOT NULL;

-- apply early: moves (on CommissionMoved ParkedRefundRejected) --
-- What the batch does to each order after its first event: sums, and what the last change of state says.
INSERT INTO moves (
    amount_minor, clawed_back_minor, revenue_minor, last_position, version, approved_at, paid_at, merchant_id, order_id,
    state, payout_id, reason
)
SELECT
    moved.amount_minor, moved.clawed_back_minor, moved.revenue_minor, moved.last_position, moved.version,
    approval.occurred_at, payment.occurred_at, moved.merchant_id, moved.order_id,
    change.to_state,
    CASE WHEN change.topic IN ('CommissionReserved', 'CommissionPaid') THEN change.payout_id END,
    change.reason
FROM (
    SELECT
        merchant_id,
        order_id,
        coalesce(sum(amount_minor) FILTER (WHERE topic = 'CommissionAdjusted'), 0) AS amount_minor,
        -- What waits to be netted off: what is netted in a payout does not, unless the payout fails or comes back.
        coalesce(
            sum(amount_minor) FILTER (WHERE topic IN ('CommissionClawedBack', 'ClawbackUnnetted', 'ClawbackOwedAgain')), 0
        ) - coalesce(sum(amount_minor) FILTER (WHERE topic = 'ClawbackNetted'), 0) AS clawed_back_minor,
        sum(revenue_minor) AS revenue_minor,
        max(position) AS last_position,
        max(version) AS version,
        max(position) FILTER (WHERE from_state <> to_state) AS changed,
        max(position) FILTER (WHERE to_state = 'approved' AND from_state NOT IN ('approved', 'in_payout', 'paid')) AS approved,
        max(position) FILTER (WHERE to_state = 'paid' AND from_state <> 'paid') AS paid
    FROM facts
    WHERE order_id IS NOT NULL AND topic NOT IN ('CommissionEarned', 'CommissionSkipped', 'CommissionEntered', 'RefundParked')
    GROUP BY order_id, merchant_id
) AS moved
LEFT JOIN facts AS change ON change.position = moved.changed AND change.from_state <> change.to_state
LEFT JOIN facts AS approval ON approval.position = moved.approved AND approval.to_state = 'approved'
LEFT JOIN facts AS payment ON payment.position = moved.paid AND payment.to_state = 'paid'

-- apply early: open (on OrderTaken CommissionEntered) --
-- New orders and entries, with what the same batch did to them already. One that is there twice is an error: the key says so.
INSERT INTO commissions (
    place, last_position, version, total_minor, remaining_minor, amount_minor, clawed_back_minor,
    occurred_at, due_at, approved_at, paid_at, occurred_on,
    merchant_id, order_id, partner_id, customer_id, currency, state, coupon_code, payout_id, reason
)
SELECT
    ((fact.occurred_on - DATE '1970-01-01')::bigint << 40) + fact.position,
    coalesce(moves.last_position, fact.position),
    coalesce(moves.version, fact.version),
    coalesce(fact.total_minor, 0),
    coalesce(fact.total_minor, 0) + coalesce(moves.revenue_minor, 0),
    fact.amount_minor + coalesce(moves.amount_minor, 0),
    coalesce(moves.clawed_back_minor, 0),
    fact.occurred_at,
    fact.due_at,
    CASE
        WHEN coalesce(moves.state, fact.to_state) IN ('approved', 'in_payout', 'paid')
            -- An entry begins approved, or (what came back) paid.
            THEN coalesce(moves.approved_at, CASE WHEN fact.to_state IN ('approved', 'paid') THEN fact.occurred_at END)
    END,
    -- An entry of what came back begins paid.
    CASE WHEN coalesce(moves.state, fact.to_state) = 'paid' THEN coalesce(moves.paid_at, fact.occurred_at) END,
    fact.occurred_on,
    fact.merchant_id, fact.order_id, fact.partner_id, fact.customer_id, fact.currency,
    coalesce(moves.state, fact.to_state),
    fact.coupon_code,
    CASE WHEN moves.state IS NULL THEN fact.payout_id ELSE moves.payout_id END,
    CASE WHEN moves.state IS NULL THEN fact.reason ELSE moves.reason END
FROM facts AS fact
LEFT JOIN moves ON moves.order_id = fact.order_id AND moves.merchant_id = fact.merchant_id
WHERE fact.topic IN ('CommissionEarned', 'CommissionSkipped', 'CommissionEntered')

-- keep --
-- A rebuild finds no order of earlier batches before the key is there, and it builds the key last: until then it keeps the moves of
-- those orders (of this batch's own, `open` knew already).
INSERT INTO kept_moves
SELECT moves.*
FROM moves
WHERE NOT EXISTS (
    SELECT FROM facts
    WHERE
        facts.order_id = moves.order_id
        AND facts.merchant_id = moves.merchant_id
        AND facts.topic IN ('CommissionEarned', 'CommissionSkipped', 'CommissionEntered')
)

-- merge --
-- What several batches did to an order, as if it had been one: sums, and what the last change of state says.
INSERT INTO moves (
    amount_minor, clawed_back_minor, revenue_minor, last_position, version, approved_at, paid_at, merchant_id, order_id,
    state, payout_id, reason
)
SELECT
    sum(amount_minor), sum(clawed_back_minor), sum(revenue_minor), max(last_position), max(version),
    (array_agg(approved_at ORDER BY last_position DESC) FILTER (WHERE approved_at IS NOT NULL))[1],
    (array_agg(paid_at ORDER BY last_position DESC) FILTER (WHERE paid_at IS NOT NULL))[1],
    merchant_id, order_id,
    (array_agg(state ORDER BY last_position DESC) FILTER (WHERE state IS NOT NULL))[1],
    (array_agg(payout_id ORDER BY last_position DESC) FILTER (WHERE state IS NOT NULL))[1],
    (array_agg(reason ORDER BY last_position DESC) FILTER (WHERE state IS NOT NULL))[1]
FROM kept_moves
GROUP BY order_id, merchant_id

-- apply: move (on CommissionMoved ParkedRefundRejected) --
-- Orders of earlier batches; those of this one have the position already.
UPDATE commissions AS commission
SET
    last_position = moves.last_position,
    version = moves.version,
    remaining_minor = commission.remaining_minor + moves.revenue_minor,
    amount_minor = commission.amount_minor + moves.amount_minor,
    clawed_back_minor = commission.clawed_back_minor + moves.clawed_back_minor,
    state = coalesce(moves.state, commission.state),
    reason = CASE WHEN moves.state IS NULL THEN commission.reason ELSE moves.reason END,
    payout_id = CASE WHEN moves.state IS NULL THEN commission.payout_id ELSE moves.payout_id END,
    approved_at = CASE
        WHEN coalesce(moves.state, commission.state) IN ('approved', 'in_payout', 'paid')
            THEN coalesce(moves.approved_at, commission.approved_at)
    END,
    paid_at = CASE
        WHEN coalesce(moves.state, commission.state) = 'paid' THEN coalesce(moves.paid_at, commission.paid_at)
    END
FROM moves
WHERE
    commission.merchant_id = moves.merchant_id
    AND commission.order_id = moves.order_id
    AND commission.last_position < moves.last_position
