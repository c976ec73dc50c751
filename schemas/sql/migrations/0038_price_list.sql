-- What a delivered message is charged by, from one day to another, both included: regimes, cards and markets resolved, so
-- that a question over many accounts has one thing to look up. country '' = every country that has no rows; unit
-- 'conversation' = messages are not charged on these days; rate NULL = there is none. Without the month's allotments and
-- volume tiers. Only in the currencies that accounts are charged in. layout: see 0040.
CREATE TABLE IF NOT EXISTS price_list
(
    digest String,
    layout UInt8,
    currency LowCardinality(String),
    country LowCardinality(String),
    category LowCardinality(String),
    begins Date32,
    ends Date32,
    market LowCardinality(String),
    unit LowCardinality(String),
    is_free UInt8,
    is_free_in_service_window UInt8,
    rate Nullable(Decimal(18, 6))
)
ENGINE = ReplacingMergeTree
ORDER BY (digest, layout, currency, country, category, begins)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
