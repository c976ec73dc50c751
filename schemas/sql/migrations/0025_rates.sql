-- Rates of the provider's cards. lower 0 = the list rate; else the tier from the lower-th to the upper-th message of a
-- month (upper 0 = no limit). A market and category without a row has no rate.
CREATE TABLE IF NOT EXISTS rates
(
    digest String,
    currency LowCardinality(String),
    effective Date32,
    market LowCardinality(String),
    category LowCardinality(String),
    lower UInt64,
    upper UInt64,
    rate Decimal(18, 6),
    source String
)
ENGINE = ReplacingMergeTree
ORDER BY (digest, currency, effective, market, category, lower)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
