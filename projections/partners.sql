-- table --
-- Each partner's standing, rates over time and coupon codes. Names and e-mails are in `people.partners`: they can be erased.
CREATE TABLE partners (
    first_position bigint NOT NULL,
    registered_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    standing_at timestamptz NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    standing text COLLATE "C" NOT NULL,
    PRIMARY KEY (merchant_id, partner_id)
);
CREATE TABLE partner_rates (
    position bigint NOT NULL,
    effective_at timestamptz NOT NULL,
    bps bigint NOT NULL,
    amount_minor bigint NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    PRIMARY KEY (merchant_id, partner_id, effective_at, position)
);
-- A code has a row for each time it was given to somebody; it is that partner's from `assigned_at` until `revoked_at`.
CREATE TABLE coupons (
    position bigint NOT NULL,
    assigned_at timestamptz NOT NULL,
    revoked_at timestamptz,
    merchant_id text COLLATE "C" NOT NULL,
    code text COLLATE "C" NOT NULL,
    partner_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (merchant_id, code, position)
);
-- The rates of a code, each for orders placed from `effective_at` on; no type: the partner's own rate.
CREATE TABLE coupon_rates (
    position bigint NOT NULL,
    effective_at timestamptz NOT NULL,
    bps bigint NOT NULL,
    amount_minor bigint NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    code text COLLATE "C" NOT NULL,
    type text COLLATE "C",
    PRIMARY KEY (merchant_id, code, position)
);

-- indexes --
CREATE INDEX partners_in_order ON partners (merchant_id, first_position);
CREATE INDEX coupons_by_partner ON coupons (merchant_id, partner_id);

-- apply: register (on PartnerRegistered) --
INSERT INTO partners (first_position, registered_at, changed_at, standing_at, merchant_id, partner_id, standing)
SELECT
    position, occurred_at, (body ->> 'recorded_at')::timestamptz, occurred_at, merchant_id, partner_id, body ->> 'standing'
FROM facts
WHERE topic = 'PartnerRegistered'

-- apply: change standing (on PartnerApproved PartnerRejected PartnerPaused PartnerReinstated PartnerBanned) --
UPDATE partners AS partner
SET standing = told.standing, standing_at = told.occurred_at
FROM (
    SELECT DISTINCT ON (merchant_id, partner_id)
        merchant_id,
        partner_id,
        occurred_at,
        CASE topic
            WHEN 'PartnerApproved' THEN 'approved'
            WHEN 'PartnerRejected' THEN 'rejected'
            WHEN 'PartnerPaused' THEN 'paused'
            WHEN 'PartnerReinstated' THEN 'approved'
            WHEN 'PartnerBanned' THEN 'banned'
        END AS standing
    FROM facts
    WHERE topic IN ('PartnerApproved', 'PartnerRejected', 'PartnerPaused', 'PartnerReinstated', 'PartnerBanned')
    ORDER BY merchant_id, partner_id, occurred_at DESC, position DESC
) AS told
WHERE
    partner.merchant_id = told.merchant_id
    AND partner.partner_id = told.partner_id
    AND partner.standing_at <= told.occurred_at

-- apply: note change (on PartnerEvent) --
UPDATE partners AS partner
SET changed_at = greatest(partner.changed_at, told.recorded_at)
FROM (
    SELECT merchant_id, partner_id, max((body ->> 'recorded_at')::timestamptz) AS recorded_at
    FROM facts
    WHERE order_id IS NULL AND partner_id IS NOT NULL AND customer_id IS NULL
    GROUP BY merchant_id, partner_id
) AS told
WHERE partner.merchant_id = told.merchant_id AND partner.partner_id = told.partner_id

-- apply: rate (on PartnerRegistered RateChanged) --
INSERT INTO partner_rates (position, effective_at, bps, amount_minor, merchant_id, partner_id, type)
SELECT
    position,
    occurred_at,
    coalesce((body -> 'rate' ->> 'bps')::bigint, 0),
    coalesce((body -> 'rate' ->> 'amount_minor')::bigint, 0),
    merchant_id,
    partner_id,
    body -> 'rate' ->> 'type'
FROM facts
WHERE topic IN ('PartnerRegistered', 'RateChanged')

-- apply: assign coupon (on CouponAssigned) --
INSERT INTO coupons (position, assigned_at, merchant_id, code, partner_id)
SELECT position, occurred_at, merchant_id, body ->> 'code', partner_id
FROM facts
WHERE topic = 'CouponAssigned'

-- apply: revoke coupon (on CouponRevoked) --
-- A revocation ends the assignment before it, which may be in the same batch, as may the next one.
UPDATE coupons AS coupon
SET revoked_at = fact.occurred_at
FROM facts AS fact
WHERE
    fact.topic = 'CouponRevoked'
    AND coupon.merchant_id = fact.merchant_id
    AND coupon.code = fact.body ->> 'code'
    AND coupon.position = (
        SELECT max(earlier.position)
        FROM coupons AS earlier
        WHERE
            earlier.merchant_id = fact.merchant_id
            AND earlier.code = fact.body ->> 'code'
            AND earlier.position < fact.position
    )

-- apply: coupon rate (on CouponAssigned CouponRateChanged) --
INSERT INTO coupon_rates (position, effective_at, bps, amount_minor, merchant_id, code, type)
SELECT
    position,
    occurred_at,
    coalesce((body -> 'rate' ->> 'bps')::bigint, 0),
    coalesce((body -> 'rate' ->> 'amount_minor')::bigint, 0),
    merchant_id,
    body ->> 'code',
    body -> 'rate' ->> 'type'
FROM facts
WHERE topic IN ('CouponAssigned', 'CouponRateChanged')
