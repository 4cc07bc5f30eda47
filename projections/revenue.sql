-- table --
-- What the storefront took for orders that earned a commission, and what the commissions (also those entered by hand) came to: per
-- partner, currency and day, each amount on the day it happened. Outstanding is earned + adjusted + clawed back - rejected - paid, summed up to a day.
CREATE TABLE revenue (
    gross_minor bigint NOT NULL,
    refunded_minor bigint NOT NULL,
    earned_minor bigint NOT NULL,
    adjusted_minor bigint NOT NULL,
    clawed_back_minor bigint NOT NULL,
    rejected_minor bigint NOT NULL,
    paid_minor bigint NOT NULL,
    payouts_paid_minor bigint NOT NULL,
    payouts_returned_minor bigint NOT NULL,
    day date NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    PRIMARY KEY (merchant_id, currency, day, partner_id)
) WITH (fillfactor = 70);

-- indexes --
CREATE INDEX revenue_by_partner ON revenue (merchant_id, partner_id, currency, day);

-- apply sums: add (on OrderFact) --
-- A correction of a rejected commission moves no money (there is no rule), but the order is worth less all the same.
-- A skipped order was never revenue, so what is given back of it is none either.
INSERT INTO revenue AS revenue (
    gross_minor, refunded_minor, earned_minor, adjusted_minor, clawed_back_minor, rejected_minor, paid_minor,
    payouts_paid_minor, payouts_returned_minor, day, merchant_id, partner_id, currency
)
SELECT
    coalesce(sum(total_minor) FILTER (WHERE topic = 'CommissionEarned'), 0),
    -sum(revenue_minor),
    coalesce(sum(amount_minor) FILTER (WHERE topic IN ('CommissionEarned', 'CommissionEntered')), 0),
    coalesce(sum(amount_minor) FILTER (WHERE topic = 'CommissionAdjusted' AND debit IS NOT NULL), 0),
    coalesce(sum(amount_minor) FILTER (WHERE topic = 'CommissionClawedBack' AND debit IS NOT NULL), 0),
    coalesce(sum(amount_minor) FILTER (WHERE topic = 'CommissionRejected'), 0)
    - coalesce(sum(amount_minor) FILTER (WHERE topic = 'CommissionReopened'), 0),
    coalesce(sum(amount_minor) FILTER (WHERE credit = 'paid'), 0)
    - coalesce(sum(amount_minor) FILTER (WHERE debit = 'paid'), 0),
    coalesce(sum(payout_minor) FILTER (WHERE credit = 'paid' AND topic <> 'CommissionEntered'), 0),
    coalesce(sum(payout_minor) FILTER (WHERE debit = 'paid'), 0)
    - coalesce(sum(payout_minor) FILTER (WHERE credit = 'paid' AND topic = 'CommissionEntered'), 0),
    occurred_on, merchant_id, partner_id, currency
FROM sums
WHERE
    from_state <> 'skipped'
    AND (revenue_minor <> 0 OR debit = 'expense' OR credit IN ('expense', 'paid') OR debit = 'paid')
GROUP BY partner_id, occurred_on, merchant_id, currency
ON CONFLICT (merchant_id, currency, day, partner_id) DO UPDATE SET
    gross_minor = revenue.gross_minor + excluded.gross_minor,
    refunded_minor = revenue.refunded_minor + excluded.refunded_minor,
    earned_minor = revenue.earned_minor + excluded.earned_minor,
    adjusted_minor = revenue.adjusted_minor + excluded.adjusted_minor,
    clawed_back_minor = revenue.clawed_back_minor + excluded.clawed_back_minor,
    rejected_minor = revenue.rejected_minor + excluded.rejected_minor,
    paid_minor = revenue.paid_minor + excluded.paid_minor,
    payouts_paid_minor = revenue.payouts_paid_minor + excluded.payouts_paid_minor,
    payouts_returned_minor = revenue.payouts_returned_minor + excluded.payouts_returned_minor
