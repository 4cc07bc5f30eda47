-- table --
-- What each partner is owed and was paid per currency: the sum of the postings (`ledger.postings`) and nothing else.
-- Every posting has its counterpart in the same row, so each row sums to zero; PostgreSQL refuses one that does not.
CREATE TABLE balances (
    pending_minor bigint NOT NULL,
    approved_minor bigint NOT NULL,
    held_minor bigint NOT NULL,
    in_payout_minor bigint NOT NULL,
    paid_minor bigint NOT NULL,
    clawed_back_minor bigint NOT NULL,
    expense_minor bigint NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    PRIMARY KEY (merchant_id, partner_id, currency),
    CONSTRAINT postings_sum_to_zero CHECK (
        pending_minor + approved_minor + held_minor + in_payout_minor + paid_minor + clawed_back_minor + expense_minor = 0
    )
) WITH (fillfactor = 50);

-- apply sums: post (on OrderFact) --
-- Debit and credit of every sum that has a rule; one without moves no money.
INSERT INTO balances AS balance (
    pending_minor, approved_minor, held_minor, in_payout_minor, paid_minor, clawed_back_minor, expense_minor,
    merchant_id, partner_id, currency
)
SELECT
    coalesce(sum(amount_minor) FILTER (WHERE account = 'pending'), 0),
    coalesce(sum(amount_minor) FILTER (WHERE account = 'approved'), 0),
    coalesce(sum(amount_minor) FILTER (WHERE account = 'held'), 0),
    coalesce(sum(amount_minor) FILTER (WHERE account = 'in_payout'), 0),
    coalesce(sum(amount_minor) FILTER (WHERE account = 'paid'), 0),
    coalesce(sum(amount_minor) FILTER (WHERE account = 'clawed_back'), 0),
    coalesce(sum(amount_minor) FILTER (WHERE account = 'expense'), 0),
    merchant_id, partner_id, currency
FROM (
    SELECT merchant_id, partner_id, currency, credit AS account, amount_minor
    FROM sums INNER JOIN posting_rules USING (topic, from_state, to_state)
    UNION ALL
    SELECT merchant_id, partner_id, currency, debit, -amount_minor
    FROM sums INNER JOIN posting_rules USING (topic, from_state, to_state)
) AS postings
GROUP BY partner_id, merchant_id, currency
ON CONFLICT (merchant_id, partner_id, currency) DO UPDATE SET
    pending_minor = balance.pending_minor + excluded.pending_minor,
    approved_minor = balance.approved_minor + excluded.approved_minor,
    held_minor = balance.held_minor + excluded.held_minor,
    in_payout_minor = balance.in_payout_minor + excluded.in_payout_minor,
    paid_minor = balance.paid_minor + excluded.paid_minor,
    clawed_back_minor = balance.clawed_back_minor + excluded.clawed_back_minor,
    expense_minor = balance.expense_minor + excluded.expense_minor
