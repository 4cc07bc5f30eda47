-- table --
-- Each merchant's program: its currency, time zone, and the terms told last.
CREATE TABLE programs (
    terms_position bigint NOT NULL,
    terms_at timestamptz NOT NULL,
    merchant_id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    currency text COLLATE "C" NOT NULL,
    time_zone text NOT NULL,
    terms jsonb NOT NULL
);
-- Every version of the terms, with who decided it and when: commissions name the one that they were decided under.
CREATE TABLE program_versions (
    position bigint NOT NULL,
    effective_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    version bigint NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    cause text NOT NULL,
    terms jsonb NOT NULL,
    PRIMARY KEY (merchant_id, version)
);

-- apply: version (on MerchantRegistered TermsChanged) --
INSERT INTO program_versions (position, effective_at, recorded_at, version, merchant_id, cause, terms)
SELECT
    position, occurred_at, (body ->> 'recorded_at')::timestamptz, (body -> 'terms' ->> 'version')::bigint, merchant_id,
    body ->> 'cause', (body -> 'terms')::jsonb
FROM facts
WHERE topic IN ('MerchantRegistered', 'TermsChanged')

-- apply: open (on MerchantRegistered) --
INSERT INTO programs (terms_position, terms_at, merchant_id, name, currency, time_zone, terms)
SELECT
    position, occurred_at, merchant_id, body ->> 'name', currency, body ->> 'time_zone', (body -> 'terms')::jsonb
FROM facts
WHERE topic = 'MerchantRegistered'

-- apply: change terms (on TermsChanged) --
UPDATE programs AS program
SET terms_position = told.position, terms_at = told.occurred_at, terms = told.terms
FROM (
    SELECT DISTINCT ON (merchant_id) merchant_id, position, occurred_at, (body -> 'terms')::jsonb AS terms
    FROM facts
    WHERE topic = 'TermsChanged'
    ORDER BY merchant_id, occurred_at DESC, position DESC
) AS told
WHERE program.merchant_id = told.merchant_id AND program.terms_at <= told.occurred_at
