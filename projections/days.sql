-- table --
-- What happened in a program per currency and day, over all partners: the sum of what revenue and conversions say of each, so that the
-- figures of a whole program are a row a day however many partners it has. `earned` is after adjustments, clawbacks and rejections.
-- What payouts paid is in `paid`, and what of them came back is taken off there.
CREATE TABLE program_days (
    gross_minor bigint NOT NULL,
    refunded_minor bigint NOT NULL,
    earned_minor bigint NOT NULL,
    paid_minor bigint NOT NULL,
    payouts_paid_minor bigint NOT NULL,
    payouts_returned_minor bigint NOT NULL,
    conversions bigint NOT NULL,
    skipped bigint NOT NULL,
    entered bigint NOT NULL,
    reversed bigint NOT NULL,
    rejected bigint NOT NULL,
    day date NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    PRIMARY KEY (merchant_id, currency, day)
) WITH (fillfactor = 50);

-- apply sums: add up (on OrderFact) --
-- What is earned is what the merchant's expense says. A skipped order was never revenue, so what is given back of it is none either.
INSERT INTO program_days AS program_day (
    gross_minor, refunded_minor, earned_minor, paid_minor, payouts_paid_minor, payouts_returned_minor, conversions, skipped, entered, reversed, rejected,
    day, merchant_id, currency
)
SELECT
    coalesce(sum(total_minor) FILTER (WHERE topic = 'CommissionEarned'), 0),
    -coalesce(sum(revenue_minor) FILTER (WHERE from_state <> 'skipped'), 0),
    coalesce(sum(amount_minor) FILTER (WHERE debit = 'expense'), 0)
    - coalesce(sum(amount_minor) FILTER (WHERE credit = 'expense'), 0),
    coalesce(sum(amount_minor) FILTER (WHERE credit = 'paid'), 0)
    - coalesce(sum(amount_minor) FILTER (WHERE debit = 'paid'), 0),
    coalesce(sum(payout_minor) FILTER (WHERE credit = 'paid' AND topic <> 'CommissionEntered'), 0),
    coalesce(sum(payout_minor) FILTER (WHERE debit = 'paid'), 0)
    - coalesce(sum(payout_minor) FILTER (WHERE credit = 'paid' AND topic = 'CommissionEntered'), 0),
    coalesce(sum(orders) FILTER (WHERE topic = 'CommissionEarned'), 0),
    coalesce(sum(orders) FILTER (WHERE topic = 'CommissionSkipped'), 0),
    coalesce(sum(CASE WHEN to_state = 'paid' THEN -orders ELSE orders END) FILTER (WHERE topic = 'CommissionEntered'), 0),
    coalesce(sum(orders) FILTER (WHERE to_state = 'reversed' AND from_state <> 'reversed'), 0)
    - coalesce(sum(orders) FILTER (WHERE from_state = 'reversed' AND to_state <> 'reversed'), 0),
    coalesce(sum(orders) FILTER (WHERE to_state = 'rejected' AND from_state <> 'rejected'), 0)
    - coalesce(sum(orders) FILTER (WHERE from_state = 'rejected' AND to_state <> 'rejected'), 0),
    occurred_on, merchant_id, currency
FROM sums
GROUP BY occurred_on, merchant_id, currency
ON CONFLICT (merchant_id, currency, day) DO UPDATE SET
    gross_minor = program_day.gross_minor + excluded.gross_minor,
    refunded_minor = program_day.refunded_minor + excluded.refunded_minor,
    earned_minor = program_day.earned_minor + excluded.earned_minor,
    paid_minor = program_day.paid_minor + excluded.paid_minor,
    payouts_paid_minor = program_day.payouts_paid_minor + excluded.payouts_paid_minor,
    payouts_returned_minor = program_day.payouts_returned_minor + excluded.payouts_returned_minor,
    conversions = program_day.conversions + excluded.conversions,
    skipped = program_day.skipped + excluded.skipped,
    entered = program_day.entered + excluded.entered,
    reversed = program_day.reversed + excluded.reversed,
    rejected = program_day.rejected + excluded.rejected
