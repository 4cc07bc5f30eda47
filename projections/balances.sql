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
-- What all partners of a program are owed and were paid together: one row per currency, however many partners there are.
CREATE TABLE program_balances (
    pending_minor bigint NOT NULL,
    approved_minor bigint NOT NULL,
    held_minor bigint NOT NULL,
    in_payout_minor bigint NOT NULL,
    paid_minor bigint NOT NULL,
    clawed_back_minor bigint NOT NULL,
    expense_minor bigint NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    PRIMARY KEY (merchant_id, currency),
    CONSTRAINT program_postings_sum_to_zero CHECK (
        pending_minor + approved_minor + held_minor + in_payout_minor + paid_minor + clawed_back_minor + expense_minor = 0
    )
) WITH (fillfactor = 50);

-- apply sums: post (on OrderFact) --
-- Debit and credit of every sum that has a rule; one without moves no money. Per partner, and of those sums per program.
WITH posted AS (
    SELECT
        coalesce(sum(amount_minor) FILTER (WHERE account = 'pending'), 0) AS pending_minor,
        coalesce(sum(amount_minor) FILTER (WHERE account = 'approved'), 0) AS approved_minor,
        coalesce(sum(amount_minor) FILTER (WHERE account = 'held'), 0) AS held_minor,
        coalesce(sum(amount_minor) FILTER (WHERE account = 'in_payout'), 0) AS in_payout_minor,
        coalesce(sum(amount_minor) FILTER (WHERE account = 'paid'), 0) AS paid_minor,
        coalesce(sum(amount_minor) FILTER (WHERE account = 'clawed_back'), 0) AS clawed_back_minor,
        coalesce(sum(amount_minor) FILTER (WHERE account = 'expense'), 0) AS expense_minor,
        merchant_id, partner_id, currency
    FROM (
        SELECT merchant_id, partner_id, currency, credit AS account, amount_minor FROM sums WHERE credit IS NOT NULL
        UNION ALL
        SELECT merchant_id, partner_id, currency, debit, -amount_minor FROM sums WHERE debit IS NOT NULL
    ) AS postings
    GROUP BY partner_id, merchant_id, currency
),
added_up AS (
    INSERT INTO program_balances AS balance (
        pending_minor, approved_minor, held_minor, in_payout_minor, paid_minor, clawed_back_minor, expense_minor,
        merchant_id, currency
    )
    SELECT
        sum(pending_minor), sum(approved_minor), sum(held_minor), sum(in_payout_minor), sum(paid_minor),
        sum(clawed_back_minor), sum(expense_minor), merchant_id, currency
    FROM posted
    GROUP BY merchant_id, currency
    ON CONFLICT (merchant_id, currency) DO UPDATE SET
        pending_minor = balance.pending_minor + excluded.pending_minor,
        approved_minor = balance.approved_minor + excluded.approved_minor,
        held_minor = balance.held_minor + excluded.held_minor,
        in_payout_minor = balance.in_payout_minor + excluded.in_payout_minor,
        paid_minor = balance.paid_minor + excluded.paid_minor,
        clawed_back_minor = balance.clawed_back_minor + excluded.clawed_back_minor,
        expense_minor = balance.expense_minor + excluded.expense_minor
)
INSERT INTO balances AS balance (
    pending_minor, approved_minor, held_minor, in_payout_minor, paid_minor, clawed_back_minor, expense_minor,
    merchant_id, partner_id, currency
)
SELECT
    pending_minor, approved_minor, held_minor, in_payout_minor, paid_minor, clawed_back_minor, expense_minor,
    merchant_id, partner_id, currency
FROM posted
ON CONFLICT (merchant_id, partner_id, currency) DO UPDATE SET
    pending_minor = balance.pending_minor + excluded.pending_minor,
    approved_minor = balance.approved_minor + excluded.approved_minor,
    held_minor = balance.held_minor + excluded.held_minor,
    in_payout_minor = balance.in_payout_minor + excluded.in_payout_minor,
    paid_minor = balance.paid_minor + excluded.paid_minor,
    clawed_back_minor = balance.clawed_back_minor + excluded.clawed_back_minor,
    expense_minor = balance.expense_minor + excluded.expense_minor
